package discover

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"coredns-smimea/discover/dnssec"
)

// TestRenewal has a resolver that still holds the records of the certificate before:
// the domain's own servers have the new ones.
func TestRenewal(t *testing.T) {
	w := newWorld(t)
	const renewed, wrong = "renewed@example.test", "wrong@example.test"
	for _, address := range []string{renewed, wrong} {
		w.files["/"+address] = user(t, address)
	}
	w.publish(renewed, w.files["/"+renewed], []string{"3 1 1"}, w.url("example.test", "/"+renewed))
	w.publish(wrong, user(t, wrong), []string{"3 1 1"}, w.url("example.test", "/"+wrong))
	c := w.client()
	_, testOnlyServerPort, _ = net.SplitHostPort(w.names.Address)
	defer func() { testOnlyServerPort = "53" }()

	// The cache has what the same zone had before, signed with the same key.
	old := user(t, renewed)
	owner := parse(t, renewed).Owner()
	cached, err := dns.NewRR(owner + " 300 IN SMIMEA " + rdata(t, "3 1 1", old))
	if err != nil {
		t.Fatal(err)
	}
	server := c.Resolver.(*dnssec.Validator).Exchange
	v := &dnssec.Validator{Anchors: c.Resolver.(*dnssec.Validator).Anchors}
	v.Exchange = func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
		if q.Question[0].Name == owner && q.Question[0].Qtype == dns.TypeSMIMEA {
			m := new(dns.Msg)
			m.SetReply(q)
			m.Answer = w.names.Sign("example.test", cached)
			return m, nil
		}
		return server(ctx, q)
	}
	c.Resolver = v
	r := w.expect(c, renewed, Verified)
	if story := strings.Join(r.Story, "\n"); !strings.Contains(story, "out of date") {
		t.Errorf("the story says nothing of it:\n%s", story)
	}
	if !slices.ContainsFunc(r.SMIMEA.Data, func(data string) bool { return data == rdata(t, "3 1 1", w.files["/"+renewed]) }) {
		t.Errorf("the records are %v", r.SMIMEA.Data)
	}
	r = w.expect(c, wrong, Wrong)
	if story := strings.Join(r.Story, "\n"); r.Why.Code != Mismatch || !strings.Contains(story, "the same SMIMEA records") {
		t.Errorf("%s:\n%s", r.Why.Code, story)
	}

	// The servers cannot be asked: the mismatch stands, and the story says why.
	testOnlyServerPort = "1"
	r = w.expect(c, renewed, Wrong)
	if story := strings.Join(r.Story, "\n"); !strings.Contains(story, "own servers") {
		t.Errorf("the story does not say that the servers could not be asked:\n%s", story)
	}
}
