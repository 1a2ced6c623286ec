package secondary

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/plugin/internal/metric"
	"coredns-smimea/plugin/internal/sign"
	"coredns-smimea/smimea/zone"
)

// signedZones makes the zones of a group as secondaries get them that cannot sign.
// It follows the snapshots: when all that is new in one has been signed ahead, it
// adds what answers of ours make as they go, the denials, and the whole is what
// transfers give out, under the snapshot's serial.
//
// New signatures of old records are to reach the secondaries as well. For these
// the serial rises without a change of the directory. It then comes from the
// clock, so that after a restart, when all is signed anew, it is not lower.
type signedZones struct {
	group *Group
	wake  chan struct{}
	zones []signedZone
}

// A signedZone is owned by run, but for what is published of it.
type signedZone struct {
	*zone.SignedZone
	index     int // of the zone
	published atomic.Pointer[transferable]
	asked     uint32 // the serial that is to be raised, 0 if none ever was
	waiting   bool   // for signatures, since the last look at all
	measured  time.Time
}

// transferable is a zone as it is transferred, and the way to it.
type transferable struct {
	version *zone.Transferable
	journal *zone.Journal
}

// lookAgain is how often a zone that waits for signatures has them looked for.
const lookAgain = time.Minute

func newSignedZones(g *Group) *signedZones {
	s := &signedZones{group: g, wake: make(chan struct{}, 1), zones: make([]signedZone, len(g.places))}
	for i := range s.zones {
		s.zones[i].index = i
		s.zones[i].SignedZone = &zone.SignedZone{Margin: sign.Margin, Renew: sign.RenewBefore, Spread: sign.RenewSpread}
	}
	return s
}

func (s *signedZones) transferable(i int) (*zone.Transferable, *zone.Journal) {
	if t := s.zones[i].published.Load(); t != nil {
		return t.version, t.journal
	}
	return nil, nil
}

func (s *signedZones) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *signedZones) run(ctx context.Context) {
	for _, place := range s.group.places {
		signatureHolders.Hold(place.Origin)
		defer signatureHolders.Release(place.Origin)
	}
	renew := time.NewTicker(sign.RenewEvery)
	defer renew.Stop()
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-renew.C:
			s.round(ctx, false)
		case <-again.C:
			s.round(ctx, true)
		case <-s.wake:
			s.round(ctx, false)
		}
	}
}

// round makes the next signed version of each zone, if it can be made. After some time
// it has those signatures looked for that are waited for.
func (s *signedZones) round(ctx context.Context, late bool) {
	for i := range s.zones {
		if late && s.zones[i].waiting {
			s.zones[i].waiting = false
			s.group.source.SignAll()
		}
		if ctx.Err() == nil {
			s.advance(ctx, i)
		}
	}
}

// advance makes the next signed version of a zone, if there is something new and it
// is all signed.
func (s *signedZones) advance(ctx context.Context, i int) {
	source, z := s.group.source, &s.zones[i]
	signer, served := source.Signer(), source.Zone(i)
	if served == nil || !signer.AtApex(i) {
		return
	}
	keys, now := signer.Keys(i), source.Now()
	published := z.published.Load()
	if published != nil && now.Sub(z.measured) >= sign.RenewEvery {
		z.measure(published.version, now)
	}
	if z.asked == served.Serial {
		return // it is on its way
	}
	if published == nil && z.asked == 0 || published != nil && published.version.Zone.Serial == served.Serial {
		switch {
		case !z.Changed(served, keys, now):
		case z.Ready(served, keys, now):
			z.asked = served.Serial
			source.Raise(ctx, i)
		default: // it will be signed, and then we are woken, or look again
			z.waiting = true
		}
		return
	}
	if last := z.make(ctx, source, signer, served, now); last != nil {
		next := &transferable{version: z.Last()}
		if published != nil && last.Zone != nil {
			next.journal = published.journal.Append(last, next.version)
		} else {
			log.Infof("Signed %s for its secondaries, serial %d", served.Origin, served.Serial)
		}
		z.published.Store(next)
		if next.journal == nil {
			z.measure(next.version, now) // all signatures are other ones
		}
		s.group.Announce(i)
	}
}

// make has the zone.SignedZone make the next signed version. It returns the one before,
// without a zone if there was none, or nil if it could not.
func (z *signedZone) make(ctx context.Context, source Source, signer *sign.Signer, served *zone.Zone, now time.Time) *zone.Transferable {
	load, i := sign.NewLoad(ctx, source.Queries), z.index
	z.Sign = func(rrset []dns.RR) ([]dns.RR, error) {
		sign.ForTransfer.Count()
		return signer.Sign(rrset)
	}
	z.Pause = func() error { return load.Yield(nil) }
	var apex [][]dns.RR
	for _, rtype := range []uint16{dns.TypeCDS, dns.TypeCDNSKEY} {
		if rrs := signer.ExtraOf(i, rtype); len(rrs) > 0 {
			apex = append(apex, rrs)
		}
	}
	last := z.Last()
	if last == nil {
		last = new(zone.Transferable)
	}
	_, err := z.Next(served, signer.Keys(i), signer.DNSKEY(served.Origin, true), apex, now)
	switch {
	case err == nil:
		return last
	case errors.Is(err, zone.ErrUnsigned): // it will be, and then we are woken
		z.waiting = true
	case ctx.Err() == nil:
		log.Errorf("Signing %s for its secondaries: %v", served.Origin, err)
	}
	return nil
}

var signatureHolders = metric.NewHolders(signatureExpiry)

// measure sets when the first signature of a transferable zone expires. It looks at all of
// them, so that it is done once in a while: later ones have these signatures or newer ones.
func (z *signedZone) measure(t *zone.Transferable, now time.Time) {
	z.measured = now
	if ends := t.Ends(now); !ends.IsZero() {
		signatureExpiry.WithLabelValues(t.Zone.Origin).Set(float64(ends.Unix()))
	}
}
