package dnssec

import (
	"encoding/base32"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// maxIterations is how often a name may be hashed for NSEC3. More cost us more
// than they cost who reads the zone (RFC 9276 section 3.2).
const maxIterations = 150

// proofs are the NSEC or NSEC3 records of a message that the zone has signed.
type proofs struct {
	zone       string
	nsec       []*dns.NSEC
	nsec3      []*dns.NSEC3
	iterations uint16 // the most
	why        string // why a record is not here
	hashes     map[string]string
}

// proofs takes those records of a message that z has signed.
func (s *session) proofs(z *zone, m *dns.Msg) *proofs {
	p := &proofs{zone: z.name, hashes: map[string]string{}}
	for _, rr := range m.Ns {
		h := rr.Header()
		owner := dns.CanonicalName(h.Name)
		if h.Class != dns.ClassINET || h.Rrtype != dns.TypeNSEC && h.Rrtype != dns.TypeNSEC3 || !dns.IsSubDomain(z.name, owner) {
			continue
		}
		sig, why := s.verifySet(z, find(m.Ns, owner, h.Rrtype), findSignatures(m.Ns, owner, h.Rrtype))
		if why != "" {
			p.why = why
			continue
		}
		if expanded(sig, owner) {
			continue // an NSEC of a wildcard is the wildcard's alone
		}
		switch rr := rr.(type) {
		case *dns.NSEC:
			p.nsec = append(p.nsec, rr)
		case *dns.NSEC3:
			// Unknown hashes and flags make it void (RFC 5155 section 8.1, 8.2).
			if rr.Hash == dns.SHA1 && rr.Flags&^1 == 0 && ancestor(owner, dns.CountLabel(owner)-1) == z.name {
				p.nsec3 = append(p.nsec3, rr)
				p.iterations = max(p.iterations, rr.Iterations)
			}
		}
	}
	if p.iterations > maxIterations {
		p.nsec = nil // the caller looks no further
	}
	return p
}

// matching returns the types that are at a name.
func (p *proofs) matching(name string) ([]uint16, bool) {
	for _, rr := range p.nsec {
		if dns.CanonicalName(rr.Hdr.Name) == name {
			return rr.TypeBitMap, true
		}
	}
	for _, rr := range p.nsec3 {
		if p.hash(rr, name) == ownerHash(rr) {
			return rr.TypeBitMap, true
		}
	}
	return nil, false
}

// covers reports whether a record proves that neither name nor anything below
// it exists; out if, for an opt-out, unsigned delegations can exist all the same.
func (p *proofs) covers(name string) (covered, out bool) {
	for _, rr := range p.nsec {
		if nsecCovers(rr, name, p.zone) && !isBelow(name, dns.CanonicalName(rr.NextDomain)) {
			return true, false
		}
	}
	if p.iterations > maxIterations {
		return true, true
	}
	for _, rr := range p.nsec3 {
		if between(ownerHash(rr), p.hash(rr, name), strings.ToUpper(rr.NextDomain)) {
			return true, rr.Flags&1 == 1
		}
	}
	return false, false
}

// emptyNonTerminal reports whether an NSEC proves that name has nothing itself,
// but something below it. NSEC3 has records of such names.
func (p *proofs) emptyNonTerminal(name string) bool {
	return slices.ContainsFunc(p.nsec, func(rr *dns.NSEC) bool {
		return nsecCovers(rr, name, p.zone) && isBelow(name, dns.CanonicalName(rr.NextDomain))
	})
}

// closestEncloser returns the longest ancestor of name that exists.
func (p *proofs) closestEncloser(name string) (string, bool) {
	for _, rr := range p.nsec {
		if nsecCovers(rr, name, p.zone) {
			// Both ends of the gap exist, and with them all above them.
			labels := max(dns.CompareDomainName(name, dns.CanonicalName(rr.Hdr.Name)), dns.CompareDomainName(name, dns.CanonicalName(rr.NextDomain)))
			if labels >= dns.CountLabel(p.zone) {
				return ancestor(name, labels), true
			}
		}
	}
	if len(p.nsec3) == 0 {
		return "", false
	}
	for n := dns.CountLabel(name) - 1; n >= dns.CountLabel(p.zone); n-- {
		encloser := ancestor(name, n)
		if types, ok := p.matching(encloser); ok {
			return encloser, !handsOver(types)
		}
	}
	return "", false
}

// nsecCovers reports whether name lies in the gap of an NSEC record. A record of
// a name above it that has handed the names below it to another zone, or to an
// alias, knows nothing of them (RFC 6840 section 4.1).
func nsecCovers(rr *dns.NSEC, name, zone string) bool {
	owner, next := dns.CanonicalName(rr.Hdr.Name), dns.CanonicalName(rr.NextDomain)
	if isBelow(owner, name) && handsOver(rr.TypeBitMap) || !dns.IsSubDomain(zone, name) || !dns.IsSubDomain(zone, next) {
		return false
	}
	if compare(owner, name) >= 0 {
		return false
	}
	return next == zone || compare(name, next) < 0 // the last one leads to the first
}

// handsOver reports whether a name with these types has no names of the same
// zone below it.
func handsOver(types []uint16) bool {
	return slices.Contains(types, dns.TypeDNAME) ||
		slices.Contains(types, dns.TypeNS) && !slices.Contains(types, dns.TypeSOA)
}

// between reports whether a hash is in the gap from one to the next. The last
// gap goes round.
func between(from, hash, to string) bool {
	if from < to {
		return from < hash && hash < to
	}
	return hash > from || hash < to
}

func ownerHash(rr *dns.NSEC3) string {
	return strings.ToUpper(dns.SplitDomainName(rr.Hdr.Name)[0])
}

func (p *proofs) hash(rr *dns.NSEC3, name string) string {
	key := rr.Salt + "/" + base32.HexEncoding.EncodeToString([]byte{byte(rr.Iterations >> 8), byte(rr.Iterations)}) + "/" + name
	if p.hashes[key] == "" {
		p.hashes[key] = strings.ToUpper(dns.HashName(name, rr.Hash, rr.Iterations, rr.Salt))
	}
	return p.hashes[key]
}
