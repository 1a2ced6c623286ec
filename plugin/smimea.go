// Package plugin serves a directory of S/MIME certificates as DNS records,
// with authority, and signed by CoreDNS's own *dnssec*.
//
// The way of the data: certsource looks at the directory and says which files
// have changed (publish.go); each of their addresses becomes records of a zone
// of package smimea; a snapshot of all zones is swapped in (publish.go), and
// [SMIMEA.ServeDNS] answers from it without a lock.
//
// The plugin stands before *dnssec* in the chain, and has it sign only what has
// no signature yet: see sign.go for queries, presign.go for ahead of them.
package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/dnssec"
	"github.com/coredns/coredns/plugin/transfer"
	"github.com/miekg/dns"

	"coredns-smimea/plugin/internal/certhost"
	"coredns-smimea/smimea/zone"
)

// SMIMEA answers for the zones of one server block.
type SMIMEA struct {
	Next plugin.Handler

	config    *config
	server    *dnsserver.Config // the block
	life      *life
	places    []*zone.Place
	index     *zone.Index
	publisher *publisher
	signer    *signer
	signBelow bool // *dnssec* stands above us and signs answers, though not denials
	// transferrer is the block's *transfer*, nil if it has none.
	transferrer *transfer.Transfer
	apexes      map[string]int // zones that can be transferred, by origin
	slots       slots          // for transfers
	notifier    *notifier      // nil without transferrer
	catalog     *catalog       // nil if there is none
	ownSigner   bool           // signer is not the block's *dnssec*
	// unwatchZones ends the watch over the file of zones.
	unwatchZones context.CancelFunc
	acme         bool // there may be ACME challenges at _acme-challenge: ours, or those of *tls*
	packs        bool // answers may go out packed
	counters     []*counters
	leases       []*certhost.Lease // of the HTTPS host
}

// Name implements plugin.Handler.
func (s *SMIMEA) Name() string { return name }

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
	if s.config.catalog != "" {
		zones = append(zones, s.config.catalog)
	}
	return append(zones, s.life.challenged...)
}

// layout returns what the zones of the block that are not sub-zones are, and
// who else serves them, if anybody.
func (s *SMIMEA) layout() (layout zone.Layout, other string) {
	for _, h := range s.server.Handlers() {
		if servesZones(h.Name()) {
			return zone.Beside, h.Name()
		}
	}
	return zone.Whole, ""
}

// start connects the block with its neighbours and its publisher. It runs when
// all blocks are set up.
func (s *SMIMEA) start(l *life) error {
	server := s.server
	layout, beside := s.layout()
	for _, origin := range s.config.origins {
		p, err := s.config.place(origin, layout)
		if err != nil {
			return err
		}
		if p.Layout == zone.Beside && transfersZone(server.Handler("transfer"), p.Origin) {
			return fmt.Errorf("*transfer* gives %s to secondaries, but what *%s* has of it only: they would miss our names. Serve _smimecert.%s and _smime.%[1]s as zones of their own in another block, or take *transfer* out of this one", p.Origin, beside, p.Origin)
		}
		s.places = append(s.places, p)
	}
	if len(s.places) == 0 {
		return errors.New("no zones: name them after the directory, or before the block")
	}
	var err error
	if s.index, err = zone.NewIndex(s.places); err != nil {
		return err
	}
	s.transferrer, _ = server.Handler("transfer").(*transfer.Transfer)
	s.acme = server.Handler("tls") != nil || len(l.challenged) > 0
	s.packs = packs(server)
	if d, ok := server.Handler("dnssec").(dnssec.Dnssec); ok && len(s.config.keys) > 0 {
		return errors.New("key, and *dnssec* in the same block: leave out one of them; key is for zones of a zones FILE, which *dnssec* cannot know")
	} else if len(s.config.keys) > 0 {
		s.signer = newSigner(ownDNSSEC(s.config.keys, s.config.origins), s.places, s.config.denials, s.config.cds)
		s.ownSigner = true
	} else if ok {
		s.signer = newSigner(d, s.places, s.config.denials, s.config.cds)
		s.signBelow = slices.Index(dnsserver.Directives, "dnssec") < slices.Index(dnsserver.Directives, name)
	}
	if s.signer != nil {
		s.signer.logDS()
	}
	s.warnUnsigned()
	for _, p := range s.places {
		s.counters = append(s.counters, newCounters(p.Origin))
	}
	if err := s.provide(); err != nil {
		return err
	}
	if err := s.follow(l); err != nil {
		return err
	}
	if err := s.host(l); err != nil {
		return err
	}
	s.spread(server)
	if s.config.zones != nil {
		s.watchZones(l)
	}
	return nil
}

