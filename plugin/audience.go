package plugin

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/coredns/coredns/core/dnsserver"

	"coredns-smimea/smimea/zone"
)

// An audience is who announces a publisher's changes to secondaries.
type audience struct {
	mu        sync.Mutex
	notifiers map[*notifier]bool
}

func (a *audience) join(n *notifier) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.notifiers == nil {
		a.notifiers = map[*notifier]bool{}
	}
	a.notifiers[n] = true
}

func (a *audience) leave(n *notifier) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.notifiers, n)
}

// announce has secondaries told that a zone has changed. It does not wait.
func (p *publisher) announce(i int) {
	if p.places[i].Layout == zone.Beside {
		return
	}
	p.audience.mu.Lock()
	defer p.audience.mu.Unlock()
	for n := range p.audience.notifiers {
		n.announce(p.places[i].Origin)
	}
}

// provide makes the block ready to be transferred from.
func (s *SMIMEA) provide() error {
	s.apexes = map[string]int{}
	s.slots = newSlots(s.config.transfers)
	for i, p := range s.places {
		if p.Layout == zone.Beside {
			continue
		}
		s.apexes[p.Origin] = i
		if s.config.transferSigned && !s.signer.atApex(i) {
			return fmt.Errorf("transfer_signed, but *dnssec* has no key that it signs %s with as a zone of its own: name the zone in *dnssec*, with a key", p.Origin)
		}
		if s.signer.signs(i) && !s.config.transferSigned && transfersZone(s.transferrer, p.Origin) {
			log.Infof("The zone %s is transferred without signatures: a secondary has to sign it itself, as CoreDNS does with the same keys; for others there is transfer_signed", p.Origin)
		}
	}
	if s.config.catalog != "" {
		if s.transferrer == nil {
			return errors.New("catalog, but there is no *transfer* in the block: say there who may have it")
		}
		s.catalog = newCatalog(s.config.catalog, s.config, slices.Collect(maps.Keys(s.apexes)))
	}
	if s.config.transferSigned && s.transferrer == nil {
		return errors.New("transfer_signed, but there is no *transfer* in the block: say there who may transfer")
	}
	return nil
}

// spread begins to announce the block's zones, first of all as they are now.
func (s *SMIMEA) spread(server *dnsserver.Config) {
	if s.transferrer == nil || len(s.apexes) == 0 {
		return
	}
	s.notifier = newNotifier(s.transferrer)
	s.publisher.audience.join(s.notifier)
	first := -1
	for _, i := range s.apexes {
		first = max(first, i)
		if e, _ := s.publisher.edition(i); e != nil {
			s.publisher.announce(i)
		}
	}
	if s.catalog != nil {
		s.notifier.announce(s.catalog.origin)
	}
	go s.notifier.listen(server, s.places[first].Origin, func() uint32 {
		if snap := s.publisher.current.Load(); snap != nil {
			return snap.zones[first].Serial
		}
		return 0
	})
}
