package dnssec

import (
	"fmt"

	"github.com/miekg/dns"
)

// A verdict is how far one record set can be trusted.
type verdict struct {
	judgement
	wildcard bool
}

// judge validates a record set of a message's answer section.
func (s *session) judge(m *message, of *set) (verdict, error) {
	at, what := whereJudged(of.owner, of.rrtype), fmt.Sprintf("%s %s", of.owner, dns.Type(of.rrtype))
	fault := bogus(SignatureMissing, "%s is not signed, but the zone is", what)
	for _, signer := range s.signers(at, of) {
		z, err := s.walk(signer)
		switch {
		case err != nil:
			return verdict{}, err
		case z.security == Bogus:
			fault = z.judgement
			continue
		case z.security != Secure:
			return verdict{judgement: z.judgement}, nil
		case z.name != signer:
			fault = bogus(SignatureWrong, "%s is signed by %s, which is not a zone", what, signer)
			continue
		}
		v := s.verify(z, of)
		if v.sig == nil {
			fault = v.judgement
			continue
		}
		if !expanded(v.sig, of.owner) {
			return verdict{judgement: v.judgement}, nil
		}
		return verdict{s.expansion(z, m, of, v.sig), true}, nil
	}
	return s.unsigned(at, fault)
}

// signers are the zones that the signatures of sets name and that can have signed
// what is judged at a name: none above the closest trust anchor, which alone
// decides (RFC 4035 section 5: an island of security).
func (s *session) signers(at string, sets ...*set) []string {
	top, ok := s.Anchors.closest(at)
	if !ok {
		return nil
	}
	tried := map[string]bool{}
	var signers []string
	for _, of := range sets {
		for _, sig := range of.sigs {
			signer := dns.CanonicalName(sig.SignerName)
			if tried[signer] {
				continue
			}
			tried[signer] = true
			if dns.IsSubDomain(signer, at) && dns.IsSubDomain(top, signer) {
				signers = append(signers, signer)
			}
		}
	}
	return signers
}

// unsigned judges what no signature holds for: it is Insecure if the zone is
// that a name is in, and otherwise Bogus for the given reason.
func (s *session) unsigned(at string, fault judgement) (verdict, error) {
	z, err := s.walk(at)
	if err != nil {
		return verdict{}, err
	}
	if z.security != Secure {
		return verdict{judgement: z.judgement}, nil
	}
	return verdict{judgement: fault}, nil
}

// expansion asks the message for the proof that no name is closer to a set's
// owner than the wildcard whose records it has.
func (s *session) expansion(z *zone, m *message, of *set, sig *dns.RRSIG) judgement {
	if of.rrtype == dns.TypeDS {
		// A wildcard delegates nothing (RFC 4592 section 4.6).
		return bogus(WildcardWrong, "the DS records of %s are those of a wildcard, which delegates nothing", of.owner)
	}
	closer := ancestor(of.owner, int(sig.Labels)+1)
	switch covered, out := s.proofs(z, m).covers(closer); {
	case out:
		return insecure(OptOut, "%s can be in a zone that is not signed (opt-out)", of.owner)
	case covered:
		return judgement{security: Secure}
	}
	return bogus(DenialMissing, "%s has the records of a wildcard, but nothing proves that it has none itself", of.owner)
}
