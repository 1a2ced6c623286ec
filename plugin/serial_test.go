package plugin

import (
	"testing"
	"time"
)

// TestSerialAt holds that serials rise with time, by RFC 1982, for as long as
// that can be, and that older times do not turn it around.
func TestSerialAt(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	times := []time.Time{
		{}, time.Unix(0, 0), time.Unix(1, 0), time.Date(2009, 1, 1, 0, 0, 0, 0, time.UTC), oldest,
		oldest.Add(tick), now, now.Add(tick), now.Add(time.Second), now.AddDate(1, 0, 0), now.AddDate(15, 0, 0),
	}
	for i, early := range times {
		for _, late := range times[i:] {
			d := int32(serialAt(late) - serialAt(early))
			if d < 0 || d == 0 && late.Sub(early) >= tick && late.After(oldest) {
				t.Errorf("%v has serial %d, %v %d", early, serialAt(early), late, serialAt(late))
			}
		}
	}
	if a, b := serialAt(now.Add(time.Nanosecond)), serialAt(now.Add(tick)); a != b {
		t.Errorf("within a tick: serials %d and %d", a, b)
	}
	if serialAt(now.Add(-time.Nanosecond)) != serialAt(now) {
		t.Error("a tick does not end with its time")
	}
	for n := range uint32(8) { // around where it wraps, in 2060: never 0
		if serial := serialAt(time.Unix(0, 2*int64(tick)<<32).Add(time.Duration(n) * tick / 4)); serial == 0 {
			t.Error("serial 0")
		}
	}
}

// TestSerialNext holds that the next serial is a later one, whatever times say.
func TestSerialNext(t *testing.T) {
	p := &publisher{}
	now := time.Now()
	for _, last := range []uint32{0, 1, serialAt(now) - 1, serialAt(now), serialAt(now) + 1000, 1<<32 - 1, 1 << 31} {
		for _, newest := range []time.Time{{}, time.Unix(0, 0), now.Add(-time.Hour), now} {
			next := p.serial(0, last, newest)
			if next == 0 || last != 0 && int32(next-last) <= 0 {
				t.Errorf("after %d comes %d (%v)", last, next, newest)
			}
		}
	}
	if got := p.serial(0, serialAt(now.Add(-time.Hour)), now); got != serialAt(now) {
		t.Errorf("serial %d, want that of now, %d", got, serialAt(now))
	}
}
