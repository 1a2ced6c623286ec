package dnssec

import (
	"context"
	"testing"

	"github.com/miekg/dns"
)

// FuzzAnswer has a server answer anything at all about one name, and the truth
// about what leads to it. What is Secure must be the truth.
func FuzzAnswer(f *testing.F) {
	const name = "user._smimecert.compact.test."
	c := newCompact(f)
	truth, err := c.exchange(context.Background(), question(name, dns.TypeSMIMEA))
	if err != nil {
		f.Fatal(err)
	}
	want := truth.Answer[0].(*dns.SMIMEA).Certificate
	for _, q := range []*dns.Msg{
		question(name, dns.TypeSMIMEA), question(name, dns.TypeTXT), question("nobody._smimecert.compact.test.", dns.TypeSMIMEA),
		question("_smimecert.compact.test.", dns.TypeA), question("compact.test.", dns.TypeDNSKEY),
	} {
		m, err := c.exchange(context.Background(), q)
		if err != nil {
			f.Fatal(err)
		}
		m.Question = truth.Question
		wire, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		m := new(dns.Msg)
		if m.Unpack(wire) != nil {
			return
		}
		v := &Validator{Anchors: Anchors{"compact.test.": {c.key}}, Exchange: func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
			if q.Question[0].Name == name && q.Question[0].Qtype == dns.TypeSMIMEA {
				return m.Copy(), nil
			}
			return c.exchange(ctx, q)
		}}
		a, err := v.Lookup(t.Context(), name, dns.TypeSMIMEA)
		if err != nil || a.Security != Secure {
			return
		}
		for _, rr := range a.Records {
			if got := rr.(*dns.SMIMEA); got.Certificate != want {
				t.Fatalf("%v is secure", got)
			}
		}
		if len(a.Records) != 1 && len(a.Aliases) == 0 {
			t.Fatalf("the denial of a name that exists is secure: %v", m)
		}
	})
}
