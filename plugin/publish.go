package plugin

import (
	"context"
	"sync/atomic"
	"time"

	"coredns-smimea/certsource/directory"
	"coredns-smimea/smimea/zone"
)

// A publisher follows one directory and publishes snapshots of its zones. One
// goroutine does all the work: look, edit, swap.
type publisher struct {
	key     string
	holders map[*SMIMEA]bool
	config  *config
	places  []*zone.Place
	domains map[string][]int // zones by mail domain

	current atomic.Pointer[snapshot]
	signer  atomic.Pointer[signer] // of the block that holds us last; nil: nothing is signed
	queries atomic.Uint64          // answered, for whoever yields to them

	directory *directory.Directory
	watch     *directory.Watch // nil if there is none
	signing   *signing
	// presigning is nil unless secondaries are to get signatures.
	presigning *presigning
	audience   audience
	cancel     context.CancelFunc
	ready      chan struct{} // closed with the first snapshot
	done       chan struct{} // closed at the end

	// What follows belongs to the goroutine.
	edits      []*edit // by zone, nil if nothing has changed
	counts     []count // by zone
	foreign    int     // files none of whose addresses is in a zone
	kinds      map[string]int
	lastErr    string
	duration   time.Duration // of the last look at everything
	percent    int           // the garbage collector's, as set last; 0: not set
	held       int
	generation uint8 // of the keys that sign; under the lock of publishers

	options  directory.Options
	saver    *saver       // nil without a state to be kept
	restored []*zone.Zone // zones of the state, until there is a first snapshot
	// restoredJournals are theirs, nil where another apex makes the zone another.
	restoredJournals []*zone.Journal

	watchErr string     // why there is no watch, as logged last
	trouble  chan error // why there is no first snapshot yet
}

func newPublisher(c *config, places []*zone.Place) *publisher {
	p := &publisher{
		holders: map[*SMIMEA]bool{},
		config:  c,
		places:  places,
		domains: map[string][]int{},
		ready:   make(chan struct{}),
		done:    make(chan struct{}),
		edits:   make([]*edit, len(places)),
		counts:  make([]count, len(places)),
		kinds:   map[string]int{},
		trouble: make(chan error, 1),
	}
	for i, place := range places {
		p.domains[place.Domain] = append(p.domains[place.Domain], i)
	}
	p.options = directory.Options{
		Dir:         c.dir,
		Roots:       c.roots,
		Margin:      c.ttl,
		MaxWithdraw: c.maxWithdraw,
		Window:      c.reload,
		Paths:       c.host.serves(),
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
	}
	p.directory = directory.New(p.options)
	p.saver = newSaver(p)
	p.signing = newSigning(p)
	if c.transferSigned {
		p.presigning = newPresigning(p)
	}
	return p
}

// start begins to follow the directory.
func (p *publisher) start() {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go p.run(ctx)
}

// settle is how long a look waits for the quarter of a second to end in which a
// change was made: files that are being written get whole, and what is seen
// later has a later time, which the serial comes from.
func settle(now time.Time) time.Duration {
	return now.Truncate(tick).Add(tick + tick/5).Sub(now)
}

func (p *publisher) run(ctx context.Context) {
	defer close(p.done)
	defer p.forget()
	defer p.closeWatch()
	work := p.signing.start(ctx)
	if p.presigning != nil {
		go p.presigning.run(ctx)
	}
	var (
		again   []string // files that were being written
		settled = newTimer()
		waiting bool // for settled
		poll    = newTimer()
		expire  = newTimer()
	)
	// Whatever comes in meanwhile, it does not put the look off.
	soon := func() {
		if !waiting {
			waiting = true
			settled.Reset(settle(time.Now()))
		}
	}
	look := func() {
		again = p.look(ctx)
		poll.Reset(p.pause())
	}
	if p.saver != nil {
		p.restore(ctx)
		defer p.saver.finish()
	}
	look()
	for ctx.Err() == nil {
		if len(again) > 0 {
			soon()
		}
		var notified <-chan struct{}
		if p.watch != nil {
			notified = p.watch.C
		}
		if next := p.directory.NextExpiry(); !next.IsZero() {
			// The wall clock may be set: look at it once in a while.
			expire.Reset(min(time.Until(next), time.Minute))
		}
		select {
		case <-ctx.Done():
		case <-notified:
			soon()
		case <-settled.C:
			waiting = false
			paths, all := again, false
			if p.watch != nil {
				var heard []string
				heard, all = p.watch.Take()
				paths = append(paths, heard...)
			}
			// To look at one file by its path costs as much as at several
			// where all are looked at.
			switch many := max(1000, p.directory.Files().Len()/8); {
			case all || len(paths) > many || p.current.Load() == nil:
				look()
			case len(paths) > 0:
				calm := p.held == 0 && p.lastErr == ""
				again = p.check(ctx, paths)
				if calm && (p.held > 0 || p.lastErr != "") {
					poll.Reset(p.pause())
				}
			}
		case <-poll.C:
			look()
		case <-expire.C:
			if p.current.Load() == nil {
				look() // what has been restored but never looked at is not published
				continue
			}
			p.directory.Expire(ctx, time.Now(), p.apply)
			p.commit()
		case batch := <-work:
			p.sign(batch)
		case <-p.saver.due():
			p.saver.save()
		case r := <-p.saver.ended():
			p.saver.end(r)
		}
	}
}

func newTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// openWatch begins to watch the directory, if it is not watched yet: one look
// after the other, since what is in the way may go away.
func (p *publisher) openWatch() {
	if p.watch != nil || p.config.unwatched {
		return
	}
	watch, err := directory.NewWatch(p.config.dir, nil)
	if err == nil {
		p.watch = watch
	} else {
		p.tellDeaf(err)
	}
}

// tellDeaf logs why not all changes are heard of, once for each reason.
func (p *publisher) tellDeaf(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch {
	case text == p.watchErr:
	case text != "":
		log.Warningf("There are no notifications of some changes below %q, which are found by looking every %v: %s", p.config.dir, p.config.reload, text)
	default:
		log.Infof("There are notifications of all changes below %q again", p.config.dir)
	}
	p.watchErr = text
}

func (p *publisher) closeWatch() {
	if p.watch != nil {
		p.watch.Close()
	}
}

// pause returns how long to wait for the next look at everything. Where changes
// are heard of it only makes sure, and takes a 250th of all processors at most;
// but it is never put off for long, as after a first look that had to read all.
func (p *publisher) pause() time.Duration {
	const long = 15 * time.Minute
	pause := p.config.reload
	if p.watch != nil && p.watch.Deaf() == nil && p.held == 0 && p.lastErr == "" {
		pause = max(pause, min(250*p.duration, long))
	}
	return pause
}

// look looks at the whole directory. It returns the files to be looked at again.
func (p *publisher) look(ctx context.Context) []string {
	p.openWatch()
	began := time.Now()
	first := p.current.Load() == nil
	report, err := p.directory.Look(ctx, began, p.apply)
	if ctx.Err() != nil {
		return nil
	}
	p.duration = time.Since(began)
	p.report(report, err)
	if err != nil && first {
		// Nothing is known: that is not the same as nobody being there.
		select {
		case p.trouble <- err:
		default:
		}
		return nil
	}
	p.directory.Expire(ctx, began, p.apply)
	if first {
		// Of what is not there any more only the newest time of all tells.
		for i := range p.places {
			p.edit(i, report.Newest)
		}
	}
	p.commit()
	if first {
		close(p.ready)
	}
	lookDuration.WithLabelValues(p.config.dir).Observe(p.duration.Seconds())
	return report.Unsettled
}

// check looks at some paths only, unless nothing has been published yet: what
// has never been read must not be denied.
func (p *publisher) check(ctx context.Context, paths []string) []string {
	if p.current.Load() == nil {
		return p.look(ctx)
	}
	report, err := p.directory.Check(ctx, paths, time.Now(), p.apply)
	if ctx.Err() != nil {
		return nil
	}
	p.report(report, err)
	p.commit()
	if err != nil {
		return paths
	}
	return report.Unsettled
}

// report tells the operator how a look went.
func (p *publisher) report(report directory.Report, err error) {
	if report.Held > 0 && report.Held != p.held {
		log.Errorf("Holding back the withdrawal of %d of %d certificates in %q: more than %d percent at once looks like an accident; it is done if it stays for three looks, or at once if you touch %s there",
			report.Held, p.directory.Published(), p.config.dir, p.config.maxWithdraw, directory.ConfirmFile)
	}
	p.held = report.Held
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != p.lastErr && text != "" {
		log.Errorf("What is published stays as it is: %s", text)
	} else if text == "" && p.lastErr != "" {
		log.Infof("The directory %q can be read again", p.config.dir)
	}
	p.lastErr = text
	if p.watch != nil && err == nil {
		p.tellDeaf(p.watch.Deaf())
	}
	filesRead.WithLabelValues(p.config.dir).Add(float64(report.Read))
	p.measure(err == nil)
}
