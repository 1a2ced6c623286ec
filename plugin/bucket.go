package plugin

import (
	"sync/atomic"
	"time"
)

// A bucket lets a number of things pass in a second, and as many at once. It
// takes no lock.
type bucket struct {
	interval int64 // between two of them, in ns; 0: everything passes
	next     atomic.Int64
}

func newBucket(perSecond int) *bucket {
	b := new(bucket)
	if perSecond > 0 {
		b.interval = int64(time.Second) / int64(perSecond)
	}
	return b
}

// take reports whether one more may pass at now.
func (b *bucket) take(now time.Time) bool {
	if b.interval == 0 {
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
