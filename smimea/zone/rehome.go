package zone

import "slices"

// At returns the same records at another place of the same origin, which may have
// other TTLs and another apex. Prefix is that of NewZone; what the URLs of the
// records that are there have in common with it is kept.
func (z *Zone) At(p *Place, prefix string) *Zone {
	next := *z
	if prefix != z.prefix {
		next = *z.shared(prefix)
	}
	next.Place = p
	return &next
}

// shared returns the zone with a shorter prefix, which all its URLs, and those
// that begin with another prefix, begin with.
func (z *Zone) shared(prefix string) *Zone {
	n := 0
	for n < len(prefix) && n < len(z.prefix) && prefix[n] == z.prefix[n] {
		n++
	}
	if z.owners[Texts] == 0 {
		next := *z
		next.prefix = prefix
		return &next
	}
	if n == len(z.prefix) {
		return z // the longer one begins with it
	}
	tail := []byte(z.prefix[n:])
	e := z.Edit()
	e.before[Texts] = nil // all of them differ
	for key, value := range z.tables[Texts].All() {
		old := node(value)
		below, _ := old.below()
		claims := slices.Collect(old.claims(nil))
		for i := range claims {
			claims[i].data = slices.Concat(tail, claims[i].data)
		}
		changed := old.with(below, claims, e.fixed(Texts)-len(tail))
		if !changed.empty() {
			changed = changed.signed(old.signatures()) // the records are the same
		}
		e.put(Texts, key, changed)
		e.sum += changed.sum(Texts, key) - old.sum(Texts, key)
	}
	next, _ := e.Zone(func(serial uint32) uint32 { return serial })
	next.prefix = z.prefix[:n]
	return next
}

// Prefix returns what the URLs in all TXT records begin with, for [Restore].
func (z *Zone) Prefix() string { return z.prefix }
