package zone

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"math/big"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// labelsOf counts the labels of a name in wire form as RFC 4034 section 3.1.3 does:
// without the root, and without a first label that is just an asterisk.
func labelsOf(wire []byte) (n uint8) {
	for at := 0; wire[at] != 0; at += 1 + int(wire[at]) {
		if at > 0 || wire[0] != 1 || wire[1] != '*' {
			n++
		}
	}
	return n
}

// signedData is what the signature of one record is made over, by RFC 4034 section
// 3.1.8.1. The owner is a wildcard in full, or no wildcard.
func signedData(t *testing.T, sig *dns.RRSIG, owner, rdata []byte) []byte {
	t.Helper()
	signer, err := Wire(sig.SignerName)
	if err != nil {
		t.Fatal(err)
	}
	var b []byte
	b = binary.BigEndian.AppendUint16(b, sig.TypeCovered)
	b = append(b, sig.Algorithm, sig.Labels)
	b = binary.BigEndian.AppendUint32(b, sig.OrigTtl)
	b = binary.BigEndian.AppendUint32(b, sig.Expiration)
	b = binary.BigEndian.AppendUint32(b, sig.Inception)
	b = binary.BigEndian.AppendUint16(b, sig.KeyTag)
	b = append(append(b, signer...), owner...)
	b = binary.BigEndian.AppendUint16(b, sig.TypeCovered)
	b = binary.BigEndian.AppendUint16(b, dns.ClassINET)
	b = binary.BigEndian.AppendUint32(b, sig.OrigTtl)
	b = binary.BigEndian.AppendUint16(b, uint16(len(rdata)))
	return append(b, rdata...)
}

// FuzzDenialSigned holds that the signature of a denial counts the labels of its name,
// and is made over it, as somebody reads it who has not made it.
func FuzzDenialSigned(f *testing.F) {
	place, err := NewPlace(Place{Origin: "example.com", Layout: Whole, TTL: 300})
	if err != nil {
		f.Fatal(err)
	}
	key := &dns.DNSKEY{Hdr: dns.RR_Header{Name: "example.com.", Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET}, Flags: 257, Protocol: 3, Algorithm: dns.ECDSAP256SHA256}
	private, err := key.Generate(256)
	if err != nil {
		f.Fatal(err)
	}
	public := private.(*ecdsa.PrivateKey).PublicKey
	z := NewZone(place, "")
	for _, label := range []string{"*", "**", "*x", "*foo", "x*", "\\042", "a", "*\x00", ".", "\\", "*.", "A", "*A", "\xff"} {
		f.Add([]byte(label), []byte("_smime"))
		f.Add([]byte("b"), []byte(label))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		if len(first) == 0 || len(first) > 63 || len(second) > 63 {
			return
		}
		name := append([]byte{byte(len(first))}, first...)
		if len(second) > 0 {
			name = append(append(name, byte(len(second))), second...)
		}
		name = append(name, "\x07example\x03com\x00"...)
		for i, c := range name {
			if c >= 'A' && c <= 'Z' && i > 0 {
				name[i] = c + 'a' - 'A'
			}
		}
		nsec := z.NSEC(Name{Kind: Absent}, name, 300)
		rdata := make([]byte, 1024)
		end, err := dns.PackRR(nsec, rdata, 0, nil, false)
		if err != nil {
			return // the successor is no name for miekg/dns
		}
		if !bytes.Equal(rdata[:len(name)], name) {
			t.Fatalf("the owner of %x is %x", name, rdata[:len(name)])
		}
		rdata = rdata[len(name)+10 : end]
		sig := &dns.RRSIG{Algorithm: key.Algorithm, KeyTag: key.KeyTag(), SignerName: "example.com.", Inception: 1, Expiration: uint32(time.Hour / time.Second)}
		if err := sig.Sign(private.(crypto.Signer), []dns.RR{nsec}); err != nil {
			t.Fatal(err)
		}
		if want := labelsOf(name); sig.Labels != want {
			t.Fatalf("%x is signed as %d labels, and has %d", name, sig.Labels, want)
		}
		raw, err := base64.StdEncoding.DecodeString(sig.Signature)
		if err != nil || len(raw) != 64 {
			t.Fatal(raw, err)
		}
		sum := sha256.Sum256(signedData(t, sig, name, rdata))
		if !ecdsa.Verify(&public, sum[:], new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])) {
			t.Fatalf("the signature at %x (%s) is not over it", name, nsec.Hdr.Name)
		}
	})
}
