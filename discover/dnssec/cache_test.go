package dnssec

import (
	"context"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestCache counts the questions: keys are asked for once, until their TTL ends.
func TestCache(t *testing.T) {
	c := newCompact(t)
	questions := 0
	now := time.Now()
	v := &Validator{
		Anchors: Anchors{"compact.test.": {c.key}}, Now: func() time.Time { return now },
		Exchange: func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
			questions++
			return c.exchange(ctx, q)
		},
	}
	for _, want := range []int{2, 1} { // DNSKEY and SMIMEA; SMIMEA
		questions = 0
		a, err := v.Lookup(t.Context(), "user._smimecert.compact.test.", dns.TypeSMIMEA)
		if err != nil || a.Security != Secure || questions != want {
			t.Errorf("%+v, %v, after %d questions; want %d", a, err, questions, want)
		}
	}
	now = now.Add(301 * time.Second)
	questions = 0
	if a, err := v.Lookup(t.Context(), "user._smimecert.compact.test.", dns.TypeSMIMEA); err != nil || a.Security != Secure || questions != 2 {
		t.Errorf("after the TTL: %+v, %v, after %d questions; want 2", a, err, questions)
	}

	// What is bogus is not remembered.
	now = now.Add(time.Hour)
	broken := true
	v.Exchange = func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
		m, err := c.exchange(ctx, q)
		if broken && q.Question[0].Qtype == dns.TypeDNSKEY {
			m.Answer = m.Answer[:1]
		}
		return m, err
	}
	v.Now = nil
	v.cache = cache{}
	for _, want := range []Security{Bogus, Secure} {
		a, err := v.Lookup(t.Context(), "user._smimecert.compact.test.", dns.TypeSMIMEA)
		if err != nil || a.Security != want {
			t.Errorf("%+v, %v; want %v", a, err, want)
		}
		broken = false
	}
}
