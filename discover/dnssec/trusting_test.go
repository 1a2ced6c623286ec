package dnssec

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/miekg/dns"
)

// TestTrusting has a resolver that says what is signed. Where it stops on the way
// along aliases, nothing is known of the end.
func TestTrusting(t *testing.T) {
	i := newIsland(t, dns.ECDSAP256SHA256)
	soa := []dns.RR{record(t, "test. 60 SOA ns.test. h.test. 1 1 1 1 1")}
	signed := func(name string, answer []dns.RR, authority []dns.RR) *dns.Msg {
		m := i.answer(name, dns.TypeTXT, answer, authority)
		m.AuthenticatedData, m.Authoritative = true, false
		return m
	}
	chain := func(from, n int) (rrs []dns.RR) {
		for k := range n {
			rrs = append(rrs, record(t, "a%d.test. 60 CNAME a%d.test.", from+k, from+k+1))
		}
		return rrs
	}
	txt := record(t, `x.test. 60 TXT "x"`)
	signed("x.test.", []dns.RR{txt, record(t, `X.test. 30 TXT "x"`)}, nil)
	signed("none.test.", nil, soa)
	signed("gone.test.", nil, soa).Rcode = dns.RcodeNameError
	signed("followed.test.", []dns.RR{record(t, "followed.test. 60 CNAME x.test."), txt}, nil)
	signed("half.test.", []dns.RR{record(t, "half.test. 60 CNAME x.test.")}, nil)
	signed("tonone.test.", []dns.RR{record(t, "tonone.test. 60 CNAME none.test.")}, soa)
	signed("togone.test.", []dns.RR{record(t, "togone.test. 60 CNAME gone.test.")}, soa).Rcode = dns.RcodeNameError
	signed("circle.test.", []dns.RR{record(t, "circle.test. 60 CNAME circle2.test."), record(t, "circle2.test. 60 CNAME circle.test.")}, soa)
	signed("self.test.", []dns.RR{record(t, "self.test. 60 CNAME self.test.")}, nil)
	signed("steps.test.", []dns.RR{record(t, "steps.test. 60 CNAME steps2.test.")}, soa)
	signed("steps2.test.", []dns.RR{record(t, "steps2.test. 60 CNAME steps.test.")}, soa)
	signed("two.test.", []dns.RR{record(t, "two.test. 60 CNAME x.test."), record(t, "two.test. 60 CNAME none.test.")}, soa)
	signed("a0.test.", chain(0, 40), soa)
	signed("lame.test.", nil, []dns.RR{record(t, "test. 60 NS ns.test.")})
	signed("unsigned.test.", []dns.RR{record(t, `unsigned.test. 60 TXT "x"`)}, nil).AuthenticatedData = false
	signed("halfsigned.test.", []dns.RR{record(t, "halfsigned.test. 60 CNAME unsigned.test.")}, nil)
	for name, zoneSigned := range map[string]bool{"fails.test.": true, "failsunsigned.test.": false} {
		signed(name, nil, nil).Rcode = dns.RcodeServerFailure
		i.answer(name, dns.TypeSOA, nil, soa).AuthenticatedData = zoneSigned
	}
	v := &Trusting{Exchange: i.exchange}
	for name, want := range map[string]string{
		"x.test.": "secure 1 false", "none.test.": "secure 0 false", "gone.test.": "secure 0 true",
		"followed.test.": "secure 1 false", "half.test.": "secure 1 false", "tonone.test.": "secure 0 false", "togone.test.": "secure 0 true",
		"circle.test.": "bogus alias", "self.test.": "bogus alias", "steps.test.": "bogus alias", "two.test.": "bogus alias", "a0.test.": "bogus alias",
		"lame.test.": "error", "fails.test.": "server error", "failsunsigned.test.": "unsigned error", "missing.test.": "server error",
		"unsigned.test.": "insecure 1 no_ad", "halfsigned.test.": "insecure 1 no_ad",
	} {
		a, err := v.Lookup(t.Context(), name, dns.TypeTXT)
		got := "error"
		var server *ServerError
		var unsigned *UnsignedError
		switch {
		case errors.As(err, &unsigned):
			got = "unsigned error"
		case errors.As(err, &server):
			got = "server error"
		case err == nil && a.Security == Secure:
			got = fmt.Sprint("secure ", len(a.Records), " ", a.NameError)
		case err == nil && a.Security == Insecure:
			got = fmt.Sprint("insecure ", len(a.Records), " ", a.Reason)
		case err == nil:
			got = fmt.Sprint(a.Security, " ", a.Reason)
		}
		if got != want {
			t.Errorf("%s: %s (%+v, %v); want %s", name, got, a, err, want)
		}
	}
	v.Exchange = func(context.Context, *dns.Msg) (*dns.Msg, error) { return nil, errors.New("no route") }
	if a, err := v.Lookup(t.Context(), "x.test.", dns.TypeTXT); err == nil {
		t.Errorf("no route: %+v", a)
	}
}
