package publish

import (
	"context"
	"slices"

	"coredns-smimea/plugin/internal/sign"
	"coredns-smimea/smimea/zone"
)

// Keep implements sign.Keeper.
func (p *Publisher) Keep(ctx context.Context, b sign.Batch) bool {
	select {
	case p.batches <- b:
		return true
	case <-ctx.Done():
		return false
	}
}

// Signed implements sign.Keeper.
func (p *Publisher) Signed(ctx context.Context) {
	if p.config.Signed {
		p.Do(ctx, func() {
			p.keep() // what has been handed over, and waits
			p.secondaries.Wake()
		})
	}
}

// TryKeep implements sign.Keeper.
func (p *Publisher) TryKeep(b sign.Batch) bool {
	select {
	case p.batches <- b:
		return true
	default:
		return false
	}
}

// keep keeps signatures, and all that wait to be kept: queries hand over one each,
// and many make one version.
func (p *Publisher) keep(first ...sign.Batch) {
	batches := first
	for len(p.batches) > 0 {
		batches = append(batches, <-p.batches)
	}
	old := p.current.Load()
	if old == nil || len(batches) == 0 {
		return
	}
	edits := map[int]*zone.Edit{}
	for _, b := range batches {
		if old.Zones[b.Zone] == nil {
			continue
		}
		if edits[b.Zone] == nil {
			edits[b.Zone] = old.Zones[b.Zone].Edit()
		}
		for i, rrset := range b.RRsets {
			if err := edits[b.Zone].Keep(rrset, b.Keys, b.Sigs[i]); err != nil {
				log.Errorf("Keeping a signature: %v", err)
			}
		}
	}
	s := *old
	s.Zones = slices.Clone(old.Zones)
	for i, e := range edits {
		s.Zones[i], _ = e.Zone(nil)
	}
	p.current.Store(&s)
}
