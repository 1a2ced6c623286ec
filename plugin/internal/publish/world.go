package publish

import (
	"context"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/certsource/directory"
	"coredns-smimea/certsource/revocation"
	"coredns-smimea/internal/disk"
	"coredns-smimea/internal/statefile"
	"coredns-smimea/plugin/internal/crl"
)

// A World is all that a publisher has from outside: the time, the directory and what
// is heard of it, and the disk that a state is kept on. A simulation puts its own in
// these places, and then either lets the publisher run in a bubble of testing/synctest,
// or calls the methods of its goroutine one by one, in whatever order a seed
// says: begin, look, check, expire, keep, the tasks, and those of the saver.
type World struct {
	// System has the time, and is where the directory and its notifications are.
	System    disk.System
	Workers   int          // that read files at once, 0 for one a processor
	Timer     func() Timer // stopped
	Directory func(directory.Options) Directory
	Inherit   func(directory.Options, directory.Legacy, func(directory.File) bool) Directory
	Disk      statefile.Disk // of a state
	Lists     func(crl.Config) crl.World
}

// A Timer is a time.Timer.
type Timer interface {
	C() <-chan time.Time
	Reset(time.Duration)
	Stop()
}

// A Directory looks at files: see directory.Directory.
type Directory interface {
	Look(ctx context.Context, now time.Time, changed func(directory.Change)) (directory.Report, error)
	Check(ctx context.Context, paths []string, now time.Time, changed func(directory.Change)) (directory.Report, error)
	Expire(ctx context.Context, now time.Time, changed func(directory.Change))
	NextExpiry() time.Time
	Expiring(until time.Time) int
	Revoke(by *revocation.Set)
	Concerned(by *revocation.Set) (paths []string, withdrawn int)
	Names(issued revocation.ID) bool
	Revoked() int
	Confirmed(since time.Time) bool
	Failing() map[certsource.Reason]int
	Published() int
	Remarks() []directory.Remark
	Files() directory.Files
	Legacy() directory.Legacy
	Restore(files, octets int) *directory.Restoration
	Device() uint64
}

// Real is the world as it is.
func Real() World {
	return World{
		System:    disk.OS,
		Timer:     newTimer,
		Directory: func(o directory.Options) Directory { return directory.New(o) },
		Inherit: func(o directory.Options, l directory.Legacy, again func(directory.File) bool) Directory {
			return directory.Inherit(o, l, again)
		},
		Disk:  statefile.OS{},
		Lists: crl.Real,
	}
}

type timer struct{ *time.Timer }

func newTimer() Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return timer{t}
}

func (t timer) C() <-chan time.Time   { return t.Timer.C }
func (t timer) Reset(d time.Duration) { t.Timer.Reset(d) }
func (t timer) Stop()                 { t.Timer.Stop() }
