package plugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin/dnssec"
	"github.com/coredns/coredns/plugin/transfer"

	"coredns-smimea/plugin/internal/answer"
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
		signer = sign.New(sign.DNSSEC(c.keys, s.config.origins), places, c.cds, time.Now)
	case ok:
		signer = sign.New(d, places, c.cds, time.Now)
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
		s.catalog = secondary.NewCatalog(c.catalog, s.config.timers(), slices.Collect(maps.Keys(zones)))
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
