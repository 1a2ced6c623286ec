package secondary

import (
	"sync"
	"time"
)

const (
	// refusalsEvery is the time in which refusalsLogged refused transfers have a line
	// of their own; anybody can have transfers refused, as often as he likes.
	refusalsEvery  = time.Minute
	refusalsLogged = 5
)

// refusals log who was refused a transfer, and why.
type refusals struct {
	mu     sync.Mutex
	began  time.Time // of the minute
	lines  int       // in it
	folded int       // that have none
}

// tell logs one at a time, or counts it for a later line.
func (r *refusals) tell(now time.Time, zone, client, why string) {
	r.mu.Lock()
	folded := 0
	if now.Sub(r.began) >= refusalsEvery {
		folded = r.folded
		r.began, r.lines, r.folded = now, 0, 0
	}
	r.lines++
	logged := r.lines <= refusalsLogged
	if !logged {
		r.folded++
	}
	r.mu.Unlock()
	if folded > 0 {
		log.Warningf("Refused %d more transfers before", folded)
	}
	if logged {
		log.Warningf("Refusing a transfer of %s to %s: %s", zone, client, why)
	}
}
