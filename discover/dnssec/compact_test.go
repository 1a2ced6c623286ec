package dnssec

import (
	"context"
	"crypto"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A compact is a zone whose denials are made for each question (RFC 9824).
type compact struct {
	key    *dns.DNSKEY
	signer crypto.Signer
	types  map[string][]uint16 // what the names have
}

func newCompact(t testing.TB) *compact {
	key := &dns.DNSKEY{
		Hdr:   dns.RR_Header{Name: "compact.test.", Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 300},
		Flags: 257, Protocol: 3, Algorithm: dns.ECDSAP256SHA256,
	}
	private, err := key.Generate(256)
	if err != nil {
		t.Fatal(err)
	}
	return &compact{key, private.(crypto.Signer), map[string][]uint16{
		"compact.test.":                 {dns.TypeNS, dns.TypeSOA, dns.TypeRRSIG, dns.TypeNSEC, dns.TypeDNSKEY},
		"_smimecert.compact.test.":      {dns.TypeRRSIG, dns.TypeNSEC},
		"user._smimecert.compact.test.": {dns.TypeRRSIG, dns.TypeNSEC, dns.TypeSMIMEA},
	}}
}

func (c *compact) sign(rrs ...dns.RR) []dns.RR {
	now := uint32(time.Now().Unix())
	sig := &dns.RRSIG{Hdr: dns.RR_Header{Ttl: rrs[0].Header().Ttl}, Algorithm: c.key.Algorithm, KeyTag: c.key.KeyTag(), SignerName: "compact.test.", Inception: now - 3600, Expiration: now + 3600}
	if err := sig.Sign(c.signer, rrs); err != nil {
		panic(err)
	}
	return append(rrs, sig)
}

func (c *compact) exchange(_ context.Context, q *dns.Msg) (*dns.Msg, error) {
	name, qtype := q.Question[0].Name, q.Question[0].Qtype
	m := new(dns.Msg)
	m.SetReply(q)
	switch {
	case qtype == dns.TypeDNSKEY && name == "compact.test.":
		m.Answer = c.sign(c.key)
	case qtype == dns.TypeSMIMEA && strings.HasPrefix(name, "user._"):
		rr, err := dns.NewRR(name + " 300" + digest)
		if err != nil {
			return nil, err
		}
		m.Answer = c.sign(rr)
	default:
		types, ok := c.types[name]
		if !ok {
			types = []uint16{dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNXNAME}
		}
		m.Ns = c.sign(&dns.NSEC{
			Hdr:        dns.RR_Header{Name: name, Rrtype: dns.TypeNSEC, Class: dns.ClassINET, Ttl: 300},
			NextDomain: `\000.` + name, TypeBitMap: types,
		})
	}
	return m, nil
}

func TestCompactDenial(t *testing.T) {
	c := newCompact(t)
	v := &Validator{Exchange: c.exchange, Anchors: Anchors{"compact.test.": {c.key}}}
	for _, test := range []struct {
		name      string
		qtype     uint16
		nameError bool
		found     int
	}{
		{"user._smimecert.compact.test.", dns.TypeSMIMEA, false, 1},
		{"user._smimecert.compact.test.", dns.TypeTXT, false, 0},
		{"nobody._smimecert.compact.test.", dns.TypeSMIMEA, true, 0},
		{"a.user._smimecert.compact.test.", dns.TypeSMIMEA, true, 0},
		{"_smimecert.compact.test.", dns.TypeSMIMEA, false, 0},
		{"compact.test.", dns.TypeSMIMEA, false, 0},
	} {
		a, err := v.Lookup(t.Context(), test.name, test.qtype)
		if err != nil || a.Security != Secure || a.NameError != test.nameError || len(a.Records) != test.found {
			t.Errorf("%s %s: %+v, %v; want secure, name error %v, %d records", test.name, dns.Type(test.qtype), a, err, test.nameError, test.found)
		}
	}

	// The denial of one name says nothing of another.
	v.Exchange = func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
		other := q.Copy()
		if q.Question[0].Qtype == dns.TypeSMIMEA {
			other.Question[0].Name = "nobody._smimecert.compact.test."
		}
		m, err := c.exchange(ctx, other)
		m.Question = q.Question
		return m, err
	}
	a, err := v.Lookup(t.Context(), "user._smimecert.compact.test.", dns.TypeSMIMEA)
	if err != nil || a.Security != Bogus {
		t.Errorf("with the denial of another name: %+v, %v; want bogus", a, err)
	}
}
