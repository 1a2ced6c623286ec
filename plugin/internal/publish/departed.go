package publish

import (
	"slices"

	"coredns-smimea/certsource/directory"
	"coredns-smimea/smimea/zone"
)

// Zones that leave the Corefile may come back, by the next reload. Mostly the files say
// then what is in them. What is published and cannot be read again, because its withdrawal
// is held back, its file is torn or its certificate bridged, is in the zone only: while
// there is something of that, the zones that have left stay, edited as the others are
// and served to nobody.

// depart keeps a zone that is not in the configuration any more. It comes before anything
// is edited.
func (p *Publisher) depart(z *zone.Zone) {
	p.domainsLeft[z.Domain] = append(p.domainsLeft[z.Domain], len(p.edits))
	p.departed = append(p.departed, z.At(z.Place, p.config.prefix(z.Domain)))
	p.edits = append(p.edits, nil)
	p.counts = append(p.counts, count{})
}

// departAll keeps the zones of a snapshot that are not in the configuration.
func (p *Publisher) departAll(s *Snapshot) {
	for _, z := range slices.Concat(s.Zones, s.departed) {
		if z != nil && !slices.ContainsFunc(p.config.Places, func(at *zone.Place) bool { return at.Origin == z.Origin }) {
			p.depart(z)
		}
	}
}

// isOurs reports whether one of some mailboxes is in a zone that is served.
func (p *Publisher) isOurs(list []mailbox) bool {
	return slices.ContainsFunc(list, func(m mailbox) bool {
		return slices.ContainsFunc(m.zones, func(i int) bool { return i < len(p.config.Places) })
	})
}

// commitDeparted takes in the edits of the zones that have left. Their serials rise when
// they are served again.
func (p *Publisher) commitDeparted() []*zone.Zone {
	next := slices.Clone(p.departed)
	for i := range next {
		if e := p.edits[len(p.config.Places)+i]; e != nil {
			next[i], _ = e.Zone(func(last uint32) uint32 { return last })
			p.edits[len(p.config.Places)+i] = nil
		}
	}
	p.departed = next
	return next
}

// settleDeparted notes after a look whether something is published that cannot be read
// again. Where all can be, zones that have left are forgotten: it takes a pass over all
// files for that, where there are any.
func (p *Publisher) settleDeparted(report directory.Report, err error) {
	lasting := err != nil || p.State() != Serving || len(report.Unsettled) > 0 || len(p.bridges.paths) > 0
	if !lasting && (len(p.departed) > 0 || len(p.directory.Failing()) > 0) {
		for _, f := range p.directory.Files().All() {
			if f.Published() && !f.Current() {
				lasting = true
				break
			}
		}
	}
	p.irreplaceable.Store(lasting)
	if !lasting && len(p.departed) > 0 {
		p.departed, p.domainsLeft = nil, map[string][]int{}
		p.edits, p.counts = p.edits[:len(p.config.Places)], p.counts[:len(p.config.Places)]
	}
}
