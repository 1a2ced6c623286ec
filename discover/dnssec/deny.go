package dnssec

import (
	"context"
	"fmt"
	"slices"

	"github.com/miekg/dns"
)

// A denial is what the NSEC or NSEC3 records of a message prove.
type denial struct {
	kind denialKind
	why  string // for unproven and optOut
	// delegation: at the name there is a delegation, as the parent sees it.
	delegation bool
	security   Security
}

type denialKind int

const (
	unproven  denialKind = iota
	noData               // the name is there, the type is not
	nameError            // the name is not there
	optOut               // the name can be that of a zone that is not signed
)

// judgeDenial validates that a message without the records denies them.
func (s *session) judgeDenial(ctx context.Context, m *dns.Msg, name string, qtype uint16) (denial, error) {
	why := fmt.Sprintf("nothing signed says that %s has no %s", name, dns.Type(qtype))
	tried := map[string]bool{}
	for _, rr := range m.Ns {
		sig, ok := rr.(*dns.RRSIG)
		if !ok || sig.TypeCovered != dns.TypeNSEC && sig.TypeCovered != dns.TypeNSEC3 {
			continue
		}
		signer := dns.CanonicalName(sig.SignerName)
		if tried[signer] || !signs(signer, name, qtype) {
			continue
		}
		tried[signer] = true
		z, err := s.walk(ctx, signer)
		if err != nil {
			return denial{}, err
		}
		if z.security != Secure {
			return denial{security: z.security, why: z.why}, nil
		}
		if z.name != signer {
			continue
		}
		d := s.deny(z, m, name, qtype)
		switch d.kind {
		case noData, nameError:
			d.security = Secure
			return d, nil
		case optOut:
			d.security = Insecure
			return d, nil
		}
		why = d.why
	}
	v, err := s.unsigned(ctx, name, why)
	return denial{security: v.security, why: v.why}, err
}

// deny finds out what a message proves about a name and type of a zone.
func (s *session) deny(z *zone, m *dns.Msg, name string, qtype uint16) denial {
	p := s.proofs(z, m)
	switch {
	case len(p.nsec3) > 0 && p.iterations > maxIterations:
		return denial{kind: optOut, why: fmt.Sprintf("%s hashes names %d times for its NSEC3 records, which is too often", z.name, p.iterations)}
	case len(p.nsec) == 0 && len(p.nsec3) == 0:
		if p.why != "" {
			return denial{why: p.why}
		}
		return denial{why: fmt.Sprintf("nothing signed says that %s has no %s", name, dns.Type(qtype))}
	}
	if types, ok := p.matching(name); ok {
		return denyAt(types, name, qtype)
	}
	return p.denyCovered(name, qtype)
}

// denyAt reads the type bitmap of the name itself.
func denyAt(types []uint16, name string, qtype uint16) denial {
	has := func(t uint16) bool { return slices.Contains(types, t) }
	parentSide := has(dns.TypeNS) && !has(dns.TypeSOA)
	switch {
	case has(dns.TypeNXNAME):
		return denial{kind: nameError} // RFC 9824 section 3.1
	case has(qtype) || has(dns.TypeCNAME):
		return denial{why: fmt.Sprintf("the server denies %s %s, and proves that it or an alias is there", name, dns.Type(qtype))}
	case qtype == dns.TypeDS && has(dns.TypeSOA) && name != ".":
		return denial{why: fmt.Sprintf("the DS of %s is denied by the zone itself, not by its parent", name)}
	case qtype != dns.TypeDS && parentSide:
		// RFC 6840 section 4.1.
		return denial{why: fmt.Sprintf("%s %s is denied by the parent zone, not by the zone itself", name, dns.Type(qtype))}
	}
	return denial{kind: noData, delegation: parentSide}
}

// denyCovered denies a name that none of the records is of.
func (p *proofs) denyCovered(name string, qtype uint16) denial {
	fail := denial{why: fmt.Sprintf("the server says that %s does not exist, but does not prove it", name)}
	if p.emptyNonTerminal(name) {
		return denial{kind: noData}
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
		return denial{kind: optOut, why: fmt.Sprintf("%s can be in a zone that is not signed (opt-out)", name)}
	}
	wildcard := "*." + encloser
	if encloser == "." {
		wildcard = "*."
	}
	if types, ok := p.matching(wildcard); ok {
		if d := denyAt(types, wildcard, qtype); d.kind == noData && !d.delegation {
			return denial{kind: noData}
		}
		return denial{why: fmt.Sprintf("the server denies %s %s, but there is a wildcard that can have it", name, dns.Type(qtype))}
	}
	if covered, _ := p.covers(wildcard); covered {
		return denial{kind: nameError}
	}
	return denial{why: fmt.Sprintf("the server says that %s does not exist, but does not prove that there is no wildcard", name)}
}
