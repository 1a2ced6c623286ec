package answer

import (
	"testing"
	"time"

	"golang.org/x/time/rate"
)

// TestLimit holds how many pass in a second, at once, and after a clock that was set.
func TestLimit(t *testing.T) {
	now := time.Now()
	take := func(l *Limit, at time.Time, n int) (passed int) {
		for range n {
			if l.Take(at) {
				passed++
			}
		}
		return passed
	}
	l := NewLimit(100)
	if n := take(l, now, 1000); n != 100 {
		t.Errorf("%d pass at once, want 100", n)
	}
	if n := take(l, now.Add(time.Second/2), 1000); n != 50 {
		t.Errorf("%d pass after half a second, want 50", n)
	}
	if n := take(l, now.Add(time.Hour), 1000); n != 100 {
		t.Errorf("%d pass after an hour, want 100", n)
	}
	if n := take(l, now.Add(-time.Hour), 1000); n != 100 {
		t.Errorf("%d pass after the clock was set back, want 100", n)
	}
	if n := take(NewLimit(0), now, 1000) + take(nil, now, 1000); n != 2000 {
		t.Errorf("without a limit %d of 2000 pass", n)
	}
}

// BenchmarkLimit has all processors take from one limit that lets nothing pass any
// more, as in a flood, from ours and from golang.org/x/time/rate.
func BenchmarkLimit(b *testing.B) {
	run := func(b *testing.B, take func(time.Time) bool) {
		b.SetParallelism(64)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				take(time.Now())
			}
		})
	}
	b.Run("ours", func(b *testing.B) { run(b, NewLimit(100).Take) })
	limiter := rate.NewLimiter(100, 100)
	b.Run("x/time/rate", func(b *testing.B) { run(b, func(now time.Time) bool { return limiter.AllowN(now, 1) }) })
}
