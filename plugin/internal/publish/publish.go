// Package publish follows one directory of certificates and publishes what it
// holds: one goroutine, the publisher's, looks at the directory, edits the zones
// and swaps in the next [Snapshot].
//
// The way down: loop.go waits for what happens; look.go looks; apply.go makes a
// file's change an edit of zones; commit.go makes the edits a snapshot. Beside it,
// state.go says in which state all that is; seed.go begins with what an earlier
// publisher or process has published; saver.go keeps that in a file; registry.go
// knows all publishers of the process, and who holds them.
//
// Locks, in the order in which they are taken: the registry's, then that of the
// file of a state, or of what is to be signed ahead.
package publish

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	clog "github.com/coredns/coredns/plugin/pkg/log"

	"coredns-smimea/certsource/directory"
	"coredns-smimea/plugin/internal/crl"
	"coredns-smimea/plugin/internal/neighbour"
	"coredns-smimea/plugin/internal/served"
	"coredns-smimea/plugin/internal/sign"
	"coredns-smimea/smimea/zone"
)

var log = clog.NewWithPlugin(neighbour.Self)

// A Publisher follows one directory and publishes snapshots of its zones.
type Publisher struct {
	config  Config           // does not change
	world   World            // nor does this
	domains map[string][]int // the zones that are served, by mail domain

	// For all goroutines.
	current atomic.Pointer[Snapshot]
	signer  atomic.Pointer[sign.Signer] // of the block that took hold last; nil: nothing is signed
	state   atomic.Uint32               // a State; written by the owner only
	queries atomic.Uint64               // answered, for whoever yields to them
	// irreplaceable is set while something is published that cannot be read again.
	irreplaceable atomic.Bool
	ahead         *sign.Ahead
	// octets are certificates as they were read; nil if none are given out.
	octets *Octets
	// secondaries is who passes the zones on; it does not change after start.
	secondaries Secondaries

	tasks   chan func()     // for the owner to do
	batches chan sign.Batch // for the owner to keep
	trouble chan error      // why the first look has failed; has room for one
	ready   chan struct{}   // closed when what there is to serve is served
	done    chan struct{}   // closed when all goroutines have ended
	cancel  context.CancelFunc

	// Owned by the registry, under its lock.
	leases     map[*Lease]bool
	generation uint8 // of the keys that sign

	owned // by the publisher's goroutine
}

// owned is what belongs to the publisher's goroutine alone.
type owned struct {
	directory   Directory
	watch       *directory.Watch // nil if there is none
	edits       []*edit          // by zone, those that have left behind the others; nil if nothing has changed
	abandoned   []uint32         // by zone: the serial that a successor had whose reload has failed, 0: there was none
	counts      []count          // by zone, as edits
	departed    []*zone.Zone     // those that have left: see depart
	domainsLeft map[string][]int // they, by mail domain
	foreign     int              // files none of whose addresses is in a zone
	kinds       map[string]int
	applied     int            // changes of files
	noted       map[string]int // files that there was the same to say of
	bridges     bridges
	torn        torn
	lists       *crl.Follower // nil if there are none
	revoking    revoking
	remake      bool   // files read again make their records anew, whatever they held
	seed        *seed  // what the first snapshot is made from; nil after the first good look
	saver       *saver // nil without a state to be kept

	lastErr  string        // of the last look
	watchErr string        // why there is no watch, as logged last
	held     int           // withdrawals held back
	duration time.Duration // of the last look at everything, without its rests
	isReady  bool          // ready is closed
	measured struct {      // what ends soon
		at   time.Time
		took time.Duration
	}
}

// Secondaries is who passes a publisher's zones on to other name servers.
type Secondaries interface {
	// Announce has secondaries told that a zone has another serial. It never waits.
	Announce(zone int)
	// Wake says, where secondaries get signed zones, that there is something new
	// to make them of. It never waits.
	Wake()
	// Run makes signed zones until ctx ends.
	Run(ctx context.Context)
}

// newPublisher returns a publisher that does not run yet.
func newPublisher(c Config, w World) *Publisher {
	p := &Publisher{
		config:  c,
		world:   w,
		domains: map[string][]int{},
		tasks:   make(chan func(), 64),
		batches: make(chan sign.Batch, 64),
		trouble: make(chan error, 1),
		ready:   make(chan struct{}),
		done:    make(chan struct{}),
		leases:  map[*Lease]bool{},
		owned: owned{
			edits:       make([]*edit, len(c.Places)),
			abandoned:   make([]uint32, len(c.Places)),
			counts:      make([]count, len(c.Places)),
			domainsLeft: map[string][]int{},
			kinds:       map[string]int{},
			noted:       map[string]int{},
			bridges:     newBridges(),
			torn:        newTorn(),
		},
	}
	for i, place := range c.Places {
		p.domains[place.Domain] = append(p.domains[place.Domain], i)
	}
	if c.Paths {
		p.octets = newOctets(octetsBudget)
	}
	p.directory = w.Directory(p.options())
	p.lists = crl.New(c.Lists, w.Lists(c.Lists), c.Issuers)
	p.saver = newSaver(p)
	p.ahead = sign.NewAhead(p)
	return p
}

