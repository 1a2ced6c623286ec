package test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"math/big"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// starNames are names whose first label begins with an asterisk, or is one, or that
// have one elsewhere. Below _smime all are absent, or owners of what users() has not.
var starNames = []string{
	`*`, `*x`, `**`, `*a.b`, `*.x`, `a.*b`, `*X`, `*.*`, `\*`, `*\.x`, `*` + strings.Repeat("x", 62), `x*`, `*\032x`, `*\000`,
}

// verified reads an RRSIG as RFC 4034 does (section 3.1.8.1, with the count of labels
// of section 3.1.3), from the octets, and verifies it: package dns has no say in it.
func verified(t *testing.T, sig *dns.RRSIG, rrset []dns.RR, key *dns.DNSKEY) bool {
	t.Helper()
	owner := bytes.ToLower([]byte(wire(t, rrset[0].Header().Name)))
	count := 0
	for off := 0; owner[off] != 0; off += 1 + int(owner[off]) {
		count++
	}
	if owner[0] == 1 && owner[1] == '*' {
		count--
	}
	if int(sig.Labels) != count {
		t.Errorf("an RRSIG of %s has %d labels, want %d", rrset[0].Header().Name, sig.Labels, count)
		return false
	}
	if len(rrset) != 1 {
		t.Fatalf("%d records: put them in order", len(rrset))
	}
	signed := binary.BigEndian.AppendUint16(nil, sig.TypeCovered)
	signed = append(signed, sig.Algorithm, sig.Labels)
	signed = binary.BigEndian.AppendUint32(signed, sig.OrigTtl)
	signed = binary.BigEndian.AppendUint32(signed, sig.Expiration)
	signed = binary.BigEndian.AppendUint32(signed, sig.Inception)
	signed = binary.BigEndian.AppendUint16(signed, sig.KeyTag)
	signed = append(signed, bytes.ToLower([]byte(wire(t, sig.SignerName)))...)
	packed := make([]byte, 70_000)
	n, err := dns.PackRR(rrset[0], packed, 0, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	rdata := packed[len(owner)+10 : n]
	signed = append(signed, owner...)
	signed = binary.BigEndian.AppendUint16(signed, sig.TypeCovered)
	signed = binary.BigEndian.AppendUint16(signed, dns.ClassINET)
	signed = binary.BigEndian.AppendUint32(signed, sig.OrigTtl)
	signed = binary.BigEndian.AppendUint16(signed, uint16(len(rdata)))
	signed = append(signed, rdata...)
	digest := sha256.Sum256(signed)
	point, err := base64.StdEncoding.DecodeString(key.PublicKey)
	if err != nil || len(point) != 64 {
		t.Fatalf("a key of %d octets: %v", len(point), err)
	}
	raw, err := base64.StdEncoding.DecodeString(sig.Signature)
	if err != nil || len(raw) != 64 {
		t.Fatalf("a signature of %d octets: %v", len(raw), err)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, point...))
	if err != nil {
		t.Fatal(err)
	}
	return ecdsa.Verify(public, digest[:], new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:]))
}

// TestStars holds that every signature of an answer about a name with an asterisk
// verifies by another reading of the RFC than the signer's, that resolvers take the
// denials, and that the signed zone is good where users have such names.
func TestStars(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	users(t, dir, "example.com")
	for i, local := range []string{"*foo", "**", "*a.b", "a.*b", "x*", "*"} {
		cert{addresses: []string{local + "@example.com"}}.write(t, filepath.Join(dir, "star"+string(rune('a'+i))+".pem"))
	}
	k := newKeys(t, "example.com.", signing{dns.ECDSAP256SHA256, false})
	s := startServer(t, block(strings.Join(subZonesOf, " "), k.directive, smimea(dir, "transfer_signed\nns ns1.example.org"), "transfer {\nto *\n}"))
	addr := bothWays(t, s.addr)
	var zones []zoneAt
	for _, zone := range subZonesOf {
		zones = append(zones, zoneAt{zone, addr, k.anchors(zone)})
	}
	resolvers := map[string]string{"Unbound": startUnbound(t, zones), "BIND": startBIND(t, zones)}
	for i, zone := range subZonesOf {
		for _, local := range append([]string{`*foo`, "alice"}, starNames...) {
			name := local + "." + zone
			for _, rtype := range []uint16{dns.TypeTXT, dns.TypeSMIMEA, dns.TypeA, dns.TypeNSEC, dns.TypeDS} {
				m, _ := ask(t, s.addr, question{name: name, qtype: rtype, size: 4096, do: true, tcp: true})
				sets := map[[2]string][]dns.RR{}
				var sigs []*dns.RRSIG
				for _, rr := range append(m.Answer, m.Ns...) {
					if sig, ok := rr.(*dns.RRSIG); ok {
						sigs = append(sigs, sig)
						continue
					}
					at := [2]string{wire(t, rr.Header().Name), dns.Type(rr.Header().Rrtype).String()}
					sets[at] = append(sets[at], rr)
				}
				if len(sigs) < len(sets) || len(sets) == 0 {
					t.Errorf("%d signatures of %d sets:\n%s", len(sigs), len(sets), m)
				}
				for _, sig := range sigs {
					set := sets[[2]string{wire(t, sig.Hdr.Name), dns.Type(sig.TypeCovered).String()}]
					if len(set) == 0 || !verified(t, sig, set, k.anchors(zone)[0]) {
						t.Errorf("%s %s: a signature of %s does not verify:\n%s", name, dns.Type(rtype), dns.Type(sig.TypeCovered), m)
					}
				}
			}
			for resolver, addr := range resolvers {
				for _, rtype := range []uint16{dns.TypeTXT, dns.TypeA, dns.TypeSMIMEA} {
					m, _ := ask(t, addr, question{name: name, qtype: rtype, size: 1232, do: true, rd: true})
					if m.Rcode == dns.RcodeServerFailure || !m.AuthenticatedData {
						t.Errorf("%s: %s %s is not validated:\n%s", resolver, name, dns.Type(rtype), m)
					}
				}
			}
		}
		if out := delv(t, zones[i], "*x."+zone, "TXT"); !strings.Contains(out, "; negative response, fully validated") {
			t.Errorf("delv: %s", out)
		}
		waitFor(t, "the signed zone", func() bool {
			_, err := transferIn(s.addr, zone, nil, false)
			return err == nil
		})
		file := zoneFile(t, s.addr, zone)
		for _, argv := range [][]string{{"ldns-verify-zone", file}, {"dnssec-verify", "-z", "-o", strings.TrimSuffix(zone, "."), file}} {
			if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
				t.Errorf("%s of %s: %v\n%s", argv[0], zone, err, out)
			}
		}
	}
}
