package sign

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/smimea/zone"
)

// atOnce signatures are made before queries are yielded to.
const atOnce = 64

// A Batch is RRsets of one zone with their signatures, to be kept.
type Batch struct {
	Zone   int
	Keys   zone.Keys
	RRsets []zone.RRset
	Sigs   [][]dns.RR
}

// A Keeper has the zones whose records are signed ahead, and keeps the signatures.
type Keeper interface {
	// Zone returns a zone as it is served now, nil if it is not.
	Zone(i int) *zone.Zone
	// Zones is how many there are.
	Zones() int
	// Signer returns whose keys sign now, nil if nobody's.
	Signer() *Signer
	// Queries is how many have been answered so far.
	Queries() uint64
	// Now is the time.
	Now() time.Time
	// Keep keeps signatures. It waits, and reports false if ctx has ended first.
	Keep(ctx context.Context, b Batch) bool
	// TryKeep is Keep for who must not wait: it reports whether there was room.
	TryKeep(b Batch) bool
	// Signed is told that all is signed that was to be, and handed to Keep.
	Signed(ctx context.Context)
}

// Ahead makes signatures ahead of the queries that need them, one after the
// other.
type Ahead struct {
	keeper Keeper
	wake   chan struct{}
	// offered is how many signatures queries have handed over.
	offered atomic.Uint64

	mu    sync.Mutex
	all   bool      // under mu, as is the next
	queue []changed // that is to be signed
}

// changed is what has changed in a zone and is not signed yet.
type changed struct {
	zone        int
	differences []zone.Difference
}

// NewAhead returns what signs ahead for a keeper, once it runs.
func NewAhead(k Keeper) *Ahead { return &Ahead{keeper: k, wake: make(chan struct{}, 1)} }

// Changed has the changed names of a zone signed. It never waits.
func (a *Ahead) Changed(zone int, differences []zone.Difference) {
	a.mu.Lock()
	a.queue = append(a.queue, changed{zone, differences})
	a.mu.Unlock()
	a.notify()
}

// Everything has all names signed that lack good signatures. It never waits.
func (a *Ahead) Everything() {
	a.mu.Lock()
	a.all = true
	a.mu.Unlock()
	a.notify()
}

func (a *Ahead) notify() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Offer keeps signatures that a query needed, if there is room for them.
func (a *Ahead) Offer(b Batch) {
	if a.keeper.TryKeep(b) {
		a.offered.Add(1)
	}
}

// Run signs until ctx ends.
func (a *Ahead) Run(ctx context.Context) {
	renew := time.NewTicker(RenewEvery)
	defer renew.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-renew.C:
			a.Everything()
		case <-a.wake:
		}
		a.Round(ctx)
	}
}

// Round signs what there is to be signed. It is for the goroutine of Run.
func (a *Ahead) Round(ctx context.Context) {
	a.mu.Lock()
	queue, all := a.queue, a.all
	a.queue, a.all = nil, false
	a.mu.Unlock()
	for _, c := range queue {
		a.changes(ctx, c)
	}
	if all {
		a.pass(ctx)
	}
	a.keeper.Signed(ctx)
}

// changes signs what has changed.
func (a *Ahead) changes(ctx context.Context, c changed) {
	signer, zone := a.keeper.Signer(), a.keeper.Zone(c.zone)
	if zone == nil || !signer.Signs(c.zone) {
		return
	}
	r := a.begin(ctx, signer, c.zone)
	for _, d := range c.differences {
		if rrset, ok := zone.RRsetOf(d); ok && !r.add(rrset) {
			return
		}
	}
	r.flush()
}

// pass signs all that lacks good signatures.
func (a *Ahead) pass(ctx context.Context) {
	signer := a.keeper.Signer()
	for i := range a.keeper.Zones() {
		if !signer.Signs(i) || a.keeper.Zone(i) == nil {
			continue
		}
		r := a.begin(ctx, signer, i)
		for _, tree := range []zone.Tree{zone.Certs, zone.Texts} {
			// The zone as it is now, page by page: queries have names signed, too,
			// and what is signed moves to later pages only.
			for page := 0; page < a.keeper.Zone(i).Pages(tree); page++ {
				for rrset := range a.keeper.Zone(i).Unsigned(tree, page, signer.Keys(i), a.keeper.Now(), RenewBefore, RenewSpread) {
					if !r.add(rrset) {
						return
					}
				}
			}
		}
		r.flush()
	}
}

// run signs RRsets of one zone.
type run struct {
	*Ahead
	ctx    context.Context
	signer *Signer
	batch  Batch
	load   *Load
}

func (a *Ahead) begin(ctx context.Context, signer *Signer, zone int) *run {
	return &run{Ahead: a, ctx: ctx, signer: signer, batch: Batch{Zone: zone, Keys: signer.Keys(zone)}, load: NewLoad(ctx, a.keeper.Queries)}
}

// add signs one more. It reports whether to go on.
func (r *run) add(rrset zone.RRset) bool {
	sigs, err := r.signer.Sign(rrset.Records)
	if err != nil {
		log.Errorf("Signing ahead: %v", err)
		return false
	}
	ForAhead.Count()
	r.batch.RRsets = append(r.batch.RRsets, rrset)
	r.batch.Sigs = append(r.batch.Sigs, sigs)
	if len(r.batch.RRsets) < atOnce {
		return true
	}
	return r.flush() && r.yield()
}

// flush hands over what is signed.
func (r *run) flush() bool {
	if len(r.batch.RRsets) == 0 {
		return true
	}
	ok := r.keeper.Keep(r.ctx, r.batch)
	r.batch.RRsets, r.batch.Sigs = nil, nil
	return ok
}

// yield leaves time to queries. It reports whether to go on.
func (r *run) yield() bool {
	// Queries that have their names signed do our work meanwhile, and that of
	// answering: they come first.
	offered := r.offered.Load()
	err := r.load.Yield(func() bool {
		last := offered
		offered = r.offered.Load()
		return offered-last >= atOnce/2
	})
	// With other keys, what these sign is not wanted any more: all is begun anew.
	return err == nil && r.keeper.Signer() == r.signer
}
