package dnssec

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// fetchKeys gets a zone's keys and holds them against what vouches for them: DS
// records of the parent, which are validated, or trust anchors. The vouchers
// hold until then.
func (s *session) fetchKeys(name string, vouchers []dns.RR, until time.Time) (*zone, error) {
	z := &zone{name: name, until: until}
	vouchers, unsupported := supportedVouchers(vouchers)
	if len(vouchers) == 0 {
		z.judgement = insecure(Unsupported, "%s is signed with nothing that is supported: %s", name, unsupported)
		return z, nil
	}
	m, err := s.ask(name, dns.TypeDNSKEY)
	if err != nil {
		return nil, err
	}
	z.until = earlier(until, freshUntil(m.Msg, s.now))
	of := m.answer.get(name, dns.TypeDNSKEY)
	switch {
	case of == nil:
		z.judgement = bogus(KeyMissing, "%s has no DNSKEY records, but a DS record of its parent, or a trust anchor, names one", name)
		return z, nil
	case len(of.sigs) == 0:
		z.judgement = bogus(SignatureMissing, "the DNSKEY records of %s are not signed", name)
		return z, nil
	case of.tooLarge:
		z.judgement = s.verify(z, of).judgement
		return z, nil
	}
	keys := keyring{}
	for _, rr := range of.rrs {
		if key, ok := rr.(*dns.DNSKEY); ok && usable(key) {
			keys.add(key)
		}
	}
	entries, over := s.vouchedFor(keys, vouchers)
	if len(entries) == 0 {
		z.judgement = bogus(KeyMissing, "no DNSKEY record of %s is the one that its %s records name (%s)", name, dns.Type(vouchers[0].Header().Rrtype), tags(vouchers))
		if over {
			z.judgement = bogus(TooMuchWork, "the keys of %s: %v", name, errTooMuch)
		}
		return z, nil
	}
	z.judgement, z.keys = s.verify(&zone{name: name, keys: entries}, of).judgement, keys
	return z, nil
}

// vouchedFor returns those keys that a DS or DNSKEY record that is trusted names;
// over if it has not looked at all of them.
func (s *session) vouchedFor(keys keyring, vouchers []dns.RR) (found keyring, over bool) {
	found = keyring{}
	before := s.work.failures
	for _, voucher := range vouchers {
		id := idOf(voucher)
		for _, key := range keys[id] {
			if s.work.over(before) {
				return found, true
			}
			if s.vouches(voucher, key) && !slices.Contains(found[id], key) {
				found[id] = append(found[id], key)
			}
		}
	}
	return found, false
}

func (s *session) vouches(voucher dns.RR, key *dns.DNSKEY) bool {
	switch voucher := voucher.(type) {
	case *dns.DS:
		return s.work.digest(voucher, key)
	case *dns.DNSKEY:
		return voucher.PublicKey == key.PublicKey
	}
	return false
}

// idOf returns what a DS or DNSKEY record calls its key.
func idOf(voucher dns.RR) keyID {
	switch voucher := voucher.(type) {
	case *dns.DS:
		return keyID{voucher.KeyTag, voucher.Algorithm}
	case *dns.DNSKEY:
		return keyID{voucher.KeyTag(), voucher.Algorithm}
	}
	return keyID{}
}

func tags(vouchers []dns.RR) string {
	var list []string
	for _, voucher := range vouchers {
		list = append(list, fmt.Sprint(idOf(voucher).tag))
	}
	return strings.Join(list, ", ")
}

// supportedVouchers leaves out what we cannot check. DS records with a SHA-1
// digest do not count beside better ones (RFC 4509 section 3).
func supportedVouchers(rrs []dns.RR) (kept []dns.RR, unsupported string) {
	var sha1 []dns.RR
	var left []string
	for _, rr := range rrs {
		switch rr := rr.(type) {
		case *dns.DS:
			switch {
			case !supported(rr.Algorithm):
				left = append(left, algorithmName(rr.Algorithm))
			case rr.DigestType == dns.SHA1:
				sha1 = append(sha1, rr)
			case rr.DigestType == dns.SHA256 || rr.DigestType == dns.SHA384:
				kept = append(kept, rr)
			default:
				left = append(left, fmt.Sprintf("digest type %d", rr.DigestType))
			}
		case *dns.DNSKEY:
			if supported(rr.Algorithm) {
				kept = append(kept, rr)
			} else {
				left = append(left, algorithmName(rr.Algorithm))
			}
		}
	}
	if len(kept) == 0 {
		kept = sha1
	}
	return kept, strings.Join(left, ", ")
}

// supported reports whether signatures of an algorithm are looked at.
func supported(algorithm uint8) bool {
	switch algorithm {
	case dns.RSASHA256, dns.RSASHA512, dns.ECDSAP256SHA256, dns.ECDSAP384SHA384, dns.ED25519:
		return true
	}
	return false
}

func algorithmName(algorithm uint8) string {
	if name, ok := dns.AlgorithmToString[algorithm]; ok {
		return name
	}
	return fmt.Sprintf("algorithm %d", algorithm)
}

// usable reports whether a key can sign records of its zone: it is a zone's key
// (RFC 4034 section 2.1.1), and not revoked (RFC 5011 section 2.1).
func usable(key *dns.DNSKEY) bool {
	return key.Flags&dns.ZONE != 0 && key.Flags&dns.REVOKE == 0 && key.Protocol == 3
}