// options are how the directory is read.
func (p *Publisher) options() directory.Options {
	return directory.Options{
		Dir:         p.config.Dir,
		Roots:       p.config.Roots,
		Margin:      p.config.TTL,
		MaxWithdraw: p.config.MaxWithdraw,
		Window:      p.config.Reload,
		Paths:       p.config.Paths,
		Enter: func(dir string) {
			if p.watch != nil {
				p.watch.Add(dir)
			}
		},
		Heard: func() ([]string, bool) {
			if p.watch == nil || p.watch.Deaf() != nil {
				return nil, true
			}
			return p.watch.Take()
		},
		System:  p.world.System,
		Workers: p.world.Workers,
	}
}

// start begins to follow the directory, from where a predecessor is, if there is one.
func (p *Publisher) start(before *predecessor) {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go p.run(ctx, before)
}

// run is the publisher's goroutine, and the owner of two more.
func (p *Publisher) run(ctx context.Context, before *predecessor) {
	defer close(p.done)
	defer p.forget()
	var helpers sync.WaitGroup
	defer helpers.Wait()
	helpers.Go(func() { p.ahead.Run(ctx) })
	if p.secondaries != nil {
		helpers.Go(func() { p.secondaries.Run(ctx) })
	}
	defer p.closeWatch()
	if p.lists != nil {
		helpers.Go(func() { p.lists.Run(ctx) })
		defer p.lists.Forget()
	}
	p.begin(ctx, before)
	newLoop(p).run(ctx)
	p.enter(Leaving)
	p.saver.finish()
	p.release()
}

// Snapshot returns what is served now, nil if nothing is.
func (p *Publisher) Snapshot() *Snapshot { return p.current.Load() }

// Current is where the snapshot is, for those who look at each query.
func (p *Publisher) Current() *atomic.Pointer[Snapshot] { return &p.current }

// Octets returns certificates as they were read, nil if none are given out.
func (p *Publisher) Octets() *Octets { return p.octets }

// Signer returns whose keys sign now, nil if nobody's. It implements sign.Keeper.
func (p *Publisher) Signer() *sign.Signer { return p.signer.Load() }

// State returns the state that the publisher is in.
func (p *Publisher) State() State { return State(p.state.Load()) }

// Zone returns a zone as it is served now, nil if it is not. It implements sign.Keeper.
func (p *Publisher) Zone(i int) *zone.Zone {
	if s := p.current.Load(); s != nil {
		return s.Zones[i]
	}
	return nil
}

// Zones implements sign.Keeper.
func (p *Publisher) Zones() int { return len(p.config.Places) }

// ZonesOf returns which zones hold users of a mail domain.
func (p *Publisher) ZonesOf(domain string) []int { return p.domains[domain] }

// Answered counts a query, for those who leave time for queries.
func (p *Publisher) Answered() { p.queries.Add(1) }

// Queries implements sign.Keeper.
func (p *Publisher) Queries() uint64 { return p.queries.Load() }

// Now implements sign.Keeper.
func (p *Publisher) Now() time.Time { return p.world.System.Now() }

// Transferable returns a zone as secondaries get it that sign it themselves, or not at
// all, and the way to it; nil if it has not been read yet.
func (p *Publisher) Transferable(i int) (*zone.Transferable, *zone.Journal) {
	return p.current.Load().transferable(i)
}

// Offer keeps signatures that a query needed, if there is time for it.
func (p *Publisher) Offer(b sign.Batch) { p.ahead.Offer(b) }

// SignAll has all signed ahead that lacks good signatures.
func (p *Publisher) SignAll() { p.ahead.Everything() }

// Secondaries returns who passes the zones on.
func (p *Publisher) Secondaries() Secondaries { return p.secondaries }

// Do has the publisher's goroutine do something, in its turn.
func (p *Publisher) Do(ctx context.Context, task func()) {
	select {
	case p.tasks <- task:
	case <-p.done:
	case <-ctx.Done():
	}
}

// Raise gives a zone a later serial without another change.
func (p *Publisher) Raise(ctx context.Context, zone int) {
	p.Do(ctx, func() { p.raise(zone) })
}

// settle is how long a look waits for the quarter of a second to end in which a
// change was made: files that are being written get whole, and what is seen
// later has a later time, which the serial comes from.
func settle(now time.Time) time.Duration {
	return now.Truncate(served.Tick).Add(served.Tick + served.Tick/5).Sub(now)
}
