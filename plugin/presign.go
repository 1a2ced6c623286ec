package plugin

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/smimea/zone"
)

const (
	// Signatures are made anew when less than this is left of their eight days;
	// earlier by up to renewSpread, so that not all are due at once.
	renewBefore = 3 * 24 * time.Hour
	renewSpread = 3 * 24 * time.Hour
	renewEvery  = time.Hour // how often they are looked through

	signaturesAtOnce = 64 // before queries are yielded to
)

// signed are RRsets of one zone with their signatures, to be kept.
type signed struct {
	zone   int
	keys   zone.Keys
	rrsets []zone.RRset
	sigs   [][]dns.RR
	do     func() // instead, by the publisher's goroutine
}

// A signing makes signatures ahead of the queries that need them, one after
// the other.
type signing struct {
	p    *publisher
	work chan signed
	wake chan struct{}
	// offered is how many signatures queries have handed over.
	offered atomic.Uint64

	mu    sync.Mutex
	all   bool
	queue []pending
}

// pending is what has changed in a zone and is not signed yet.
type pending struct {
	zone        int
	differences []zone.Difference
}

func newSigning(p *publisher) *signing {
	return &signing{p: p, work: make(chan signed, 64), wake: make(chan struct{}, 1)}
}

// start begins to sign, and returns what is to be kept.
func (s *signing) start(ctx context.Context) <-chan signed {
	go s.run(ctx)
	return s.work
}

// changed has the changed names of a zone signed; without differences, all.
func (s *signing) changed(zone int, differences []zone.Difference) {
	s.mu.Lock()
	if differences == nil {
		s.all = true
	} else {
		s.queue = append(s.queue, pending{zone, differences})
	}
	s.mu.Unlock()
	s.notify()
}

// everything has all names signed that lack good signatures.
func (s *signing) everything() {
	s.mu.Lock()
	s.all = true
	s.mu.Unlock()
	s.notify()
}

func (s *signing) notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// offer keeps signatures that a query needed, if there is time for it.
func (s *signing) offer(b signed) {
	select {
	case s.work <- b:
		s.offered.Add(1)
	default:
	}
}

func (s *signing) run(ctx context.Context) {
	renew := time.NewTicker(renewEvery)
	defer renew.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-renew.C:
			s.everything()
		case <-s.wake:
		}
		s.mu.Lock()
		queue, all := s.queue, s.all
		s.queue, s.all = nil, false
		s.mu.Unlock()
		for _, q := range queue {
			if signer := s.p.signer.Load(); signer.signs(q.zone) {
				s.sign(ctx, signer, q)
			}
		}
		if all {
			s.pass(ctx)
		}
		if s.p.presigning != nil {
			s.p.do(ctx, s.p.presigning.poke) // after what has been signed is kept
		}
	}
}

// sign signs what has changed.
func (s *signing) sign(ctx context.Context, signer *signer, q pending) {
	zone := s.p.current.Load().zones[q.zone]
	run := s.begin(ctx, signer, q.zone)
	for _, d := range q.differences {
		if rrset, ok := zone.Changed(d); ok && !run.add(rrset) {
			return
		}
	}
	run.flush()
}

// pass signs all that lacks good signatures.
func (s *signing) pass(ctx context.Context) {
	signer, snap := s.p.signer.Load(), s.p.current.Load()
	if signer == nil || snap == nil {
		return
	}
	for i := range snap.zones {
		if !signer.signs(i) {
			continue
		}
		run := s.begin(ctx, signer, i)
		for _, tree := range []zone.Tree{zone.Certs, zone.Texts} {
			// The zone as it is now, page by page: queries have names signed, too,
			// and what is signed moves to later pages only.
			for page := 0; page < s.p.current.Load().zones[i].Pages(tree); page++ {
				zone := s.p.current.Load().zones[i]
				for rrset := range zone.Unsigned(tree, page, signer.keys[i], time.Now(), renewBefore, renewSpread) {
					if !run.add(rrset) {
						return
					}
				}
			}
		}
		run.flush()
	}
}

