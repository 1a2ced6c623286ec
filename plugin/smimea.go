// Package plugin serves a directory of S/MIME certificates as DNS records,
// with authority, and signed by CoreDNS's own *dnssec*.
//
// It is the hall of the house: it reads the Corefile (setup.go; config.go has what comes of
// that, options.go how), connects a server block with its rooms in one order (start.go),
// and leads each question to the one that it is for (ServeDNS, here). The rooms are the packages below internal;
// docs/architecture.md shows the ways through them.
//
// The plugin stands before *dnssec* in the chain, and has it sign only what has
// no signature yet.
package plugin

import (
	"context"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"

	"coredns-smimea/plugin/internal/answer"
	"coredns-smimea/plugin/internal/certhost"
	"coredns-smimea/plugin/internal/publish"
	"coredns-smimea/plugin/internal/secondary"
	"coredns-smimea/smimea/zone"
)

// SMIMEA answers for the zones of one server block. It does not change once it has
// started.
type SMIMEA struct {
	Next plugin.Handler

	config   *config
	server   *dnsserver.Config // the block
	instance *instance

	at       []*zone.Place      // its zones
	lease    *publish.Lease     // of what is published
	answers  *answer.Block      // of questions about it
	primary  *secondary.Primary // of transfers of it
	catalog  *secondary.Catalog // nil if there is none
	leases   []*certhost.Lease  // of the HTTPS host
	counters []*counters        // by zone
	watch    *zonesWatch        // over the file of zones; nil without one
}

// Name implements plugin.Handler.
func (s *SMIMEA) Name() string { return name }

// Ready implements ready.Readiness. *ready* knows plugins by name, so that one
// smimea answers for those of all blocks.
func (s *SMIMEA) Ready() bool { return publish.Ready() }

// CacheBypassZones keeps *cache* from our names: an answer from it is slower
// than ours, and would be there after its certificate is gone. *cache* asks
// before start.
func (s *SMIMEA) CacheBypassZones() []string {
	layout, _ := s.layout()
	var zones []string
	for _, origin := range s.config.origins {
		if p, err := s.config.place(origin, layout); err == nil {
			zones = append(zones, p.Ours()...)
		}
	}
	if s.config.answered.catalog != "" {
		zones = append(zones, s.config.answered.catalog)
	}
	return append(zones, s.instance.challenged...)
}

// ServeDNS implements plugin.Handler.
func (s *SMIMEA) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	if len(r.Question) == 0 {
		return dns.RcodeFormatError, nil
	}
	if s.catalog.Holds(r.Question[0].Name) {
		return s.serveCatalog(ctx, w, r)
	}
	q, ok := s.answers.Query(ctx, w, r)
	if !ok {
		return plugin.NextOrFailure(name, s.Next, ctx, w, r)
	}
	rcode, result, err := s.serve(ctx, q, w, r)
	s.lease.Answered()
	s.counters[q.Zone()][typeIndex(q.Type())][result].Inc()
	q.Done()
	return rcode, err
}

// serve answers a question about a name of ours.
func (s *SMIMEA) serve(ctx context.Context, q *answer.Query, w dns.ResponseWriter, r *dns.Msg) (rcode int, result answer.Result, err error) {
	if q.Transfer() {
		rcode, done := s.primary.Serve(ctx, w, r)
		if done {
			return rcode, answer.Answered, nil
		}
		return rcode, answer.Failed, nil
	}
	a, err := q.Answer()
	if err != nil {
		return a.Rcode, answer.Failed, err
	}
	return q.Write(a)
}

// serveCatalog answers a question about the catalog. It is in no metrics.
func (s *SMIMEA) serveCatalog(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	if s.catalog.Transfer(r) {
		rcode, _ := s.primary.Serve(ctx, w, r)
		return rcode, nil
	}
	records, ok := s.catalog.Answer(r)
	if !ok {
		return dns.RcodeRefused, nil
	}
	reply := zone.NewReply(r)
	reply.Msg.Answer = records
	return dns.RcodeSuccess, w.WriteMsg(&reply.Msg)
}

// Transfer implements transfer.Transferer.
func (s *SMIMEA) Transfer(zone string, serial uint32) (<-chan []dns.RR, error) {
	return s.primary.Transfer(zone, serial)
}
