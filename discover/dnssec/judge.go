package dnssec

import (
	"context"
	"fmt"
	"time"

	"github.com/miekg/dns"
)

// A verdict is how far one record set can be trusted.
type verdict struct {
	security Security
	why      string
	wildcard bool
}

// judge validates a record set of a message's answer section.
func (s *session) judge(ctx context.Context, m *dns.Msg, set []dns.RR) (verdict, error) {
	h := set[0].Header()
	owner := dns.CanonicalName(h.Name)
	sigs := findSignatures(m.Answer, owner, h.Rrtype)
	why := fmt.Sprintf("%s %s is not signed, but the zone is", owner, dns.Type(h.Rrtype))
	tried := map[string]bool{}
	for _, sig := range sigs {
		signer := dns.CanonicalName(sig.SignerName)
		if tried[signer] || !signs(signer, owner, h.Rrtype) {
			continue
		}
		tried[signer] = true
		z, err := s.walk(ctx, signer)
		if err != nil {
			return verdict{}, err
		}
		if z.security != Secure {
			return verdict{security: z.security, why: z.why}, nil
		}
		if z.name != signer {
			why = fmt.Sprintf("%s %s is signed by %s, which is not a zone", owner, dns.Type(h.Rrtype), signer)
			continue
		}
		var sig *dns.RRSIG
		if sig, why = s.verifySet(z, set, sigs); why != "" {
			continue
		}
		if !expanded(sig, owner) {
			return verdict{security: Secure}, nil
		}
		v := s.proveExpansion(z, m, owner, sig)
		v.wildcard = true
		return v, nil
	}
	return s.unsigned(ctx, owner, why)
}

// unsigned judges what no signature holds for: it is Insecure if the zone is,
// and otherwise Bogus for the given reason.
func (s *session) unsigned(ctx context.Context, name, why string) (verdict, error) {
	z, err := s.walk(ctx, name)
	if err != nil {
		return verdict{}, err
	}
	if z.security != Secure {
		return verdict{security: z.security, why: z.why}, nil
	}
	return verdict{security: Bogus, why: why}, nil
}

// signs reports whether a zone of this name can have signed records of owner:
// it is at or above it, and for a DS record above it.
func signs(signer, owner string, rrtype uint16) bool {
	return dns.IsSubDomain(signer, owner) && (rrtype != dns.TypeDS || signer != owner)
}

// verifySet returns the first signature of z's keys over a set that holds now,
// or the reason why there is none.
func (s *session) verifySet(z *zone, set []dns.RR, sigs []*dns.RRSIG) (*dns.RRSIG, string) {
	h := set[0].Header()
	what := fmt.Sprintf("%s %s", dns.CanonicalName(h.Name), dns.Type(h.Rrtype))
	why := what + " is not signed, but the zone is"
	for _, sig := range sigs {
		switch {
		case dns.CanonicalName(sig.SignerName) != z.name:
			why = fmt.Sprintf("%s is signed by %s, not by its zone %s", what, sig.SignerName, z.name)
			continue
		case !supported(sig.Algorithm):
			why = fmt.Sprintf("the signature of %s is by %s, which is not supported", what, algorithmName(sig.Algorithm))
			continue
		case !sig.ValidityPeriod(s.now):
			why = fmt.Sprintf("the signature of %s %s", what, outOfDate(sig, s.now))
			continue
		}
		known := false
		for _, key := range z.keys {
			if key.KeyTag() != sig.KeyTag || key.Algorithm != sig.Algorithm {
				continue
			}
			known = true
			if s.signatures++; s.signatures > maxSignatures {
				return nil, errTooMuch.Error()
			}
			if sig.Verify(key, set) == nil {
				return sig, ""
			}
		}
		if known {
			why = fmt.Sprintf("the signature of %s is wrong", what)
		} else {
			why = fmt.Sprintf("the signature of %s is by a key of %s that is not there, or not vouched for (tag %d)", what, z.name, sig.KeyTag)
		}
	}
	return nil, why
}

// outOfDate says when a signature was or will be valid. Its times are modulo
// 2^32 seconds (RFC 4034 section 3.1.5).
func outOfDate(sig *dns.RRSIG, now time.Time) string {
	at := func(serial uint32) string {
		distance := int32(serial - uint32(now.Unix()))
		return now.Add(time.Duration(distance) * time.Second).UTC().Format("2006-01-02 15:04:05Z")
	}
	if int32(sig.Expiration-uint32(now.Unix())) < 0 {
		return "expired at " + at(sig.Expiration)
	}
	return "is not valid before " + at(sig.Inception)
}

// expanded reports whether a signature is over the wildcard that owner was made
// from (RFC 4035 section 5.3.4).
func expanded(sig *dns.RRSIG, owner string) bool {
	labels := dns.CountLabel(owner)
	if len(owner) > 1 && owner[:2] == "*." {
		labels--
	}
	return int(sig.Labels) < labels
}

// proveExpansion asks the message for the proof that no name is closer to owner
// than the wildcard whose records it has.
func (s *session) proveExpansion(z *zone, m *dns.Msg, owner string, sig *dns.RRSIG) verdict {
	closer := ancestor(owner, int(sig.Labels)+1)
	p := s.proofs(z, m)
	switch covered, out := p.covers(closer); {
	case out:
		return verdict{security: Insecure, why: fmt.Sprintf("%s can be in a zone that is not signed (opt-out)", owner)}
	case covered:
		return verdict{security: Secure}
	}
	return verdict{security: Bogus, why: fmt.Sprintf("%s has the records of a wildcard, but nothing proves that it has none itself", owner)}
}
