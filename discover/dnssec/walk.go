package dnssec

import (
	"time"

	"github.com/miekg/dns"
)

// A zone is what is known of one: Secure with its keys, or not with the reason.
type zone struct {
	name string
	judgement
	keys keyring
	// end is set on what has nothing below it: the walk need not go on.
	end bool
	// until is how long this may be remembered.
	until time.Time
}

// walk returns the zone that name is in, as seen from the closest trust anchor:
// it asks for a DS at each label on the way down. Where the way stops being
// secure, the zone says so.
func (s *session) walk(name string) (*zone, error) {
	top, ok := s.Anchors.closest(name)
	if !ok {
		return &zone{name: name, judgement: judgement{Indeterminate, NoAnchor, "there is no trust anchor for " + name}}, nil
	}
	at, err := s.zone(top, func() (*zone, error) {
		return s.fetchKeys(top, s.Anchors[top], s.now.Add(maxAge))
	})
	if err != nil {
		return nil, err
	}
	for n := dns.CountLabel(top) + 1; n <= dns.CountLabel(name); n++ {
		if at.security != Secure || at.end {
			break
		}
		child, parent := ancestor(name, n), at
		if at, err = s.zone(child, func() (*zone, error) { return s.step(parent, child) }); err != nil {
			return nil, err
		}
	}
	return at, nil
}

// zone returns what is known of the zone at a name, and else finds it out.
func (s *session) zone(name string, find func() (*zone, error)) (*zone, error) {
	if z := s.zones[name]; z != nil {
		return z, nil
	}
	z := s.cache.get(name, s.now)
	if z == nil {
		var err error
		if z, err = find(); err != nil {
			return nil, err
		}
		s.cache.put(name, z, s.now)
	}
	s.zones[name] = z
	return z, nil
}

// step finds out which zone child is in, given its parent's, which is Secure.
func (s *session) step(parent *zone, child string) (*zone, error) {
	m, err := s.ask(child, dns.TypeDS)
	if err != nil {
		return nil, err
	}
	same := *parent
	same.until = earlier(parent.until, freshUntil(m.Msg, s.now))
	judged := func(j judgement) (*zone, error) {
		return &zone{name: child, judgement: j, until: same.until}, nil
	}
	if ds := m.answer.get(child, dns.TypeDS); ds != nil {
		v := s.verify(parent, ds)
		if v.sig != nil && expanded(v.sig, child) {
			v.judgement = s.expansion(parent, m, ds, v.sig)
		}
		if v.security != Secure {
			return judged(v.judgement)
		}
		return s.fetchKeys(child, ds.rrs, same.until)
	}
	// An alias is no delegation. Below a DNAME there is nothing (RFC 6672 section
	// 2.4); below a CNAME there can be anything (RFC 1034 section 3.6.2).
	alias := m.answer.getAbove(child, dns.TypeDNAME)
	if same.end = alias != nil; !same.end {
		alias = m.answer.get(child, dns.TypeCNAME)
	}
	if alias != nil {
		v := s.verify(parent, alias)
		if v.sig != nil && expanded(v.sig, alias.owner) {
			v.judgement = s.expansion(parent, m, alias, v.sig)
			same.end = true // what a wildcard stands for is not there, nor is anything below
		}
		if v.security != Secure {
			return judged(v.judgement)
		}
		return &same, nil
	}
	switch d := s.deny(parent, m, child, dns.TypeDS); {
	case d.kind == noData && d.delegation:
		return judged(insecure(Unsigned, "%s is delegated without a DS record: it is not signed", child))
	case d.kind == noData:
		return &same, nil
	case d.kind == nameError:
		same.end = true
		return &same, nil
	default:
		return judged(d.judgement)
	}
}