// signRun signs RRsets of one zone.
type signRun struct {
	*signing
	ctx     context.Context
	signer  *signer
	batch   signed
	began   time.Time
	queries uint64
}

func (s *signing) begin(ctx context.Context, signer *signer, zone int) *signRun {
	return &signRun{signing: s, ctx: ctx, signer: signer, batch: signed{zone: zone, keys: signer.keys[zone]}, began: time.Now(), queries: s.p.queries.Load()}
}

// add signs one more. It reports whether to go on.
func (r *signRun) add(rrset zone.RRset) bool {
	sigs, err := r.signer.sign(rrset.Records)
	if err != nil {
		log.Errorf("Signing ahead: %v", err)
		return false
	}
	signatures.WithLabelValues("ahead").Inc()
	r.batch.rrsets = append(r.batch.rrsets, rrset)
	r.batch.sigs = append(r.batch.sigs, sigs)
	if len(r.batch.rrsets) < signaturesAtOnce {
		return true
	}
	return r.flush() && r.yield()
}

// flush hands over what is signed.
func (r *signRun) flush() bool {
	if len(r.batch.rrsets) == 0 {
		return true
	}
	select {
	case r.work <- r.batch:
	case <-r.ctx.Done():
		return false
	}
	r.batch.rrsets, r.batch.sigs = nil, nil
	return true
}

// yield leaves half of a processor to queries, if there are any.
func (r *signRun) yield() bool {
	took := time.Since(r.began)
	if now := r.p.queries.Load(); now != r.queries {
		for range 10 {
			offered := r.offered.Load()
			select {
			case <-time.After(took):
			case <-r.ctx.Done():
				return false
			}
			// Queries that have their names signed do our work meanwhile, and
			// that of answering: they come first.
			if r.offered.Load()-offered < signaturesAtOnce/2 {
				break
			}
		}
	}
	// Other keys: what these sign is not wanted any more. All is begun anew.
	if r.p.signer.Load() != r.signer {
		return false
	}
	r.began, r.queries = time.Now(), r.p.queries.Load()
	return true
}

// sign keeps signatures in the zone. It is for the publisher's goroutine.
func (p *publisher) sign(b signed) {
	if b.do != nil {
		b.do()
		return
	}
	old := p.current.Load()
	if old == nil {
		return
	}
	edit := old.zones[b.zone].Edit()
	// Queries hand over one signature each: all that are there make one version.
	var other *signed
	for waiting := len(p.signing.work); ; waiting-- {
		for i, rrset := range b.rrsets {
			if err := edit.Sign(rrset, b.keys, b.sigs[i]); err != nil {
				log.Errorf("Keeping a signature: %v", err)
			}
		}
		if waiting == 0 {
			break
		}
		if next := <-p.signing.work; next.do == nil && next.zone == b.zone {
			b = next
		} else {
			other = &next
			break
		}
	}
	edited, _ := edit.Zone(nil)
	s := *old
	s.zones = append([]*zone.Zone(nil), old.zones...)
	s.zones[b.zone] = edited
	p.current.Store(&s)
	if other != nil {
		p.sign(*other)
	}
}

// setSigner makes a block's signer the one that signs ahead. Signatures of
// other keys than before are good no more.
func (p *publisher) setSigner(s *signer) {
	publishers.Lock()
	defer publishers.Unlock()
	old := p.signer.Load()
	if old == s {
		return // in use already
	}
	if old != nil && s != nil && old.identity == s.identity {
		for i := range s.keys {
			s.keys[i].Generation = old.keys[i].Generation
		}
	} else if s != nil {
		p.generation++
		for i := range s.keys {
			s.keys[i].Generation = p.generation
		}
	}
	other := s == nil || p.signer.Load() == nil || p.signer.Load().identity != s.identity
	p.signer.Store(s)
	if other {
		go p.do(context.Background(), p.adopt)
	}
	if s != nil {
		p.signing.everything()
	}
}
