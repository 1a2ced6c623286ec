package test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A signing says how a zone is signed. The zero signing is none.
type signing struct {
	algorithm uint8
	split     bool // KSK and ZSK; otherwise one CSK
}

func (s signing) String() string {
	switch {
	case s.algorithm == 0:
		return "unsigned"
	case s.split:
		return fmt.Sprintf("KSK+ZSK %d", s.algorithm)
	}
	return fmt.Sprintf("CSK %d", s.algorithm)
}

// keys are the keys of one or more zones.
type keys struct {
	directive string // dnssec's, for a Corefile; "" if there are none
	split     bool
	dnskeys   []*dns.DNSKEY
}

// newKeys makes key files as dnssec-keygen does, owned by zone.
func newKeys(t *testing.T, zone string, s signing) *keys {
	t.Helper()
	if s.algorithm == 0 {
		return &keys{}
	}
	if s.split {
		return newKeySet(t, zone, s.algorithm, 257, 256)
	}
	return newKeySet(t, zone, s.algorithm, 257)
}

// newKeySet makes one key for each of these flags: 257 for a KSK or CSK, 256 for a
// ZSK.
func newKeySet(t *testing.T, zone string, algorithm uint8, flags ...uint16) *keys {
	t.Helper()
	k := &keys{split: slices.Contains(flags, 257) && slices.Contains(flags, 256)}
	var files []string
	for _, f := range flags {
		key, file := newKey(t, t.TempDir(), zone, f, algorithm)
		k.dnskeys = append(k.dnskeys, key)
		files = append(files, file)
	}
	k.directive = "dnssec {\n\tkey file " + strings.Join(files, " ") + "\n}"
	return k
}

// newKey writes one key pair below dir and returns the base name of its files.
func newKey(t *testing.T, dir, zone string, flags uint16, algorithm uint8) (*dns.DNSKEY, string) {
	t.Helper()
	bits := map[uint8]int{dns.RSASHA256: 2048, dns.ECDSAP256SHA256: 256, dns.ED25519: 256}[algorithm]
	key := &dns.DNSKEY{
		Hdr:       dns.RR_Header{Name: zone, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 3600},
		Flags:     flags,
		Protocol:  3,
		Algorithm: algorithm,
	}
	private, err := key.Generate(bits)
	if err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(dir, fmt.Sprintf("K%s+%03d+%05d", zone, algorithm, key.KeyTag()))
	writeFile(t, base+".key", key.String()+"\n")
	writeFile(t, base+".private", key.PrivateKeyString(private))
	return key, base
}

// anchors returns the keys that a resolver trusts for zone, as DNSKEY records.
func (k *keys) anchors(zone string) []*dns.DNSKEY {
	var a []*dns.DNSKEY
	for _, key := range k.dnskeys {
		if key.Flags == 257 {
			a = append(a, k.owned(key, zone))
		}
	}
	return a
}

func (k *keys) owned(key *dns.DNSKEY, zone string) *dns.DNSKEY {
	c := dns.Copy(key).(*dns.DNSKEY)
	c.Hdr.Name = zone
	return c
}

// verify checks that every RRset of a section is signed by the key that is to sign
// it, as zone, that every signature verifies, is in its time, and covers a set of
// the section.
func (k *keys) verify(t testing.TB, what, zone string, section []dns.RR) {
	t.Helper()
	type set struct {
		owner string
		rtype uint16
	}
	sets := map[set][]dns.RR{}
	for _, rr := range section {
		if h := rr.Header(); h.Rrtype != dns.TypeRRSIG {
			s := set{wire(t, h.Name), h.Rrtype}
			sets[s] = append(sets[s], rr)
		}
	}
	signed := map[set]int{}
	for _, rr := range section {
		sig, ok := rr.(*dns.RRSIG)
		if !ok {
			continue
		}
		s := set{wire(t, sig.Hdr.Name), sig.TypeCovered}
		rrs := slices.Clone(sets[s])
		switch {
		case rrs == nil:
			t.Errorf("%s: a signature covers no record: %s", what, sig)
			continue
		case wire(t, sig.SignerName) != wire(t, zone):
			t.Errorf("%s: signer %s, want %s", what, sig.SignerName, zone)
		case !sig.ValidityPeriod(time.Now()):
			t.Errorf("%s: signature is out of its time: %s", what, sig)
		case sig.Hdr.Ttl != rrs[0].Header().Ttl:
			t.Errorf("%s: TTL of the signature %d, of its records %d", what, sig.Hdr.Ttl, rrs[0].Header().Ttl)
		case sig.OrigTtl < rrs[0].Header().Ttl:
			t.Errorf("%s: TTL %d above the signature's original TTL %d", what, rrs[0].Header().Ttl, sig.OrigTtl)
		}
		key := k.signer(sig)
		if key == nil {
			t.Errorf("%s: key %d is not to sign %s", what, sig.KeyTag, dns.Type(sig.TypeCovered))
			continue
		}
		// miekg compares a set's owners as text.
		for i := range rrs {
			rrs[i] = dns.Copy(rrs[i])
			rrs[i].Header().Name = sig.Hdr.Name
			if sig.OrigTtl != 0 {
				rrs[i].Header().Ttl = sig.OrigTtl
			}
		}
		if err := sig.Verify(k.owned(key, sig.SignerName), rrs); err != nil {
			t.Errorf("%s: %v: %s", what, err, sig)
			continue
		}
		signed[s]++
	}
	for s, rrs := range sets {
		if n := k.signers(s.rtype); signed[s] != n {
			t.Errorf("%s: %d valid signatures, want %d, of %s", what, signed[s], n, rrs[0])
		}
	}
}

// signers returns how many keys are to sign records of a type.
func (k *keys) signers(rtype uint16) (n int) {
	for _, key := range k.dnskeys {
		if k.signs(key, rtype) {
			n++
		}
	}
	return n
}

// signs reports whether key is to sign records of a type: a KSK the keys, a ZSK all
// others, a CSK everything.
func (k *keys) signs(key *dns.DNSKEY, rtype uint16) bool {
	return !k.split || (key.Flags == 257) == (rtype == dns.TypeDNSKEY)
}

// signer returns the key that made sig, if that key is to sign such records.
func (k *keys) signer(sig *dns.RRSIG) *dns.DNSKEY {
	for _, key := range k.dnskeys {
		if key.KeyTag() == sig.KeyTag && key.Algorithm == sig.Algorithm && k.signs(key, sig.TypeCovered) {
			return key
		}
	}
	return nil
}
