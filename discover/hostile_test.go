package discover

import (
	"crypto"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/discover/dnssec"
	"coredns-smimea/internal/harness"
)

// A hostileZone is evil.test., whose owner would have us compute for minutes.
type hostileZone struct {
	t      *testing.T
	key    *dns.DNSKEY
	signer crypto.Signer
}

func (z *hostileZone) sign(rrs ...dns.RR) *dns.RRSIG {
	z.t.Helper()
	now := uint32(time.Now().Unix())
	sig := &dns.RRSIG{
		Hdr: dns.RR_Header{Ttl: 60}, Algorithm: z.key.Algorithm, KeyTag: z.key.KeyTag(), SignerName: z.key.Hdr.Name,
		Inception: now - 3600, Expiration: now + 3600,
	}
	if err := sig.Sign(z.signer, rrs); err != nil {
		z.t.Fatal(err)
	}
	return sig
}

func (z *hostileZone) keys(n int) (rrs []dns.RR) {
	rrs = append(rrs, z.key)
	for i := range n - 1 {
		rrs = append(rrs, &dns.DNSKEY{Hdr: z.key.Hdr, Flags: 256, Protocol: 3, Algorithm: z.key.Algorithm, PublicKey: base64.StdEncoding.EncodeToString([]byte{byte(i >> 8), byte(i), 1})})
	}
	return append(rrs, z.sign(rrs...))
}

func (z *hostileZone) nsec(n int) (rrs []dns.RR) {
	for i := range n {
		rr, err := dns.NewRR(fmt.Sprintf("a%d.evil.test. 60 NSEC z.evil.test. A", i))
		if err != nil {
			z.t.Fatal(err)
		}
		wrong := z.sign(rr)
		wrong.Signature = "AAAA" + wrong.Signature[4:]
		rrs = append(rrs, rr, wrong)
	}
	return rrs
}

func (z *hostileZone) nsec3(n int) (rrs []dns.RR) {
	for i := range n {
		rr := &dns.NSEC3{
			Hdr:  dns.RR_Header{Name: fmt.Sprintf("%032x.evil.test.", i), Rrtype: dns.TypeNSEC3, Class: dns.ClassINET, Ttl: 60},
			Hash: dns.SHA1, Iterations: 150, SaltLength: 4, Salt: fmt.Sprintf("%08x", i),
			HashLength: 20, NextDomain: fmt.Sprintf("%032x", i+1), TypeBitMap: []uint16{dns.TypeA},
		}
		rrs = append(rrs, rr, z.sign(rr))
	}
	return rrs
}

// signatures are n short ones over one NSEC record.
func (z *hostileZone) signatures(n int) []dns.RR {
	rrs := z.nsec(1)
	for i := range n {
		short := *rrs[1].(*dns.RRSIG)
		short.Signature = base64.StdEncoding.EncodeToString([]byte{byte(i >> 8), byte(i)})
		rrs = append(rrs, &short)
	}
	return rrs
}

// TestHostileAnswers looks an address up in such a zone: as a whole, from the
// wire to the verdict, it takes a small part of the time that there is.
func TestHostileAnswers(t *testing.T) {
	key := &dns.DNSKEY{
		Hdr:   dns.RR_Header{Name: "evil.test.", Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 300},
		Flags: 257, Protocol: 3, Algorithm: dns.ECDSAP384SHA384,
	}
	private, err := key.Generate(384)
	if err != nil {
		t.Fatal(err)
	}
	z := &hostileZone{t, key, private.(crypto.Signer)}
	for what, zone := range map[string]struct{ keys, denial []dns.RR }{
		"3300 keys":       {z.keys(3300), z.nsec(1)},
		"90 keys":         {z.keys(90), z.signatures(90)},
		"370 NSEC":        {z.keys(1), z.nsec(370)},
		"270 NSEC3":       {z.keys(1), z.nsec3(270)},
		"1000 signatures": {z.keys(1), z.signatures(1000)},
	} {
		t.Run(what, func(t *testing.T) {
			server, asked := handle(t, func(q *dns.Msg) *dns.Msg {
				m := new(dns.Msg)
				m.SetReply(q)
				m.Compress = true
				m.Answer, m.Ns = nil, zone.denial
				if q.Question[0].Qtype == dns.TypeDNSKEY {
					m.Answer, m.Ns = zone.keys, nil
				}
				if packed, err := m.Pack(); err != nil || len(packed) > dns.MaxMsgSize {
					t.Errorf("%d octets, %v", len(packed), err)
				}
				return m
			})
			c := &Client{Resolver: &dnssec.Validator{Exchange: server.Exchange, Anchors: dnssec.Anchors{"evil.test.": {key}}}}
			begin := harness.ProcessorTime()
			r := c.Lookup(t.Context(), parse(t, "user@evil.test"))
			took := harness.ProcessorTime() - begin
			if r.Verdict != Unknown || took > 10*time.Second {
				t.Errorf("%s: %s, after %v of the processor; want unknown, soon", r.Verdict, r.Why, took)
			}
			t.Logf("%v of the processor and %d questions: %s", took, asked.Load(), r.Why)
		})
	}
}
