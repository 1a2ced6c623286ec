package harness

import (
	"errors"
	"os"
	"time"
)

// FileTime returns the time that the file system gives to what is written now. Its
// clock goes on by ticks of some milliseconds. The probe is written into dir, which
// must not be a directory whose changes somebody follows.
func FileTime(dir string) (time.Time, error) {
	f, err := os.CreateTemp(dir, "probe")
	if err != nil {
		return time.Time{}, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// Tick waits until what is written now gets a later time than what was written before,
// counted in units: time.Nanosecond for any later time, time.Second for another second.
// The probes are written into dir, as those of [FileTime].
func Tick(dir string, unit time.Duration) error {
	return pass(dir, func(before, now time.Time) bool { return now.Truncate(unit).After(before.Truncate(unit)) })
}

// Age waits until what was written before is that old by the clock of the file system.
// The probes are written into dir, as those of [FileTime].
func Age(dir string, age time.Duration) error {
	return pass(dir, func(before, now time.Time) bool { return now.Sub(before) >= age })
}

// pass waits until enough has passed on the clock of the file system.
func pass(dir string, enough func(before, now time.Time) bool) error {
	before, err := FileTime(dir)
	if err != nil {
		return err
	}
	if !Wait(Patience, nil, func() bool {
		var now time.Time
		now, err = FileTime(dir)
		return err != nil || enough(before, now)
	}) {
		return errors.New("the clock of the file system stands still")
	}
	return err
}
