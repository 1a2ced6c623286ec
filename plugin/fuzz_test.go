package plugin

import (
	"context"
	"testing"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// FuzzQuery asks whatever a packet can ask. The reply, if there is one, is to be
// a message that answers the question; a denial that is signed is to deny the
// name that was asked for, and no type that exists there. Over UDP the fast lane, if it
// answers, gives the same octets as the plugins.
func FuzzQuery(f *testing.F) {
	b := newBench(f, 50)
	b.follow(plugin.HandlerFunc(func(context.Context, dns.ResponseWriter, *dns.Msg) (int, error) {
		return dns.RcodeRefused, nil
	}))
	for _, name := range []string{".", benchZone, benchAddress(7).Owner(), "_smime." + benchZone, "last0._smime." + benchZone,
		"FIRST3.last0._smime." + benchZone, `a\.b\000._smime.` + benchZone, "*._smimecert." + benchZone, "example.com."} {
		for _, qtype := range []uint16{dns.TypeSMIMEA, dns.TypeANY, dns.TypeDS, dns.TypeNSEC, dns.TypeRRSIG, dns.TypeNXNAME, dns.TypeIXFR} {
			r := new(dns.Msg)
			r.SetQuestion(name, qtype)
			if qtype != dns.TypeANY {
				r.SetEdns0(512, true)
			}
			packet, err := r.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(packet, false)
			f.Add(packet, true)
		}
	}
	direct := b.lane()
	f.Fuzz(func(t *testing.T, packet []byte, tcp bool) {
		if b.answers.TakesOctets = !tcp; b.answers.TakesOctets {
			sameAsChain(t, direct, packet)
		}
		r := new(dns.Msg)
		if r.Unpack(packet) != nil {
			return
		}
		c := &client{tcp: tcp}
		var question dns.Question
		if len(r.Question) > 0 {
			question = r.Question[0]
		}
		rcode, _ := b.ServeDNS(context.Background(), request.NewScrubWriter(r, c), r)
		if c.got == nil {
			if plugin.ClientWrite(rcode) {
				t.Fatalf("nothing was written, and nobody else will: rcode %d", rcode)
			}
			return
		}
		m := new(dns.Msg)
		if err := m.Unpack(c.got); err != nil {
			t.Fatalf("the reply is no message: %v", err)
		}
		if m.Id != r.Id || !m.Response || len(m.Question) != 1 || m.Question[0] != question {
			t.Fatalf("a reply to %v: %v", question, m)
		}
		if state := (request.Request{Req: r, W: c}); !tcp && len(c.got) > state.Size() {
			t.Fatalf("%d octets for a client that takes %d", len(c.got), state.Size())
		}
		for _, rr := range m.Ns {
			nsec, ok := rr.(*dns.NSEC)
			if !ok {
				continue
			}
			if dns.CanonicalName(nsec.Hdr.Name) != dns.CanonicalName(question.Name) {
				t.Errorf("%s is denied to who asks for %s", nsec.Hdr.Name, question.Name)
			}
			for _, denied := range nsec.TypeBitMap {
				if denied == question.Qtype {
					t.Errorf("no answer for a type that exists: %v", nsec)
				}
				if denied == dns.TypeNS && nsec.Hdr.Name != benchZone {
					t.Errorf("a delegation where there is none: %v", nsec)
				}
			}
		}
	})
}
