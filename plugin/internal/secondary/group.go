package secondary

import (
	"context"
	"sync"
	"time"

	"github.com/coredns/coredns/core/dnsserver"

	"coredns-smimea/plugin/internal/sign"
	"coredns-smimea/smimea/zone"
)

// A Source is whose zones are handed on.
type Source interface {
	// Zone returns a zone as it is served now, nil if it is not.
	Zone(i int) *zone.Zone
	// Transferable returns a zone as secondaries get it that sign it themselves, or not
	// at all, and the way to it; nil if it has not been read yet.
	Transferable(i int) (*zone.Transferable, *zone.Journal)
	// Signer returns whose keys sign now, nil if nobody's.
	Signer() *sign.Signer
	// Queries is how many have been answered so far.
	Queries() uint64
	// Now is the time.
	Now() time.Time
	// SignAll has all signed that lacks good signatures.
	SignAll()
	// Raise gives a zone a later serial without another change, soon.
	Raise(ctx context.Context, zone int)
}

// A Group is what all server blocks that publish the same share about their
// secondaries: who announces changes, and the signed zones, if they get such. It
// implements publish.Secondaries.
type Group struct {
	source Source
	places []*zone.Place
	signed *signedZones // nil if secondaries get zones without signatures

	mu        sync.Mutex
	notifiers map[*Notifier]bool // under mu
}

// NewGroup returns the group of a source's zones, which are at these places.
func NewGroup(s Source, places []*zone.Place, signed bool) *Group {
	g := &Group{source: s, places: places, notifiers: map[*Notifier]bool{}}
	if signed {
		g.signed = newSignedZones(g)
	}
	return g
}

// Transferable returns a zone as secondaries get it, and the way to it; nil if it
// is not ready.
func (g *Group) Transferable(i int) (*zone.Transferable, *zone.Journal) {
	if g.signed != nil {
		return g.signed.transferable(i)
	}
	return g.source.Transferable(i)
}

// Announce has secondaries told that a zone has another serial. It never waits.
func (g *Group) Announce(i int) {
	if g.places[i].Layout == zone.Beside {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for n := range g.notifiers {
		n.announce(g.places[i].Origin)
	}
}

// Wake says that there is something new to make signed zones of. It never waits.
func (g *Group) Wake() {
	if g.signed != nil {
		g.signed.wakeUp()
	}
}

// Run makes signed zones until ctx ends.
func (g *Group) Run(ctx context.Context) {
	if g.signed != nil {
		g.signed.run(ctx)
	}
}

// Round makes the signed zones that can be made now: what Run does when it is woken, or
// when some time has passed without that (late).
func (g *Group) Round(ctx context.Context, late bool) {
	if g.signed != nil {
		g.signed.round(ctx, late)
	}
}

// Start begins to announce the block's zones, first of all as they are now, when
// the server listens.
func (p *Primary) Start(server *dnsserver.Config) {
	if p.Notifier == nil {
		return
	}
	p.group.mu.Lock()
	p.group.notifiers[p.Notifier] = true
	p.group.mu.Unlock()
	first := -1
	for _, i := range p.Zones {
		first = max(first, i)
		if t, _ := p.group.Transferable(i); t != nil {
			p.group.Announce(i)
		}
	}
	if p.Catalog != nil {
		p.announce(p.Catalog.origin)
	}
	p.ended.Go(func() { p.copies.run(p.ctx) })
	p.ended.Go(func() {
		p.listen(server, p.group.places[first].Origin, func() uint32 {
			if z := p.group.source.Zone(first); z != nil {
				return z.Serial
			}
			return 0
		})
	})
}

// Stop ends what Start has begun, and says what of refused transfers is not said yet.
func (p *Primary) Stop() {
	if p == nil {
		return
	}
	p.refusals.close()
	if p.Notifier == nil {
		return
	}
	p.group.mu.Lock()
	delete(p.group.notifiers, p.Notifier)
	p.group.mu.Unlock()
	p.stop()
}
