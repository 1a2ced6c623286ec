package dnssec

import (
	"github.com/miekg/dns"
)

// A message is an answer, sorted once into its record sets.
type message struct {
	*dns.Msg
	answer, authority section
	denials           []*set             // the NSEC and NSEC3 records that are signed
	proofs            map[string]*proofs // of these, by zone
}

func newMessage(m *dns.Msg) *message {
	sorted := &message{Msg: m, answer: sort(m.Answer), authority: sort(m.Ns), proofs: map[string]*proofs{}}
	for _, of := range sorted.authority.order {
		if (of.rrtype == dns.TypeNSEC || of.rrtype == dns.TypeNSEC3) && len(of.sigs) > 0 && len(sorted.denials) < maxDenials {
			sorted.denials = append(sorted.denials, of)
		}
	}
	return sorted
}

// A section has the record sets of one section of a message.
type section struct {
	sets  map[setKey]*set
	order []*set // as they came
}

type setKey struct {
	owner  string
	rrtype uint16
}

// A set is the records of one name and type, with their signatures.
type set struct {
	setKey
	rrs  []dns.RR // as they came, until get has seen to them
	sigs []*dns.RRSIG
	// tooLarge is set where there are more records or signatures than we look
	// at.
	tooLarge bool
	settled  bool
	verified map[string]verified // by zone
}

// verified is what came of verifying a set with the keys of a zone.
type verified struct {
	sig *dns.RRSIG // that holds, nil if none does
	judgement
}

func sort(rrs []dns.RR) section {
	s := section{sets: map[setKey]*set{}}
	at := func(owner string, rrtype uint16) *set {
		key := setKey{owner, rrtype}
		if s.sets[key] == nil {
			s.sets[key] = &set{setKey: key}
			s.order = append(s.order, s.sets[key])
		}
		return s.sets[key]
	}
	for _, rr := range rrs {
		h := rr.Header()
		if h.Class != dns.ClassINET {
			continue
		}
		owner := dns.CanonicalName(h.Name)
		if sig, ok := rr.(*dns.RRSIG); ok {
			if of := at(owner, sig.TypeCovered); len(of.sigs) < maxRecords {
				of.sigs = append(of.sigs, sig)
			} else {
				of.tooLarge = true
			}
			continue
		}
		of := at(owner, h.Rrtype)
		of.rrs = append(of.rrs, rr)
	}
	return s
}

// get returns the records of a name and type, nil if there are none.
func (s section) get(owner string, rrtype uint16) *set {
	of := s.sets[setKey{owner, rrtype}]
	if of == nil || len(of.rrs) == 0 {
		return nil
	}
	of.settle()
	return of
}

// getAbove returns the records of one type at the closest name above name that
// has any.
func (s section) getAbove(name string, rrtype uint16) *set {
	for above := range upwards(parentOf(name)) {
		if of := s.get(above, rrtype); of != nil && above != name {
			return of
		}
	}
	return nil
}

// settle leaves out records that are there twice (RFC 4034 section 6.3), and
// gives all the same owner: signatures do not see its case.
func (s *set) settle() {
	if s.settled {
		return
	}
	s.settled = true
	seen := map[string]bool{}
	var kept []dns.RR
	for _, rr := range s.rrs {
		key := ""
		if len(s.rrs) > 1 {
			key = identity(rr, s.owner)
		}
		if seen[key] {
			continue
		}
		if len(kept) == maxRecords {
			s.tooLarge = true
			break
		}
		seen[key] = true
		if rr.Header().Name != s.owner {
			rr = dns.Copy(rr)
			rr.Header().Name = s.owner
		}
		kept = append(kept, rr)
	}
	s.rrs = kept
}

// complete is Secure if all records are there to be looked at.
func (s *set) complete() judgement {
	if s.tooLarge {
		return bogus(TooMuchWork, "%s %s has more than %d records or signatures", s.owner, dns.Type(s.rrtype), maxRecords)
	}
	return judgement{security: Secure}
}

// identity is equal for records that are the same.
func identity(rr dns.RR, owner string) string {
	rr = dns.Copy(rr)
	h := rr.Header()
	h.Name, h.Ttl = owner, 0
	wire := make([]byte, dns.Len(rr)+1)
	n, err := dns.PackRR(rr, wire, 0, nil, false)
	if err != nil {
		return rr.String()
	}
	switch h.Rrtype {
	case dns.TypeCNAME, dns.TypeDNAME, dns.TypeNS, dns.TypePTR: // a name only
		return string(lowerASCII(wire[:n]))
	}
	return string(wire[:n])
}
