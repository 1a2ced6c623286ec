// Package world is a source of certificates for package ldap: those that whole
// the world publishes, found and judged by package discover.
package world

import (
	"context"
	"errors"
	"sync"
	"time"

	"coredns-smimea/discover"
	"coredns-smimea/ldap"
	"coredns-smimea/ldap/bridge"
	"coredns-smimea/smimea"
)

// Options say how a World looks.
type Options struct {
	Client *discover.Client
	// Unverified has certificates handed out that nothing signed vouches for.
	Unverified bool
	// Bridge, if not nil, makes the authorities of verified certificates
	// known to mail programs.
	Bridge *bridge.Bridge
	// Unbridged is told why a certificate is handed out without, if not nil.
	Unbridged func(smimea.Address, error)
	// Time is how long a look-up may take, whoever waits for it. A minute if 0.
	Time time.Duration
	// Lookups is how many are under way at once, 32 if 0.
	Lookups int
	// Remembered is of how many addresses verdicts are kept, 4096 if 0.
	Remembered int
	// Looked is told of each look-up, if not nil.
	Looked func(Lookup)
}

// A Lookup says how a look-up went.
type Lookup struct {
	Address smimea.Address
	Verdict discover.Verdict
	// Why names the address, as do the names of DNS records in it.
	Why string
	// Suggestion is an address that has certificates where this one has none:
	// its local-part in another case.
	Suggestion string
	Took       time.Duration
}

// A World looks addresses up. Those who ask for the same address at the same
// time wait for one look-up, which goes on if they do not wait. Verdicts are kept
// as long as the DNS says; a failure is none.
type World struct {
	options Options
	ctx     context.Context
	cancel  context.CancelFunc
	working sync.WaitGroup

	mu       sync.Mutex
	verdicts map[smimea.Address]*verdict // known, and still looked for
	underWay int
}

// A verdict is what is known of an address. Its fields are read once done is
// closed.
type verdict struct {
	done  chan struct{}
	found ldap.Found
	err   error
	until time.Time // under the lock; zero while it is looked for
}

// New returns a World, which is to be closed.
func New(o Options) *World {
	if o.Time == 0 {
		o.Time = time.Minute
	}
	if o.Lookups == 0 {
		o.Lookups = 32
	}
	if o.Remembered == 0 {
		o.Remembered = 4096
	}
	w := &World{options: o, verdicts: map[smimea.Address]*verdict{}}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// Close ends all look-ups, and waits for them.
func (w *World) Close() {
	w.mu.Lock()
	w.cancel()
	w.mu.Unlock()
	w.working.Wait()
}

// Find is that of [ldap.Source].
func (w *World) Find(ctx context.Context, address smimea.Address) (ldap.Found, error) {
	v, err := w.verdict(address)
	if err != nil {
		return ldap.Found{}, err
	}
	select {
	case <-v.done:
		return v.found, v.err
	case <-ctx.Done():
		return ldap.Found{}, ctx.Err()
	}
}

// verdict returns the verdict on an address, which may still be looked for.
func (w *World) verdict(address smimea.Address) (*verdict, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx.Err() != nil {
		return nil, errors.New("the server stops")
	}
	if v := w.verdicts[address]; v != nil && (v.until.IsZero() || time.Now().Before(v.until)) {
		return v, nil
	}
	if w.underWay >= w.options.Lookups {
		return nil, ldap.ErrBusy
	}
	w.makeRoom()
	v := &verdict{done: make(chan struct{})}
	w.verdicts[address] = v
	w.underWay++
	w.working.Go(func() { w.look(address, v) })
	return v, nil
}

// makeRoom forgets verdicts if there are too many: those that have expired,
// or else any one. The lock is held.
func (w *World) makeRoom() {
	if len(w.verdicts) < w.options.Remembered {
		return
	}
	now := time.Now()
	for address, v := range w.verdicts {
		if !v.until.IsZero() && now.After(v.until) {
			delete(w.verdicts, address)
		}
	}
	for address, v := range w.verdicts {
		if len(w.verdicts) < w.options.Remembered {
			return
		}
		if !v.until.IsZero() {
			delete(w.verdicts, address)
		}
	}
}

// look looks an address up, and lets those know who wait.
func (w *World) look(address smimea.Address, v *verdict) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(w.ctx, w.options.Time)
	r := w.options.Client.Lookup(ctx, address)
	cancel()
	lasts := time.Duration(0)
	v.found, lasts, v.err = w.judge(r)

	w.mu.Lock()
	w.underWay--
	v.until = time.Now().Add(lasts)
	if v.err != nil {
		delete(w.verdicts, address)
	}
	w.mu.Unlock()
	if w.options.Looked != nil {
		w.options.Looked(Lookup{address, r.Verdict, r.Why.Text, r.Suggestion, time.Since(begin)})
	}
	close(v.done)
}
