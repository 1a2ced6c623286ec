package publish

import "slices"

// A State is where a publisher is between knowing nothing and its end. It is drawn
// in docs/architecture.md.
type State uint32

const (
	// Unread: nothing is served, since nothing is known, or nothing that was
	// served last. Whatever happens leads to a look at everything.
	Unread State = iota
	// Restored: what an earlier publisher or process served is served; the
	// directory has not been looked at. Expiry goes on; whatever else happens
	// leads to a look at everything.
	Restored
	// Serving: what the directory holds is served.
	Serving
	// HeldBack: the same, but for withdrawals that look like an accident.
	HeldBack
	// Gone: the directory cannot be read; what was served stays.
	Gone
	// Leaving: nobody holds the publisher any more. What it has served can still
	// be asked for, and is saved, unless another publisher keeps that state now.
	Leaving

	states
)

var stateNames = [states]string{"unread", "restored", "serving", "held back", "gone", "leaving"}

func (s State) String() string { return stateNames[s] }

// transitions are the states that follow each, beside itself.
var transitions = [states][]State{
	Unread:   {Restored, Serving, HeldBack, Leaving},
	Restored: {Serving, HeldBack, Leaving},
	Serving:  {HeldBack, Gone, Leaving},
	HeldBack: {Serving, Gone, Leaving},
	Gone:     {Serving, HeldBack, Leaving},
}

// looked reports whether everything has been looked at once, so that a part may
// be looked at by itself.
func (s State) looked() bool { return s >= Serving && s < Leaving }

// enter makes a transition. One that is not drawn is a mistake of ours: it is told,
// and the service goes on.
func (p *Publisher) enter(next State) {
	was := p.State()
	if was == next {
		return
	}
	if !slices.Contains(transitions[was], next) {
		log.Errorf("A mistake in this program: %q was %v and is %v now; please report it", p.config.Dir, was, next)
	}
	p.state.Store(uint32(next))
}

// afterLook enters the state that a look has led to. The first look that succeeds
// leaves Unread or Restored; one that fails before it leaves all as it is.
func (p *Publisher) afterLook(err error) {
	switch was := p.State(); {
	case err != nil && was.looked():
		p.enter(Gone)
	case err != nil:
	case p.held > 0:
		p.enter(HeldBack)
	default:
		p.enter(Serving)
	}
}
