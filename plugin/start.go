package plugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin/dnssec"
	"github.com/coredns/coredns/plugin/transfer"

	"coredns-smimea/plugin/internal/answer"
	"coredns-smimea/plugin/internal/certhost"
	"coredns-smimea/plugin/internal/neighbour"
	"coredns-smimea/plugin/internal/publish"
	"coredns-smimea/plugin/internal/secondary"
	"coredns-smimea/plugin/internal/sign"
	"coredns-smimea/smimea/zone"
)

// start connects the block with its rooms and its neighbours, in the order in which
// they need each other. It runs when all blocks are set up.
func (s *SMIMEA) start() error {
	places, err := s.places()
	if err != nil {
		return err
	}
	s.at = places
	index, err := zone.NewIndex(places)
	if err != nil {
		return err
	}
	signer, below, err := s.signer(places)
	if err != nil {
		return err
	}
	zones, err := s.transferable(places, signer)
	if err != nil {
		return err
	}
	if err := s.follow(places, signer); err != nil {
		return err
	}
	s.answers = s.answering(index, signer, below)
	s.handOn(zones)
	for _, p := range places {
		s.counters = append(s.counters, newCounters(p.Origin))
	}
	if err := s.host(places); err != nil {
		return err
	}
	s.begin()
	s.instance.lanes.expect(s)
	return nil
}

// stop gives back what the block holds. What it has published can still be asked
// for: queries come in until the servers have stopped.
func (s *SMIMEA) stop() {
	s.instance.lanes.close()
	for _, lease := range s.leases {
		lease.Release()
	}
	s.halt()
	if s.lease != nil {
		s.lease.Release()
	}
}

// layout returns what the zones of the block that are not sub-zones are, and
// who else serves them, if anybody.
func (s *SMIMEA) layout() (layout zone.Layout, other string) {
	for _, h := range s.server.Handlers() {
		if neighbour.ServesZones(h.Name()) {
			return zone.Beside, h.Name()
		}
	}
	return zone.Whole, ""
}

// places returns the places of the zones.
func (s *SMIMEA) places() ([]*zone.Place, error) {
	layout, beside := s.layout()
	var places []*zone.Place
	for _, origin := range s.config.origins {
		p, err := s.config.place(origin, layout)
		if err != nil {
			return nil, err
		}
		if p.Layout == zone.Beside && neighbour.Transfers(s.server.Handler("transfer"), p.Origin) {
			return nil, fmt.Errorf("*transfer* gives %s to secondaries, but what *%s* has of it only: they would miss our names. Serve _smimecert.%s and _smime.%[1]s as zones of their own in another block, or take *transfer* out of this one", p.Origin, beside, p.Origin)
		}
		places = append(places, p)
	}
	if len(places) == 0 {
		return nil, errors.New("no zones: name them after the directory, or before the block")
	}
	return places, nil
}

// signer returns who signs, nil if nobody does, and whether that stands above us.
func (s *SMIMEA) signer(places []*zone.Place) (signer *sign.Signer, below bool, err error) {
	c := &s.config.answered
	d, ok := s.server.Handler("dnssec").(dnssec.Dnssec)
	switch {
	case ok && len(c.keys) > 0:
		return nil, false, s.config.at("key", errors.New("there is *dnssec* in the same block: leave out one of them; key is for zones of a zones FILE, which *dnssec* cannot know"))
	case len(c.keys) > 0:
		signer = sign.New(sign.DNSSEC(c.keys, s.config.origins), places, c.cds, clock)
	case ok:
		signer = sign.New(d, places, c.cds, clock)
		below = slices.Index(dnsserver.Directives, "dnssec") < slices.Index(dnsserver.Directives, name)
	}
	if signer != nil {
		signer.LogDS()
	}
	warnUnsigned(places, signer)
	return signer, below, nil
}

// warnUnsigned says once what a block is worth whose zones nobody signs.
func warnUnsigned(places []*zone.Place, signer *sign.Signer) {
	var unsigned []string
	for i, p := range places {
		if !signer.Signs(i) {
			unsigned = append(unsigned, p.Origin)
		}
	}
	if n := len(unsigned); n > 3 {
		unsigned = append(unsigned[:3], fmt.Sprintf("and %d more", n-3))
	}
	if len(unsigned) > 0 {
		log.Warningf("Not signed, since no *dnssec* in the block signs it: %s; SMIMEA records count for nothing without DNSSEC (RFC 8162, section 6)", strings.Join(unsigned, ", "))
	}
}

// transferrer returns the block's *transfer*, nil if it has none.
func (s *SMIMEA) transferrer() *transfer.Transfer {
	t, _ := s.server.Handler("transfer").(*transfer.Transfer)
	return t
}

// transferable returns the zones that can be transferred, by origin, after a look at
// what stands in the way.
func (s *SMIMEA) transferable(places []*zone.Place, signer *sign.Signer) (map[string]int, error) {
	signed, t := s.config.published.Signed, s.transferrer()
	zones := map[string]int{}
	for i, p := range places {
		if p.Layout == zone.Beside {
			continue
		}
		zones[p.Origin] = i
		if signed && !signer.AtApex(i) {
			return nil, s.config.at("transfer_signed", fmt.Errorf("*dnssec* has no key that it signs %s with as a zone of its own: name the zone in *dnssec*, with a key", p.Origin))
		}
		if signer.Signs(i) && !signed && neighbour.Transfers(t, p.Origin) {
			log.Infof("The zone %s is transferred without signatures: a secondary has to sign it itself, as CoreDNS does with the same keys; for others there is transfer_signed", p.Origin)
		}
	}
	if s.config.answered.catalog != "" && t == nil {
		return nil, s.config.at("catalog", errors.New("there is no *transfer* in the block: say there who may have it"))
	}
	if signed && t == nil {
		return nil, s.config.at("transfer_signed", errors.New("there is no *transfer* in the block: say there who may transfer"))
	}
	return zones, nil
}