// warnUnsigned says once what a block is worth whose zones nobody signs.
func (s *SMIMEA) warnUnsigned() {
	var unsigned []string
	for i, p := range s.places {
		if !s.signer.signs(i) {
			unsigned = append(unsigned, p.Origin)
		}
	}
	if n := len(unsigned); n > 3 {
		unsigned = append(unsigned[:3], fmt.Sprintf("and %d more", n-3))
	}
	if len(unsigned) > 0 {
		log.Warningf("Not signed, since no *dnssec* in the block signs it: %s. SMIMEA records count for nothing without DNSSEC (RFC 8162, section 6)", strings.Join(unsigned, ", "))
	}
}

// follow takes the running publisher over, or starts one.
func (s *SMIMEA) follow(l *life) error {
	if err := l.shared(s.config.state, s.config.key(s.places)); err != nil {
		return err
	}
	p, first, made := l.acquire(s, s.config.key(s.places), func() *publisher {
		p := newPublisher(s.config, s.places)
		p.signer.Store(s.signer)
		p.start()
		return p
	})
	s.publisher = p
	p.setSigner(s.signer)
	// At the first start others zones of this server are not made to wait for
	// a directory of millions. At a reload the old instance still answers.
	var patience <-chan time.Time
	var trouble <-chan error
	switch {
	case first:
		patience = time.After(5 * time.Second)
	case made:
		trouble = p.trouble
	default:
		return nil // it answers as well, or as badly, as it did for the block before
	}
	select {
	case <-p.ready:
	case <-p.done:
	case err := <-trouble:
		return err
	case <-patience:
		log.Infof("Reading %q: its zones are answered for when that is done", s.config.dir)
	}
	return nil
}

// servesZones reports whether a plugin of a block may serve the zone that our
// names are in: every one that comes after us but those that only help.
func servesZones(handler string) bool {
	at := slices.Index(dnsserver.Directives, handler)
	if at < slices.Index(dnsserver.Directives, name) {
		return false
	}
	switch handler {
	case name, "dnssec", "tls", "minimal", "transfer", "loop", "sign", "view":
		return false
	}
	return true
}

// ServeDNS implements plugin.Handler.
func (s *SMIMEA) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	if len(r.Question) == 0 {
		return dns.RcodeFormatError, nil
	}
	if s.catalog.holds(r.Question[0].Name) {
		q := &query{}
		q.SMIMEA, q.ctx, q.w, q.r, q.qtype, q.result = s, ctx, w, r, r.Question[0].Qtype, failed
		return q.serveCatalog()
	}
	if s.index.Foreign(r.Question[0].Name) {
		return plugin.NextOrFailure(name, s.Next, ctx, w, r)
	}
	q := queryPool.Get().(*query)
	owner, err := zone.AppendWire(q.wire[:0], r.Question[0].Name)
	ok := err == nil
	if ok {
		q.point, ok = s.index.Find(owner)
	}
	if !ok {
		queryPool.Put(q)
		return plugin.NextOrFailure(name, s.Next, ctx, w, r)
	}
	q.SMIMEA, q.ctx, q.w, q.r, q.qtype, q.result = s, ctx, w, r, r.Question[0].Qtype, failed
	rcode, err := q.serve()
	s.publisher.queries.Add(1)
	s.counters[q.point.Zone][typeIndex(q.qtype)][q.result].Inc()
	q.question = question{}
	queryPool.Put(q)
	return rcode, err
}

func typeIndex(qtype uint16) int {
	switch qtype {
	case dns.TypeSMIMEA:
		return 0
	case dns.TypeTXT:
		return 1
	}
	return 2
}
