package dnssec

import (
	"slices"

	"github.com/miekg/dns"
)

// A denial is what the NSEC or NSEC3 records of a message prove.
type denial struct {
	kind denialKind
	judgement
	// delegation: at the name there is a delegation, as the parent sees it.
	delegation bool
}

type denialKind int

const (
	unproven  denialKind = iota
	noData               // the name is there, the type is not
	nameError            // the name is not there
	optOut               // the name can be that of a zone that is not signed
)

// proven is a denial that holds.
func proven(kind denialKind) denial {
	return denial{kind: kind, judgement: judgement{security: Secure}}
}

// undenied is none.
func undenied(format string, args ...any) denial {
	return denial{judgement: bogus(DenialMissing, format, args...)}
}

// judgeDenial validates that a message without the records denies them.
func (s *session) judgeDenial(m *message, name string, qtype uint16) (denial, error) {
	at := whereJudged(name, qtype)
	fault := undenied("nothing signed says that %s has no %s", name, dns.Type(qtype)).judgement
	for _, signer := range s.signers(at, m.denials...) {
		z, err := s.walk(signer)
		switch {
		case err != nil:
			return denial{}, err
		case z.security == Bogus:
			fault = z.judgement
			continue
		case z.security != Secure:
			return denial{judgement: z.judgement}, nil
		case z.name != signer:
			continue
		}
		d := s.deny(z, m, name, qtype)
		if d.kind != unproven {
			return d, nil
		}
		fault = d.judgement
	}
	v, err := s.unsigned(at, fault)
	return denial{judgement: v.judgement}, err
}

// deny finds out what a message proves about a name and type of a zone.
func (s *session) deny(z *zone, m *message, name string, qtype uint16) denial {
	p := s.proofs(z, m)
	if p.tooOften() {
		return denial{kind: optOut, judgement: insecure(Iterations, "%s hashes names %d times for its NSEC3 records, which is too often", z.name, p.hashing.iterations)}
	}
	if types, ok := p.matching(name); ok {
		return denyAt(types, name, qtype)
	}
	d := p.denyCovered(name, qtype)
	if d.kind == unproven && p.fault.why != "" {
		d.judgement = p.fault
	}
	return d
}

// denyAt reads the type bitmap of the name itself.
func denyAt(types []uint16, name string, qtype uint16) denial {
	has := func(t uint16) bool { return slices.Contains(types, t) }
	parentSide := has(dns.TypeNS) && !has(dns.TypeSOA)
	switch {
	case has(dns.TypeNXNAME):
		return proven(nameError) // RFC 9824 section 3.1
	case has(qtype) || has(dns.TypeCNAME) && qtype != dns.TypeDS: // an alias is no delegation
		return undenied("the server denies %s %s, and proves that it or an alias is there", name, dns.Type(qtype))
	case qtype == dns.TypeDS && has(dns.TypeSOA) && name != ".":
		return undenied("the DS of %s is denied by the zone itself, not by its parent", name)
	case qtype != dns.TypeDS && parentSide:
		// RFC 6840 section 4.1.
		return undenied("%s %s is denied by the parent zone, not by the zone itself", name, dns.Type(qtype))
	}
	d := proven(noData)
	d.delegation = parentSide
	return d
}

// denyCovered denies a name that none of the records is of.
func (p *proofs) denyCovered(name string, qtype uint16) denial {
	fail := undenied("the server says that %s does not exist, but does not prove it", name)
	if p.emptyNonTerminal(name) {
		return proven(noData)
	}
	encloser, ok := p.closestEncloser(name)
	if !ok {
		return fail
	}
	closer := ancestor(name, dns.CountLabel(encloser)+1)
	covered, out := p.covers(closer)
	switch {
	case !covered:
		return fail
	case out:
		return denial{kind: optOut, judgement: insecure(OptOut, "%s can be in a zone that is not signed (opt-out)", name)}
	}
	wildcard := "*." + encloser
	if encloser == "." {
		wildcard = "*."
	}
	if types, ok := p.matching(wildcard); ok {
		if d := denyAt(types, wildcard, qtype); d.kind == noData && !d.delegation {
			return proven(noData)
		}
		return undenied("the server denies %s %s, but there is a wildcard that can have it", name, dns.Type(qtype))
	}
	if covered, _ := p.covers(wildcard); covered {
		return proven(nameError)
	}
	return undenied("the server says that %s does not exist, but does not prove that there is no wildcard", name)
}
