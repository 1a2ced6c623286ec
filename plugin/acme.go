package plugin

import (
	"context"
	"strings"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/dnssec"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// challengeHandler answers DNS-01 challenges (RFC 8555 section 8.4) in blocks
// that serve the zone of a domain that we want a TLS certificate for.
type challengeHandler struct {
	Next     plugin.Handler
	instance *instance
}

// Name implements plugin.Handler. A block's own smimea must be found under the
// name of the directive. Without one this is, or *cache* would not find it.
func (h challengeHandler) Name() string {
	if _, own := h.Next.(*SMIMEA); own {
		return name + "_acme"
	}
	return name
}

// CacheBypassZones keeps *cache* from the challenges' names, which have another
// answer the next moment.
func (h challengeHandler) CacheBypassZones() []string { return h.instance.challenged }

// ServeDNS implements plugin.Handler.
func (h challengeHandler) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	if records := challengeRecords(r); records != nil {
		reply := new(dns.Msg)
		reply.SetReply(r)
		reply.Authoritative, reply.Answer = true, records
		if opt := r.IsEdns0(); opt != nil && opt.Do() {
			reply = h.sign(reply)
		}
		if err := w.WriteMsg(reply); err != nil {
			log.Debugf("Answering a challenge: %v", err)
		}
		return dns.RcodeSuccess, nil
	}
	return plugin.NextOrFailure(name, h.Next, ctx, w, r)
}

// sign has the block's *dnssec* sign, which stands behind us.
func (h challengeHandler) sign(m *dns.Msg) *dns.Msg {
	for next := h.Next; ; {
		switch p := next.(type) {
		case dnssec.Dnssec:
			return p.Sign(request.Request{Req: m}, clock().UTC(), name)
		case *SMIMEA:
			next = p.Next
		case challengeHandler:
			next = p.Next
		default:
			return m
		}
	}
}

// challengeRecords returns what answers a question for a challenge that is waited
// for, nil if it is none.
func challengeRecords(r *dns.Msg) []dns.RR {
	if !challenges.Active() || len(r.Question) != 1 || r.Question[0].Qtype != dns.TypeTXT {
		return nil
	}
	owner := strings.ToLower(r.Question[0].Name)
	var records []dns.RR
	for _, value := range challenges.Values(strings.TrimSuffix(owner, ".")) {
		records = append(records, &dns.TXT{
			Hdr: dns.RR_Header{Name: owner, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, // TTL 0: the next one is another
			Txt: []string{value},
		})
	}
	return records
}

// challengeName returns where a domain's DNS-01 challenges are.
func challengeName(domain string) string {
	return "_acme-challenge." + dns.Fqdn(strings.ToLower(strings.TrimPrefix(domain, "*.")))
}
