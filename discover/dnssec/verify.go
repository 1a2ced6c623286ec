package dnssec

import (
	"encoding/base64"
	"fmt"
	"math/bits"
	"time"

	"github.com/miekg/dns"
)

// A keyring has a zone's keys by what signatures and DS records call them. The
// tags are computed once: for each signature anew they would be what
// CVE-2023-50387 asks for.
type keyring map[keyID][]*dns.DNSKEY

type keyID struct {
	tag       uint16
	algorithm uint8
}

func (k keyring) add(key *dns.DNSKEY) {
	id := keyID{key.KeyTag(), key.Algorithm}
	k[id] = append(k[id], key)
}

// verify finds the first signature of a zone's keys over a set that holds now,
// or the reason why there is none. It does so once.
func (s *session) verify(z *zone, of *set) verified {
	v, ok := of.verified[z.name]
	if !ok {
		v = s.verifyNow(z, of)
		if of.verified == nil {
			of.verified = map[string]verified{}
		}
		of.verified[z.name] = v
	}
	return v
}

func (s *session) verifyNow(z *zone, of *set) verified {
	what := fmt.Sprintf("%s %s", of.owner, dns.Type(of.rrtype))
	if of.tooLarge {
		return verified{judgement: of.complete()}
	}
	fault := bogus(SignatureMissing, "%s is not signed, but the zone is", what)
	before := s.work.failures
	for _, sig := range of.sigs {
		if fault = s.unfit(z, sig, what); fault.why != "" {
			continue
		}
		keys := z.keys[keyID{sig.KeyTag, sig.Algorithm}]
		if len(keys) == 0 {
			fault = bogus(KeyMissing, "the signature of %s is by a key of %s that is not there, or not vouched for (tag %d)", what, z.name, sig.KeyTag)
		}
		for _, key := range keys {
			if s.work.over(before) {
				return verified{judgement: bogus(TooMuchWork, "%s: %v", what, errTooMuch)}
			}
			if why := unusableRSA(key); why != "" {
				fault = bogus(KeyUnusable, "the signature of %s is by the key %d of %s, %s", what, sig.KeyTag, z.name, why)
				continue
			}
			if s.work.verify(sig, key, of.rrs) {
				return verified{sig: sig, judgement: judgement{security: Secure}}
			}
			fault = bogus(SignatureWrong, "the signature of %s is wrong", what)
		}
	}
	return verified{judgement: fault}
}

// unfit says why a signature is not worth being looked at, if it is not.
func (s *session) unfit(z *zone, sig *dns.RRSIG, what string) judgement {
	switch {
	case dns.CanonicalName(sig.SignerName) != z.name:
		return bogus(SignatureWrong, "%s is signed by %s, not by its zone %s", what, sig.SignerName, z.name)
	case int(sig.Labels) < dns.CountLabel(z.name):
		return bogus(SignatureWrong, "the signature of %s is of a wildcard above its zone %s", what, z.name)
	case !supported(sig.Algorithm):
		return bogus(Unsupported, "the signature of %s is by %s, which is not supported", what, algorithmName(sig.Algorithm))
	case int32(sig.Expiration-uint32(s.now.Unix())) < 0:
		return bogus(SignatureExpired, "the signature of %s expired at %s", what, s.serialTime(sig.Expiration))
	case !sig.ValidityPeriod(s.now):
		return bogus(SignatureEarly, "the signature of %s is not valid before %s", what, s.serialTime(sig.Inception))
	}
	return judgement{}
}

// serialTime writes a time of a signature, which is modulo 2^32 seconds (RFC
// 4034 section 3.1.5).
func (s *session) serialTime(serial uint32) string {
	distance := int32(serial - uint32(s.now.Unix()))
	return s.now.Add(time.Duration(distance) * time.Second).UTC().Format("2006-01-02 15:04:05Z")
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

// Limits of RSA keys, in bits: shorter ones are not safe, longer ones and larger
// exponents only take more time. crypto/rsa has them, but does not say so.
const (
	minModulus  = 1024
	maxModulus  = 4096
	maxExponent = 31
)

// unusableRSA says why signatures by an RSA key (RFC 3110 section 2) are not
// looked at; "" if they are, and of other keys.
func unusableRSA(key *dns.DNSKEY) string {
	if key.Algorithm != dns.RSASHA256 && key.Algorithm != dns.RSASHA512 {
		return ""
	}
	wire, err := base64.StdEncoding.DecodeString(key.PublicKey)
	if err != nil || len(wire) < 3 {
		return "which is no RSA key"
	}
	length, rest := int(wire[0]), wire[1:]
	if length == 0 {
		length, rest = int(wire[1])<<8|int(wire[2]), wire[3:]
	}
	if length == 0 || length >= len(rest) {
		return "which is no RSA key"
	}
	exponent, modulus := bitLength(rest[:length]), bitLength(rest[length:])
	switch {
	case exponent > maxExponent:
		return fmt.Sprintf("whose RSA exponent has %d bits: none above 2^%d-1 is supported", exponent, maxExponent)
	case modulus < minModulus || modulus > maxModulus:
		return fmt.Sprintf("whose RSA modulus has %d bits: %d to %d are supported", modulus, minModulus, maxModulus)
	}
	return ""
}

// bitLength is that of a big-endian number.
func bitLength(number []byte) int {
	for len(number) > 0 && number[0] == 0 {
		number = number[1:]
	}
	if len(number) == 0 {
		return 0
	}
	return 8*(len(number)-1) + bits.Len8(number[0])
}
