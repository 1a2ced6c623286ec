package publish

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"coredns-smimea/internal/statefile"
	"coredns-smimea/plugin/internal/sign"
)

// publishers are those that run, by the key of their configuration. A publisher
// belongs to the process: a reload of the Corefile that leaves its configuration
// as it is takes it over, with all that it has read.
var publishers = struct {
	sync.Mutex
	byKey     map[string]*Publisher
	instances int // how many there have been
	leases    int
	// retired have ended while something was published that cannot be read again, by
	// what they read: their blocks may come back.
	retired map[string]*Publisher
}{byKey: map[string]*Publisher{}, retired: map[string]*Publisher{}}

// NewInstance returns the number of a new instance of the server: what one
// Corefile makes. During a reload there are two. Later ones have higher numbers.
func NewInstance() int {
	publishers.Lock()
	defer publishers.Unlock()
	publishers.instances++
	return publishers.instances
}

// A Lease is what one server block holds of a publisher.
type Lease struct {
	*Publisher

	holder Holder
	number int  // leases are numbered in their order
	first  bool // nothing of an older instance was served
	made   bool // the publisher was made for this lease
}

// A Holder is a server block that wants a directory followed.
type Holder struct {
	Instance int
	Where    string // file and line of its directive
	Signer   *sign.Signer
	// Secondaries returns who passes on what a new publisher publishes.
	Secondaries func(*Publisher) Secondaries
}

// Acquire returns a lease of the publisher with a configuration. If there is none
// it makes one, which begins with what one of the instance before has read, if
// that read the same.
func Acquire(c Config, h Holder) (*Lease, error) { return acquire(c, h, Real()) }

func acquire(c Config, h Holder, w World) (*Lease, error) {
	publishers.Lock()
	defer publishers.Unlock()
	key := c.Key()
	if err := shared(c.State, key, h.Instance); err != nil {
		return nil, err
	}
	l := &Lease{holder: h, first: !older(h.Instance)}
	if l.Publisher = publishers.byKey[key]; l.Publisher == nil {
		l.made = true
		l.Publisher = newPublisher(c, w)
		publishers.byKey[key] = l.Publisher
	}
	publishers.leases++
	l.number = publishers.leases
	l.leases[l] = true
	if !l.made {
		l.setSigner(h.Signer)
		return l, nil
	}
	var before *predecessor
	if old := predecessorOf(&c, h.Instance); old != nil {
		before = &predecessor{old.config, old.current.Load(), old.octets}
		if old == publishers.retired[c.readKey()] {
			delete(publishers.retired, c.readKey())
		}
		// The signatures that are taken over are good if the keys are the same.
		l.signer.Store(old.Signer())
		l.generation = old.generation
	}
	if before != nil && l.octets != nil && before.octets != nil {
		l.octets = before.octets
	}
	l.setSigner(h.Signer)
	if h.Secondaries != nil {
		l.secondaries = h.Secondaries(l.Publisher)
	}
	l.start(before)
	return l, nil
}

// older reports whether an instance before one holds a publisher. The lock is held.
func older(instance int) bool {
	for _, p := range publishers.byKey {
		for l := range p.leases {
			if l.holder.Instance < instance {
				return true
			}
		}
	}
	return false
}

// shared returns an error if another block of the same Corefile keeps another
// state in the same file. The lock is held.
func shared(state, key string, instance int) error {
	for other, p := range publishers.byKey {
		for l := range p.leases {
			if state == "" || p.config.State == "" || l.holder.Instance != instance || other == key {
				continue
			}
			if statefile.At(p.config.State).Place() == statefile.At(state).Place() {
				return fmt.Errorf("the state %q is that of %s, too: give each block a file of its own", state, l.holder.Where)
			}
		}
	}
	return nil
}

// predecessorOf returns the publisher of an older instance that reads the same and
// serves the most of the same zones; nil if there is none that serves anything. Where it
// serves none of them, one that has ended may have. The lock is held.
func predecessorOf(c *Config, instance int) *Publisher {
	origins := map[string]bool{}
	for _, p := range c.Places {
		origins[p.Origin] = true
	}
	var best *Publisher
	most := -1
	common := func(p *Publisher) (n int) {
		for _, z := range slices.Concat(p.current.Load().Zones, p.current.Load().departed) {
			if z != nil && origins[z.Origin] {
				n++
			}
		}
		return n
	}
	readKey := c.readKey()
	for _, p := range publishers.byKey {
		older := false
		for l := range p.leases {
			older = older || l.holder.Instance < instance
		}
		if !older || p.current.Load() == nil || p.config.readKey() != readKey {
			continue
		}
		if n := common(p); n > most || n == most && p.config.Key() < best.config.Key() {
			best, most = p, n
		}
	}
	if p := publishers.retired[readKey]; p != nil && most <= 0 && common(p) > 0 {
		best = p
	}
	return best
}

