package served

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
		oldest.Add(Tick), now, now.Add(Tick), now.Add(time.Second), now.AddDate(1, 0, 0), now.AddDate(15, 0, 0),
	}
	for i, early := range times {
		for _, late := range times[i:] {
			d := int32(SerialAt(late) - SerialAt(early))
			if d < 0 || d == 0 && late.Sub(early) >= Tick && late.After(oldest) {
				t.Errorf("%v has serial %d, %v %d", early, SerialAt(early), late, SerialAt(late))
			}
		}
	}
	if a, b := SerialAt(now.Add(time.Nanosecond)), SerialAt(now.Add(Tick)); a != b {
		t.Errorf("within a tick: serials %d and %d", a, b)
	}
	if SerialAt(now.Add(-time.Nanosecond)) != SerialAt(now) {
		t.Error("a tick does not end with its time")
	}
	for n := range uint32(8) { // around where it wraps, in 2060: never 0
		if serial := SerialAt(time.Unix(0, 2*int64(Tick)<<32).Add(time.Duration(n) * Tick / 4)); serial == 0 {
			t.Error("serial 0")
		}
	}
}

// TestSerialNext holds that the next serial is a later one, whatever times say.
func TestSerialNext(t *testing.T) {
	now := time.Now()
	for _, last := range []uint32{0, 1, SerialAt(now) - 1, SerialAt(now), SerialAt(now) + 1000, 1<<32 - 1, 1 << 31} {
		for _, newest := range []time.Time{{}, time.Unix(0, 0), now.Add(-time.Hour), now} {
			next := NextSerial(last, newest)
			if next == 0 || last != 0 && int32(next-last) <= 0 {
				t.Errorf("after %d comes %d (%v)", last, next, newest)
			}
		}
	}
	if got := NextSerial(SerialAt(now.Add(-time.Hour)), now); got != SerialAt(now) {
		t.Errorf("serial %d, want that of now, %d", got, SerialAt(now))
	}
}
