package plugin

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/smimea/zone"
)

// presigned is a zone as secondaries get it that cannot sign, and what has
// changed in it.
type presigned struct {
	edition *zone.Edition
	journal *zone.Journal
}

// A presigning makes signed editions of a publisher's zones. It follows the
// snapshots: when all that is new in one has been signed ahead (see presign.go),
// it adds what answers of ours make as they go, the denials, and the whole is
// what transfers give out, under the snapshot's serial.
//
// New signatures of old records are to reach the secondaries as well. For these
// the serial rises without a change of the directory. It then comes from the
// clock, so that after a restart, when all is signed anew, it is not lower.
type presigning struct {
	p     *publisher
	wake  chan struct{}
	zones []zonePresigning
}

type zonePresigning struct {
	*zone.Presigner
	published atomic.Pointer[presigned]
	asked     uint32 // the serial that is to be raised, 0 if none ever was
	waiting   bool   // for signatures, since the last look at all
}

func newPresigning(p *publisher) *presigning {
	ps := &presigning{p: p, wake: make(chan struct{}, 1), zones: make([]zonePresigning, len(p.places))}
	for i := range ps.zones {
		ps.zones[i].Presigner = &zone.Presigner{Margin: notWithin, Renew: renewBefore, Spread: renewSpread}
	}
	return ps
}

func (ps *presigning) poke() {
	select {
	case ps.wake <- struct{}{}:
	default:
	}
}

func (ps *presigning) run(ctx context.Context) {
	renew := time.NewTicker(renewEvery)
	defer renew.Stop()
	again := time.NewTicker(time.Minute)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-renew.C:
		case <-again.C:
			for i := range ps.zones {
				if ps.zones[i].waiting {
					ps.zones[i].waiting = false
					ps.p.signing.everything()
				}
			}
		case <-ps.wake:
		}
		for i := range ps.zones {
			if ctx.Err() == nil {
				ps.advance(ctx, i)
			}
		}
	}
}

// advance makes the next edition of a zone, if there is something new and it is
// all signed.
func (ps *presigning) advance(ctx context.Context, i int) {
	signer, snap, z := ps.p.signer.Load(), ps.p.current.Load(), &ps.zones[i]
	if snap == nil || !signer.atApex(i) {
		return
	}
	served, keys, now := snap.zones[i], signer.keys[i], time.Now()
	published := z.published.Load()
	if z.asked == served.Serial {
		return // it is on its way
	}
	if published == nil && z.asked == 0 || published != nil && published.edition.Zone.Serial == served.Serial {
		if z.Changed(served, keys, now) && z.Signed(served, keys, now) {
			z.asked = served.Serial
			ps.p.do(ctx, func() { ps.p.raise(i) })
		}
		return
	}
	load := newLoad(ctx, ps.p)
	z.Sign = func(rrset []dns.RR) ([]dns.RR, error) {
		signatures.WithLabelValues("transfer").Inc()
		return signer.sign(rrset)
	}
	z.Pause = func() error { return load.yield() }
	var apex [][]dns.RR
	for _, rtype := range []uint16{dns.TypeCDS, dns.TypeCDNSKEY} {
		if rrs := ofType(signer.extra(i), rtype); len(rrs) > 0 {
			apex = append(apex, rrs)
		}
	}
	last := z.Last()
	edition, err := z.Next(served, keys, signer.dnskey(served.Origin, true), apex, now)
	switch {
	case errors.Is(err, zone.ErrUnsigned): // it will be, and then we are woken
		z.waiting = true
		return
	case err != nil:
		if ctx.Err() == nil {
			log.Errorf("Signing %s for its secondaries: %v", served.Origin, err)
		}
		return
	}
	next := &presigned{edition: edition}
	if last != nil && published != nil {
		next.journal = published.journal.Append(last, edition)
	} else {
		log.Infof("Signed %s for its secondaries, serial %d", served.Origin, served.Serial)
	}
	z.published.Store(next)
	ps.p.announce(i)
}