// setSigner makes a block's signer the one that signs ahead. Signatures of other
// keys than before are good no more. The registry's lock is held.
func (p *Publisher) setSigner(s *sign.Signer) {
	old := p.Signer()
	same := old.SameKeys(s)
	if s != nil {
		generation := old.Generation()
		if !same {
			p.generation++
			generation = p.generation
		}
		s.Number(generation)
	}
	p.useSigner(s, same)
}

// useSigner has a signer sign from now on that has its number.
func (p *Publisher) useSigner(s *sign.Signer, same bool) {
	p.signer.Store(s)
	if !same {
		p.post(p.adopt)
	}
	p.ahead.Everything()
}

// post has the publisher's goroutine do something, if it is not too busy with what
// it has been told already. It never waits: the registry's lock is held.
func (p *Publisher) post(task func()) {
	select {
	case p.tasks <- task:
	default:
		log.Errorf("A mistake in this program: the publisher of %q is not told of other keys; please report it", p.config.Dir)
	}
}

// AbandonReload releases what newer instances than one hold: the reload to them
// has failed, and nobody tells them. What remains is as before: the signer is that
// of the block that took hold last, and the state is the publisher's own again.
func AbandonReload(instance int) {
	publishers.Lock()
	defer publishers.Unlock()
	for _, p := range publishers.byKey {
		for l := range p.leases {
			if l.holder.Instance > instance {
				l.release()
			}
		}
		var last *Lease
		for l := range p.leases {
			if last == nil || l.number > last.number {
				last = l
			}
		}
		if last == nil {
			continue // it ends
		}
		p.post(p.takeBack)
		if s := last.holder.Signer; p.Signer() != s {
			p.useSigner(s, p.Signer().SameKeys(s))
		}
	}
}

// release ends a publisher if nobody holds it any more. The lock is held.
func (l *Lease) release() {
	if !l.leases[l] {
		return
	}
	delete(l.leases, l)
	if len(l.leases) == 0 {
		delete(publishers.byKey, l.config.Key())
		if l.irreplaceable.Load() && l.current.Load() != nil {
			publishers.retired[l.config.readKey()] = l.Publisher
		}
		l.cancel()
	}
}

// endWithin is how long a publisher that nobody holds any more may take to end.
const endWithin = time.Minute

// Release gives the lease back. What was published can still be asked for: queries
// come in until the servers have stopped. Where nobody else holds the publisher,
// Release waits for its end, since the process may end next, and the state is to
// be saved; but a file system that hangs must not hang all.
func (l *Lease) Release() {
	publishers.Lock()
	l.release()
	held := len(l.leases) > 0
	publishers.Unlock()
	if held {
		return
	}
	timer := time.NewTimer(endWithin)
	defer timer.Stop()
	select {
	case <-l.done:
	case <-timer.C:
		log.Errorf("Leaving %q behind: it does not end its look, or its save", l.config.Dir)
	}
}

// patience is how long the first start waits for a directory of millions: other
// zones of this server are not to wait for it.
const patience = 5 * time.Second

// Wait waits until what there is to serve is served. At a reload, while the old
// instance still answers, it waits for as long as that takes, and returns why
// nothing can be served. At the first start it waits a few seconds only, and not for
// a directory that cannot be read: there is nothing else to serve meanwhile.
func (l *Lease) Wait(ctx context.Context) error {
	var enough <-chan time.Time
	switch {
	case !l.made:
		return nil // it answers as it did for the block before
	case l.first:
		timer := time.NewTimer(patience)
		defer timer.Stop()
		enough = timer.C
	}
	select {
	case <-l.ready:
	case <-l.done:
	case err := <-l.trouble:
		if !l.first {
			return err
		}
	case <-enough:
		log.Infof("Reading %q: its zones are answered for when that is done", l.config.Dir)
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// Ready reports whether every publisher of the process serves all of its zones.
func Ready() bool {
	publishers.Lock()
	defer publishers.Unlock()
	for _, p := range publishers.byKey {
		if !p.current.Load().complete() {
			return false
		}
	}
	return true
}
