package publish

import (
	"context"
	"slices"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/certsource/directory"
	"coredns-smimea/internal/table"
	"coredns-smimea/smimea/zone"
)

// A seed is what the first snapshot is made from: what a publisher before, or an
// earlier process, has published. What protects it, the guard's count of what is
// held back, kept files, the number of the file system, is in the directory.
type seed struct {
	zones    []*zone.Zone    // by place; nil where nothing was served
	journals []*zone.Journal // by place, nil if they are none or are elsewhere; see package served
	extras   [][]dns.RR      // by place, with the journals: what was at the apex beside
	saved    bool            // the file of a state has it as it is
}

// restored returns a zone of the seed as it was transferred, and the journal that leads
// to it; nil if there is none.
func (s *seed) restored(i int) (*zone.Transferable, *zone.Journal) {
	if s == nil || s.journals == nil || s.journals[i] == nil {
		return nil, nil
	}
	return zone.NewTransferable(s.zones[i], s.extras[i]), s.journals[i]
}

// A predecessor is a publisher of the same files for other zones, or in another
// form, as it is when its successor begins.
type predecessor struct {
	config   Config
	snapshot *Snapshot
	octets   *Octets
}

// begin begins with what there is to begin with, before the first look.
func (p *Publisher) begin(ctx context.Context, before *predecessor) {
	p.saver.claim()
	p.tuneReading()
	switch {
	case before != nil:
		p.inherit(before)
		if slices.ContainsFunc(p.seed.zones, func(z *zone.Zone) bool { return z != nil }) {
			p.serveSeed(ctx)
		}
	case p.saver != nil:
		p.restore(ctx)
	}
}

// inherit takes a predecessor over. All that it published stays published, in the
// form that it had, until the file is read again. What it knows of files that
// users of a new zone are in is not enough for that: these are read again, and
// until then the zone is not served.
func (p *Publisher) inherit(before *predecessor) {
	old := map[string]*zone.Zone{}
	for _, z := range slices.Concat(before.snapshot.departed, before.snapshot.Zones) {
		if z != nil {
			old[z.Origin] = z
		}
	}
	var was []servedZone
	for _, place := range p.config.Places {
		was = append(was, servedZone{place, p.config.prefix(place.Domain), old[place.Origin]})
	}
	p.lists.Restore(before.snapshot.lists)
	p.departAll(before.snapshot)
	p.irreplaceable.Store(true) // until a look has shown something else
	p.sow(before.snapshot.legacy, before.snapshot.bridged, was, before.snapshot.form(&before.config) == p.config.formKey())
}

// A servedZone is what was served at one of our places.
type servedZone struct {
	place  *zone.Place // as it is now
	prefix string      // of the URLs, now
	zone   *zone.Zone  // nil if nothing was served
}

// sow makes the seed of what was served at each place, and of what was known of the
// files then.
func (p *Publisher) sow(legacy directory.Legacy, bridged *table.Table, was []servedZone, sameForm bool) {
	p.seed = &seed{zones: make([]*zone.Zone, len(was))}
	lacking := make([]bool, len(p.edits)) // by zone: it is a new one
	for i, w := range was {
		if lacking[i] = w.zone == nil; !lacking[i] {
			p.seed.zones[i] = w.zone.At(w.place, w.prefix)
		}
	}
	fresh := slices.Contains(lacking, true)
	p.remake = !sameForm || fresh
	again := func(f directory.File) bool {
		if !sameForm || !fresh {
			return !sameForm
		}
		for _, cert := range f.Live() {
			list, _ := p.mailboxes(cert.Addresses)
			if slices.ContainsFunc(list, func(m mailbox) bool {
				return slices.ContainsFunc(m.zones, func(i int) bool { return lacking[i] })
			}) {
				return true
			}
		}
		return false
	}
	p.directory = p.world.Inherit(p.options(), legacy, again)
	p.inheritBridges(bridged)
	p.beginRevoking()
	for path, f := range p.directory.Files().All() {
		for _, cert := range f.Live() {
			list, _ := p.mailboxes(cert.Addresses)
			if !p.isOurs(list) {
				p.foreign++
			}
			p.counted(list, +1)
		}
		p.givenOut(path, &f, time.Time{})
	}
}

// serveSeed publishes the seed, but for what has expired meanwhile.
func (p *Publisher) serveSeed(ctx context.Context) {
	p.enter(Restored)
	p.directory.Expire(ctx, p.world.System.Now(), p.apply)
	p.unbridgeDue(p.world.System.Now())
	for i, z := range p.seed.zones {
		if z != nil {
			p.edit(i, time.Time{})
		}
	}
	p.commit()
}
