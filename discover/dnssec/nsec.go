package dnssec

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// maxIterations is how often a name may be hashed for NSEC3. More cost us more
// than they cost who reads the zone (RFC 9276 section 3.2).
const maxIterations = 150

// Proofs are the NSEC or NSEC3 records of a message and a zone. They are sought
// first and verified then, so that only those are that prove something.
type proofs struct {
	s      *session
	zone   *zone
	zoneAt place
	nsec   []nsec
	nsec3  []nsec3
	byHash map[string][]nsec3
	// hashing is of all of nsec3; an answer has one (RFC 5155 section 7.2).
	hashing hashing
	fault   judgement // of the last record that did not hold
}

type nsec struct {
	*dns.NSEC
	set             *set
	ownerAt, nextAt place
}

type nsec3 struct {
	*dns.NSEC3
	set         *set
	owner, next string // hashes, in upper case
}

// hashing is how names are hashed.
type hashing struct {
	iterations uint16
	salt       string // hexadecimal
}

// proofs finds those records of a message that z can have signed.
func (s *session) proofs(z *zone, m *message) *proofs {
	if p := m.proofs[z.name]; p != nil {
		return p
	}
	p := &proofs{s: s, zone: z, zoneAt: placeOf(z.name), byHash: map[string][]nsec3{}}
	m.proofs[z.name] = p
	var candidates []nsec3
	for _, of := range m.denials {
		of.settle()
		for _, rr := range of.rrs {
			switch rr := rr.(type) {
			case *dns.NSEC:
				n := nsec{rr, of, placeOf(of.owner), placeOf(rr.NextDomain)}
				if n.ownerAt.within(p.zoneAt) && n.nextAt.within(p.zoneAt) {
					p.nsec = append(p.nsec, n)
				}
			case *dns.NSEC3:
				// Unknown hashes and flags make it void (RFC 5155 section 8.1, 8.2).
				if of.owner != "." && parentOf(of.owner) == z.name && rr.Hash == dns.SHA1 && rr.Flags&^1 == 0 {
					end, _ := dns.NextLabel(of.owner, 0)
					candidates = append(candidates, nsec3{rr, of, strings.ToUpper(of.owner[:end-1]), strings.ToUpper(rr.NextDomain)})
				}
			}
		}
	}
	p.choose(candidates)
	return p
}

// choose keeps the NSEC3 records that hash as the first one does that holds:
// otherwise each name would have to be hashed for each record (CVE-2023-50868).
func (p *proofs) choose(candidates []nsec3) {
	first := slices.IndexFunc(candidates, func(n nsec3) bool { return p.holds(n.set) })
	if first < 0 {
		return
	}
	p.hashing = hashing{candidates[first].Iterations, candidates[first].Salt}
	for _, n := range candidates {
		if (hashing{n.Iterations, n.Salt}) == p.hashing {
			p.nsec3 = append(p.nsec3, n)
			p.byHash[n.owner] = append(p.byHash[n.owner], n)
		}
	}
	if p.tooOften() {
		p.nsec = nil // the caller looks no further
	}
}

// tooOften reports whether the zone hashes names more often than we do.
func (p *proofs) tooOften() bool { return p.hashing.iterations > maxIterations }

// holds reports whether the zone has signed a set, at this very owner: an NSEC
// of a wildcard is the wildcard's alone.
func (p *proofs) holds(of *set) bool {
	v := p.s.verify(p.zone, of)
	if v.sig == nil {
		p.fault = v.judgement
		return false
	}
	return !expanded(v.sig, of.owner)
}

// matching returns the types that are at a name.
func (p *proofs) matching(name string) ([]uint16, bool) {
	for _, n := range p.nsec {
		if n.set.owner == name && p.holds(n.set) {
			return n.TypeBitMap, true
		}
	}
	if len(p.nsec3) == 0 {
		return nil, false
	}
	for _, n := range p.byHash[p.s.hash(name, p.hashing)] {
		if p.holds(n.set) {
			return n.TypeBitMap, true
		}
	}
	return nil, false
}

// covers reports whether a record proves that neither name nor anything below
// it exists; out if, for an opt-out, unsigned delegations can exist all the same.
func (p *proofs) covers(name string) (covered, out bool) {
	at := placeOf(name)
	for _, n := range p.nsec {
		if p.gap(n, at) && !n.nextAt.below(at) && p.holds(n.set) {
			return true, false
		}
	}
	if p.tooOften() {
		return true, true
	}
	if len(p.nsec3) == 0 {
		return false, false
	}
	hash := p.s.hash(name, p.hashing)
	for _, n := range p.nsec3 {
		if hash != "" && between(n.owner, hash, n.next) && p.holds(n.set) {
			return true, n.Flags&1 == 1
		}
	}
	return false, false
}

// emptyNonTerminal reports whether an NSEC proves that name has nothing itself,
// but something below it. NSEC3 has records of such names.
func (p *proofs) emptyNonTerminal(name string) bool {
	at := placeOf(name)
	return slices.ContainsFunc(p.nsec, func(n nsec) bool {
		return p.gap(n, at) && n.nextAt.below(at) && p.holds(n.set)
	})
}

// closestEncloser returns the longest ancestor of name that exists.
func (p *proofs) closestEncloser(name string) (string, bool) {
	at := placeOf(name)
	for _, n := range p.nsec {
		if p.gap(n, at) && p.holds(n.set) {
			// Both ends of the gap exist, and with them all above them.
			labels := max(dns.CompareDomainName(name, n.set.owner), dns.CompareDomainName(name, dns.CanonicalName(n.NextDomain)))
			return ancestor(name, labels), true
		}
	}
	if len(p.nsec3) == 0 {
		return "", false
	}
	for encloser := range upwards(parentOf(name)) {
		if types, ok := p.matching(encloser); ok {
			return encloser, !handsOver(types)
		}
		if encloser == p.zone.name {
			break
		}
	}
	return "", false
}

// gap reports whether a place lies in the gap of an NSEC record. A record of a
// name above it that has handed the names below it to another zone, or to other
// names, knows nothing of them (RFC 6840 section 4.1).
func (p *proofs) gap(n nsec, at place) bool {
	if !at.below(p.zoneAt) || at <= n.ownerAt || at.below(n.ownerAt) && handsOver(n.TypeBitMap) {
		return false
	}
	return n.nextAt == p.zoneAt || at < n.nextAt // the last one leads to the first
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

// hash returns the hash of a name for NSEC3, "" if there is no work left for it.
func (s *session) hash(name string, p hashing) string {
	key := hashed{name, p}
	if s.hashes[key] == "" {
		s.hashes[key] = strings.ToUpper(s.work.hash(name, p))
	}
	return s.hashes[key]
}

type hashed struct {
	name string
	hashing
}
