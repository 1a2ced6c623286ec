package dnssec

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// hostile are answers of up to 64 KiB that are made to keep us busy, and what
// is to be made of them.
var hostile = map[string]struct {
	make func(i *island)
	want Security
}{
	"900 keys": {func(i *island) {
		rrs := []dns.RR{i.key}
		for n := range 900 {
			rrs = append(rrs, &dns.DNSKEY{Hdr: i.key.Hdr, Flags: 256, Protocol: 3, Algorithm: 13, PublicKey: toBase64([]byte{byte(n >> 8), byte(n), 1})})
		}
		i.answer("test.", dns.TypeDNSKEY, i.sign(rrs...), nil)
		i.answer("x.test.", dns.TypeTXT, i.sign(record(i.t, `x.test. 60 TXT "x"`)), nil)
	}, Bogus},
	"400 keys, and records of 490 that are wrongly signed": {func(i *island) {
		rrs := []dns.RR{i.key}
		for n := range 400 {
			rrs = append(rrs, &dns.DNSKEY{Hdr: i.key.Hdr, Flags: 256, Protocol: 3, Algorithm: 13, PublicKey: toBase64([]byte{byte(n >> 8), byte(n), 1})})
		}
		i.answer("test.", dns.TypeDNSKEY, i.sign(rrs...), nil)
		var texts []dns.RR
		for n := range 490 {
			texts = append(texts, record(i.t, "x.test. 60 TXT %d", n))
		}
		i.answer("x.test.", dns.TypeTXT, append(texts, forged(i.sign(texts...)[490].(*dns.RRSIG), 490)...), nil)
	}, Bogus},
	"3300 keys": {func(i *island) {
		rrs := []dns.RR{i.key}
		for n := range 3300 {
			rrs = append(rrs, &dns.DNSKEY{Hdr: i.key.Hdr, Flags: 256, Protocol: 3, Algorithm: 13, PublicKey: toBase64([]byte{byte(n >> 8), byte(n), 1})})
		}
		i.answer("test.", dns.TypeDNSKEY, i.sign(rrs...), nil)
		i.answer("x.test.", dns.TypeTXT, i.sign(record(i.t, `x.test. 60 TXT "x"`)), nil)
	}, Bogus},
	"KeyTrap: keys of one tag and 600 signatures": {func(i *island) {
		keys := append(colliding(i.t, i.key, 90), i.key)
		i.answer("test.", dns.TypeDNSKEY, i.sign(keys...), nil)
		signed := i.sign(record(i.t, `x.test. 60 TXT "x"`))
		i.answer("x.test.", dns.TypeTXT, append(signed[:1], forged(signed[1].(*dns.RRSIG), 600)...), nil)
	}, Bogus},
	"KeyTrap: 400 keys of one tag and 490 signatures": {func(i *island) {
		signed := i.sign(record(i.t, `x.test. 60 TXT "x"`))
		i.answer("x.test.", dns.TypeTXT, append(signed[:1], forged(signed[1].(*dns.RRSIG), 490)...), nil)
		i.answer("test.", dns.TypeDNSKEY, i.sign(append([]dns.RR{i.key}, colliding(i.t, i.key, 400)...)...), nil)
	}, Bogus},
	"DS records and keys of one tag": {func(i *island) {
		key, signer := generate(i.t, "sub.test.", i.key.Algorithm)
		keys := append(colliding(i.t, key, 400), key)
		i.answer("sub.test.", dns.TypeDNSKEY, signBy(i.t, key, signer, 0, keys...), nil)
		var ds []dns.RR
		for n := range 400 {
			wrong := key.ToDS(dns.SHA256)
			wrong.Digest = fmt.Sprintf("%064x", n)
			ds = append(ds, wrong)
		}
		i.answer("sub.test.", dns.TypeDS, i.sign(append(ds, key.ToDS(dns.SHA256))...), nil)
		i.answer("x.test.", dns.TypeTXT, i.sign(record(i.t, "x.test. 60 CNAME sub.test.")), nil)
		i.answer("sub.test.", dns.TypeTXT, signBy(i.t, key, signer, 0, record(i.t, `sub.test. 60 TXT "x"`)), nil)
	}, Bogus},
	"1000 NSEC and 1000 signatures": {func(i *island) {
		var ns []dns.RR
		for n := range 1000 {
			rr := record(i.t, "a%d.test. 60 NSEC z.test. A", n)
			ns = append(ns, rr, i.sign(rr)[1])
		}
		i.answer("x.test.", dns.TypeTXT, nil, ns)
		i.answer("x.test.", dns.TypeDS, nil, ns)
	}, Bogus},
	"490 NSEC of the longest names": {func(i *island) {
		long := strings.Repeat(strings.Repeat(`\000`, 60)+".", 3)
		long += strings.Repeat(`\000`, 252-3*61-1-6-6-1) + "."
		var ns []dns.RR
		sig := i.sign(record(i.t, "x.test. 60 TXT x"))[1].(*dns.RRSIG)
		for n := range 490 {
			rr := record(i.t, "%05d.%stest. 60 NSEC %05d.%stest. A", n, long, n+1, long)
			wrong := *sig
			wrong.Hdr.Name, wrong.TypeCovered = rr.Header().Name, dns.TypeNSEC
			ns = append(ns, rr, &wrong)
		}
		name := "00001z." + long + "test."
		i.alias(name)
		i.answer(name, dns.TypeTXT, nil, ns)
	}, Bogus},
	"490 NSEC with wrong signatures": {func(i *island) {
		var ns []dns.RR
		var sig *dns.RRSIG
		for n := range 490 {
			rr := record(i.t, "a%d.test. 60 NSEC z.test. A", n)
			if sig == nil {
				sig = i.sign(rr)[1].(*dns.RRSIG)
			}
			wrong := *sig
			wrong.Hdr.Name = rr.Header().Name
			ns = append(ns, rr, &wrong)
		}
		i.answer("x.test.", dns.TypeTXT, nil, ns)
		i.answer("x.test.", dns.TypeDS, nil, ns)
	}, Bogus},
	"490 NSEC, all signed": {func(i *island) {
		var ns []dns.RR
		for n := range 490 {
			ns = append(ns, i.sign(record(i.t, "a%d.test. 60 NSEC b%d.test. A", n, n))...)
		}
		i.answer("x.test.", dns.TypeTXT, nil, ns)
		i.answer("x.test.", dns.TypeDS, nil, i.sign(record(i.t, `x.test. 60 NSEC \000.x.test. A`)))
	}, Bogus},
	"900 NSEC of one name": {func(i *island) {
		var ns []dns.RR
		for n := range 900 {
			ns = append(ns, record(i.t, "a.test. 60 NSEC z%d.test. A", n))
		}
		ns = append(ns, forged(i.sign(ns[0])[1].(*dns.RRSIG), 90)...)
		i.answer("x.test.", dns.TypeTXT, nil, ns)
		i.answer("x.test.", dns.TypeDS, nil, ns)
	}, Bogus},
	"NSEC3 of 300 salts for a name of 120 labels (CVE-2023-50868)": {func(i *island) {
		name := strings.Repeat("a.", 110) + "x.test."
		var ns []dns.RR
		for n := range 300 {
			rr := &dns.NSEC3{
				Hdr:  dns.RR_Header{Name: fmt.Sprintf("%032x.test.", n), Rrtype: dns.TypeNSEC3, Class: dns.ClassINET, Ttl: 60},
				Hash: dns.SHA1, Iterations: maxIterations, SaltLength: 8, Salt: fmt.Sprintf("%016x", n),
				HashLength: 20, NextDomain: fmt.Sprintf("%032x", n+1), TypeBitMap: []uint16{dns.TypeA},
			}
			ns = append(ns, i.sign(rr)...)
		}
		i.alias(name)
		i.answer(name, dns.TypeTXT, nil, ns)
	}, Bogus},
	"NSEC3 with the longest salt and 150 iterations, for 120 labels": {func(i *island) {
		name := strings.Repeat("a.", 110) + "x.test."
		i.alias(name)
		i.answer(name, dns.TypeTXT, nil, i.sign(&dns.NSEC3{
			Hdr:  dns.RR_Header{Name: strings.Repeat("0", 32) + ".test.", Rrtype: dns.TypeNSEC3, Class: dns.ClassINET, Ttl: 60},
			Hash: dns.SHA1, Iterations: maxIterations, SaltLength: 255, Salt: strings.Repeat("ab", 255),
			HashLength: 20, NextDomain: strings.Repeat("0", 31) + "1", TypeBitMap: []uint16{dns.TypeA},
		}))
	}, Bogus},
	"5000 records of one name": {func(i *island) {
		var rrs []dns.RR
		for n := range 4000 {
			rrs = append(rrs, record(i.t, "x.test. 60 A 10.0.%d.%d", n>>8, n&255))
		}
		signed := i.sign(rrs...)
		for _, rr := range signed {
			rr.Header().Rrtype = dns.TypeA
		}
		i.answer("x.test.", dns.TypeTXT, append(signed, record(i.t, "x.test. 60 CNAME x.test.")), nil)
	}, Bogus},
	"1000 signers": {func(i *island) {
		name := strings.Repeat("a.", 110) + "x.test."
		i.alias(name)
		signed := i.sign(record(i.t, `%s 60 TXT "x"`, name))
		var sigs []dns.RR
		for n := range 90 {
			wrong := *signed[1].(*dns.RRSIG)
			wrong.SignerName = ancestor(name, 3+n)
			sigs = append(sigs, &wrong)
		}
		i.answer(name, dns.TypeTXT, append(signed[:1], sigs...), nil)
		for n := 2; n < 120; n++ {
			at := ancestor(name, n)
			i.answer(at, dns.TypeDS, nil, i.sign(record(i.t, `%s 60 NSEC \000.%s A`, at, at)))
		}
	}, Bogus},
}

// alias leads from x.test. to a name.
func (i *island) alias(to string) {
	i.answer("x.test.", dns.TypeTXT, i.sign(record(i.t, "x.test. 60 CNAME %s", to)), nil)
}