// follow takes the running publisher over, or starts one, and waits for it.
func (s *SMIMEA) follow(places []*zone.Place, signer *sign.Signer) error {
	c := s.config.published
	c.Places, c.Paths = places, s.config.host.serves()
	var err error
	s.lease, err = publish.Acquire(c, publish.Holder{
		Instance: s.instance.number,
		Where:    s.config.where,
		Signer:   signer,
		Secondaries: func(p *publish.Publisher) publish.Secondaries {
			return secondary.NewGroup(p, places, c.Signed)
		},
	})
	if err != nil {
		return err
	}
	return s.lease.Wait(context.Background())
}

// answering returns what answers depend on.
func (s *SMIMEA) answering(index *zone.Index, signer *sign.Signer, below bool) *answer.Block {
	c := &s.config.answered
	b := &answer.Block{
		Index:       index,
		Snapshot:    s.lease.Current(),
		Signer:      signer,
		Now:         clock,
		Offer:       s.lease.Offer,
		Next:        s.Next,
		OwnKeys:     len(c.keys) > 0,
		SignBelow:   below,
		TakesOctets: neighbour.TakesOctets(s.server),
		UDPLimit:    c.udpLimit,
		TCPOnly:     c.tcpOnly,
		Denials:     answer.NewLimit(c.denials),
		Kept:        answer.NewKept(),
	}
	if s.server.Handler("tls") != nil || len(s.instance.challenged) > 0 {
		b.Challenges = challengeRecords
	}
	return b
}

// handOn makes the block ready to be transferred from.
func (s *SMIMEA) handOn(zones map[string]int) {
	c := &s.config.answered
	if c.catalog != "" {
		s.catalog = secondary.NewCatalog(c.catalog, s.config.timers(), slices.Collect(maps.Keys(zones)), clock())
	}
	group := s.lease.Secondaries().(*secondary.Group)
	s.primary = secondary.NewPrimary(group, secondary.Options{
		Transfer: s.transferrer(),
		Zones:    zones,
		Notified: s.config.notified,
		Refresh:  s.config.apex.refresh,
		Catalog:  s.catalog,
		Most:     c.transfers,
	})
}

// host opens what the block wants to be served over HTTPS and HTTP.
func (s *SMIMEA) host(places []*zone.Place) error {
	h := &s.config.host
	var domains []string
	for _, p := range places {
		if !slices.Contains(domains, p.Domain) {
			domains = append(domains, p.Domain)
		}
	}
	hosts := hostsOf(s.config.published.URL, domains)
	open := func(address string, tls *certhost.TLS) error {
		lease, err := certhost.Acquire(certhost.Config{
			Address: address, Domains: domains, Hosts: hosts, Owner: s.instance, TLS: tls, Log: log, Metrics: hostMetrics{},
		})
		if err != nil {
			return err
		}
		s.leases = append(s.leases, lease)
		lease.Publish(files{s.lease, s.config.published.Dir, s.config.published.TTL, h.chain})
		log.Infof("Giving out certificates of %s on %s", strings.Join(domains, ", "), lease.Addr())
		return nil
	}
	if h.http != "" {
		if err := open(h.http, nil); err != nil {
			return s.config.at("http", err)
		}
	}
	if h.https == "" {
		return nil
	}
	tls := &certhost.TLS{CertFile: h.cert, KeyFile: h.key}
	switch {
	case len(h.acme.Domains) > 0:
		acme := h.acme
		if h.dns01 {
			acme.Challenges = &challenges
		}
		tls.ACME = &acme
		countACME()
	case h.cert != "":
	case s.server.TLSConfig != nil:
		tls.Config = s.server.TLSConfig
	default:
		return s.config.at("https", errors.New("it needs a TLS certificate: add tls CERT KEY or acme DOMAIN here, or the directive tls to the block"))
	}
	if err := open(h.https, tls); err != nil {
		return s.config.at("https", err)
	}
	return nil
}

// begun are the blocks, of whatever instance, whose own goroutines run.
var begun = struct {
	sync.Mutex
	blocks map[*SMIMEA]bool
}{blocks: map[*SMIMEA]bool{}}

// begin starts what the block does by itself: it tells its secondaries of changes, and
// follows its file of zones.
func (s *SMIMEA) begin() {
	begun.Lock()
	begun.blocks[s] = true
	begun.Unlock()
	s.primary.Start(s.server)
	if s.config.zones != nil {
		s.watch = watchZones(*s.config.zones, func() bool { return restart(s.instance, s.config.zones.path) })
	}
}

// halt ends what begin has started, and waits until it has ended.
func (s *SMIMEA) halt() {
	begun.Lock()
	runs := begun.blocks[s]
	delete(begun.blocks, s)
	begun.Unlock()
	if !runs {
		return
	}
	s.watch.end()
	s.primary.Stop()
}

// haltNewer halts the blocks of newer instances than one: the reload to them has
// failed, after some of them had begun, and nobody stops those.
func haltNewer(instance int) {
	var newer []*SMIMEA
	begun.Lock()
	for s := range begun.blocks {
		if s.instance.number > instance {
			newer = append(newer, s)
		}
	}
	begun.Unlock()
	for _, s := range newer {
		s.halt()
	}
}
