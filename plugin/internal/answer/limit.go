package answer

import (
	"sync/atomic"
	"time"
)

// A Limit lets a number of things pass in a second, and as many at once. It takes
// no lock: under a flood of names that do not exist all processors come here for
// each of them, and with golang.org/x/time/rate, which has a mutex, one waits for
// the other (see BenchmarkLimit). A nil one lets everything pass.
type Limit struct {
	interval int64 // between two of them, in ns; 0: everything passes
	next     atomic.Int64
}

// NewLimit returns a limit; 0 lets everything pass.
func NewLimit(perSecond int) *Limit {
	b := new(Limit)
	if perSecond > 0 {
		b.interval = int64(time.Second) / int64(perSecond)
	}
	return b
}

// Take reports whether one more may pass at now.
func (b *Limit) Take(now time.Time) bool {
	if b == nil || b.interval == 0 {
		return true
	}
	t := now.UnixNano()
	for {
		next := b.next.Load()
		// What has not been used for a second is lost; a clock that went
		// back starts a new second.
		from := next
		if from < t-int64(time.Second) || from > t+int64(time.Second) {
			from = t - int64(time.Second)
		}
		if from+b.interval > t {
			return false
		}
		if b.next.CompareAndSwap(next, from+b.interval) {
			return true
		}
	}
}
