package plugin

import (
	"fmt"
	"slices"

	"github.com/miekg/dns"

	"coredns-smimea/certsource/directory"
	"coredns-smimea/smimea/zone"
)

// A snapshot is all that is served at one instant. It is published whole, by
// one pointer; nothing that can be reached from it changes afterwards.
type snapshot struct {
	zones []*zone.Zone // in the order of the places
	files directory.Files

	extras   [][]dns.RR      // by zone: see signer.extra
	journals []*zone.Journal // by zone
}

// commit publishes what has been edited.
func (p *publisher) commit() {
	p.tell()
	old := p.current.Load()
	if old == nil {
		p.directory.Compact()
	}
	s := &snapshot{files: p.directory.Files()}
	if old != nil {
		s.zones = slices.Clone(old.zones)
		s.extras, s.journals = old.extras, old.journals
	} else {
		s.zones = make([]*zone.Zone, len(p.places))
		s.extras, s.journals = make([][]dns.RR, len(p.places)), make([]*zone.Journal, len(p.places))
		for i := range s.extras {
			s.extras[i] = p.signer.Load().extra(i)
		}
	}
	var announced []int
	var unsigned []pending
	changed := old == nil
	unsaved := old == nil && p.restored == nil
	for i, e := range p.edits {
		if e == nil {
			continue
		}
		zone, differences := e.Zone(func(last uint32) uint32 { return p.serial(i, last, e.newest) })
		if old == nil {
			zone = zone.Compact()
			p.resume(zone, e.newest)
		}
		p.edits[i] = nil
		s.zones[i] = zone
		unsaved = unsaved || zone.Serial != e.last
		if old == nil || zone.Serial != old.zones[i].Serial {
			changed = true
			remember(zone)
			unsigned = append(unsigned, pending{i, differences})
			if p.presigning == nil {
				announced = append(announced, i)
				if old != nil {
					s.record(p, i, &snapshot{zones: old.zones, extras: s.extras, journals: s.journals})
				}
			}
		}
		if old == nil {
			s.journals[i] = recall(zone, s.extras[i])
		}
		if old == nil && p.restored != nil && p.restoredJournals[i] != nil && p.presigning == nil {
			s.journals[i] = p.restoredJournals[i]
			if zone.Serial != p.restored[i].Serial {
				s.record(p, i, &snapshot{zones: p.restored, extras: s.extras, journals: s.journals})
			}
		}
	}
	p.current.Store(s)
	for _, u := range unsigned { // now that it can be seen
		p.signing.changed(u.zone, u.differences)
	}
	for _, i := range announced {
		p.announce(i)
	}
	p.restored, p.restoredJournals = nil, nil
	if unsaved || old != nil && old.files != s.files {
		p.saver.changed(unsaved)
	}
	if changed {
		p.tellPublished(s)
	}
	clear(p.kinds)
}

func (p *publisher) tellPublished(s *snapshot) {
	for i, z := range s.zones {
		p.counts[i].publish(z)
	}
	lastChange.WithLabelValues(p.config.dir).SetToCurrentTime()
	text := ""
	for _, kind := range []string{"added", "changed", "withdrawn", "expired"} {
		if n := p.kinds[kind]; n > 0 {
			changes.WithLabelValues(p.config.dir, kind).Add(float64(n))
			text += fmt.Sprintf(", %d %s", n, kind)
		}
	}
	zone := fmt.Sprintf("%d zones", len(s.zones))
	if len(s.zones) == 1 {
		zone = fmt.Sprintf("%q with serial %d", s.zones[0].Origin, s.zones[0].Serial)
	}
	log.Infof("Published %d certificates of %q in %s%s", p.directory.Published()-p.foreign, p.config.dir, zone, text)
	p.tune(s)
}