// raise gives a zone a later serial without another change. It is for the
// publisher's goroutine.
func (p *publisher) raise(i int) {
	old := p.current.Load()
	s := *old
	s.zones = slices.Clone(old.zones)
	z := *old.zones[i]
	if next := serialAt(time.Now()); int32(next-z.Serial) > 0 {
		z.Serial = next
	} else {
		z.Serial = max(1, z.Serial+1)
	}
	s.zones[i] = &z
	if p.presigning == nil {
		s.record(p, i, old)
	}
	remember(&z)
	p.current.Store(&s)
	if p.presigning != nil {
		p.presigning.poke()
	} else {
		p.saver.changed(true)
		p.announce(i)
	}
}

// do has the publisher's goroutine do something.
func (p *publisher) do(ctx context.Context, f func()) {
	select {
	case p.signing.work <- signed{do: f}:
	case <-p.done:
	case <-ctx.Done():
	}
}

// edition returns a zone as it is transferred, and the way to it; nil if it is
// not ready.
func (p *publisher) edition(i int) (*zone.Edition, *zone.Journal) {
	if p.presigning != nil {
		if e := p.presigning.zones[i].published.Load(); e != nil {
			return e.edition, e.journal
		}
		return nil, nil
	}
	s := p.current.Load()
	if s == nil {
		return nil, nil
	}
	return zone.NewEdition(s.zones[i], s.extras[i]), s.journals[i]
}

// record writes a zone's change from the snapshot before into its journal.
func (s *snapshot) record(p *publisher, i int, old *snapshot) {
	s.extras, s.journals = slices.Clone(old.extras), slices.Clone(old.journals)
	s.extras[i] = p.signer.Load().extra(i)
	s.journals[i] = old.journals[i].Append(zone.NewEdition(old.zones[i], old.extras[i]), zone.NewEdition(s.zones[i], s.extras[i]))
	histories.Lock()
	defer histories.Unlock()
	histories.zones[s.zones[i].Origin] = history{versionOf(s.zones[i]), s.extras[i], s.journals[i]}
}

// histories are the journals of the zones that this process has served last, by
// origin: a zone's must not be lost when the configuration of others changes.
var histories = struct {
	sync.Mutex
	zones map[string]history
}{zones: map[string]history{}}

type history struct {
	version version
	extra   []dns.RR
	journal *zone.Journal
}

// recall returns the journal of a zone that was served just so before, or nil.
func recall(z *zone.Zone, extra []dns.RR) *zone.Journal {
	histories.Lock()
	defer histories.Unlock()
	h, ok := histories.zones[z.Origin]
	if !ok || h.version != versionOf(z) || !slices.EqualFunc(h.extra, extra, dns.IsDuplicate) {
		return nil
	}
	return h.journal
}

// adopt has secondaries told of other CDS records, after other keys have come.
func (p *publisher) adopt() {
	s := p.current.Load()
	if s == nil || p.presigning != nil {
		return
	}
	for i := range s.zones {
		if p.places[i].Layout != zone.Beside && !slices.EqualFunc(s.extras[i], p.signer.Load().extra(i), dns.IsDuplicate) {
			p.raise(i)
		}
	}
}

// A load leaves half of a processor to queries, if there are any.
type load struct {
	ctx     context.Context
	p       *publisher
	began   time.Time
	queries uint64
}

func newLoad(ctx context.Context, p *publisher) *load {
	return &load{ctx, p, time.Now(), p.queries.Load()}
}

func (l *load) yield() error {
	took := time.Since(l.began)
	if took < time.Millisecond {
		return l.ctx.Err()
	}
	if l.p.queries.Load() != l.queries {
		select {
		case <-time.After(took):
		case <-l.ctx.Done():
		}
	}
	l.began, l.queries = time.Now(), l.p.queries.Load()
	return l.ctx.Err()
}
