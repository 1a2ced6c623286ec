package sign

import (
	"context"
	"time"
)

// A Load is long work that leaves half of a processor to queries, if there are any.
// It is for one goroutine.
type Load struct {
	ctx     context.Context
	queries func() uint64 // answered so far
	began   time.Time
	seen    uint64
}

// NewLoad begins such work.
func NewLoad(ctx context.Context, queries func() uint64) *Load {
	return &Load{ctx, queries, time.Now(), queries()}
}

// least is the least piece of work that is worth a pause.
const least = time.Millisecond

// Yield pauses for as long as the work since the last pause took, if queries have
// come in, and again, up to ten times, as long as busy says so; busy may be nil.
// The error is the context's.
func (l *Load) Yield(busy func() bool) error {
	took := time.Since(l.began)
	if took < least {
		return l.ctx.Err()
	}
	if l.queries() != l.seen {
		timer := time.NewTimer(0)
		defer timer.Stop()
		for range 10 {
			timer.Reset(took)
			select {
			case <-timer.C:
			case <-l.ctx.Done():
			}
			if l.ctx.Err() != nil || busy == nil || !busy() {
				break
			}
		}
	}
	l.began, l.seen = time.Now(), l.queries()
	return l.ctx.Err()
}
