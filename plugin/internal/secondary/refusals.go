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

// refusals log who was refused a transfer, and why. From the first refusal on there is a
// minute, at whose end it is logged how many had no line in it.
type refusals struct {
	mu     sync.Mutex
	lines  int // refused in the minute
	minute *time.Timer
	closed bool
	ending sync.WaitGroup // the end of a minute
}

// tell logs one at a time, or counts it for the end of the minute.
func (r *refusals) tell(zone, client, why string) {
	r.mu.Lock()
	if r.lines == 0 && !r.closed {
		r.ending.Add(1)
		r.minute = time.AfterFunc(refusalsEvery, r.end)
	}
	r.lines++
	logged := r.lines <= refusalsLogged
	r.mu.Unlock()
	if logged {
		log.Warningf("Refusing a transfer of %s to %s: %s", zone, client, why)
	}
}

// end ends a minute.
func (r *refusals) end() {
	defer r.ending.Done()
	r.mu.Lock()
	folded := r.lines - refusalsLogged
	r.lines = 0
	r.mu.Unlock()
	if folded > 0 {
		log.Warningf("Refused %d more transfers within %v", folded, refusalsEvery)
	}
}

// close ends the minute that there is, and waits until that is done. No other begins.
func (r *refusals) close() {
	r.mu.Lock()
	r.closed = true
	ends := r.minute != nil && r.minute.Stop()
	r.mu.Unlock()
	if ends {
		r.end()
	}
	r.ending.Wait()
}
