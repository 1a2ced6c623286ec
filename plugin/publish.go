package plugin

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/certsource"
	"coredns-smimea/smimea"
)

// A snapshot is all that is served at one instant. It is published whole, by
// one pointer; nothing that can be reached from it changes afterwards.
type snapshot struct {
	zones []*smimea.Zone // in the order of the places
	files certsource.Files

	extras   [][]dns.RR        // by zone: see signer.extra
	journals []*smimea.Journal // by zone
}

// A publisher follows one directory and publishes snapshots of its zones. One
// goroutine does all the work: look, edit, swap.
type publisher struct {
	key     string
	holders map[*SMIMEA]bool
	config  *config
	places  []*smimea.Place
	domains map[string][]int // zones by mail domain

	current atomic.Pointer[snapshot]
	signer  atomic.Pointer[signer] // of the block that holds us last; nil: nothing is signed
	queries atomic.Uint64          // answered, for whoever yields to them

	directory *certsource.Directory
	watch     *certsource.Watch // nil if there is none
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

	options  certsource.Options
	saver    *saver         // nil without a state to be kept
	restored []*smimea.Zone // zones of the state, until there is a first snapshot
	// restoredJournals are theirs, nil where another apex makes the zone another.
	restoredJournals []*smimea.Journal

	watchErr string     // why there is no watch, as logged last
	trouble  chan error // why there is no first snapshot yet
}

// edit is a zone's next version, and the newest time that speaks for it.
type edit struct {
	*smimea.Edit
	last   uint32 // the serial of the version before
	newest time.Time
}

// count is what a zone publishes.
type count struct{ certificates, addresses int }

func newPublisher(c *config, places []*smimea.Place) *publisher {
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
	p.options = certsource.Options{
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
	}
	p.directory = certsource.New(p.options)
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
			case all || len(paths) > many:
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
	watch, err := certsource.NewWatch(p.config.dir)
	if err == nil {
		p.watch = watch
	} else if text := err.Error(); text != p.watchErr {
		p.watchErr = text
		log.Warningf("No notifications for %q, it is looked at every %v: %v", p.config.dir, p.config.reload, err)
	}
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

// check looks at some paths only.
func (p *publisher) check(ctx context.Context, paths []string) []string {
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
func (p *publisher) report(report certsource.Report, err error) {
	if report.Held > 0 && report.Held != p.held {
		log.Errorf("Holding back the withdrawal of %d of %d certificates in %q: more than %d percent at once looks like an accident; it is done if it stays for three looks, or at once if you touch %s there",
			report.Held, p.directory.Published(), p.config.dir, p.config.maxWithdraw, certsource.ConfirmFile)
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
	filesRead.WithLabelValues(p.config.dir).Add(float64(report.Read))
	p.measure(err == nil)
}

// apply takes in one file's change.
func (p *publisher) apply(c certsource.Change) {
	p.tell(c)
	was, is := c.Old.Published(), c.New.Published()
	if was && is && c.Old.Digest == c.New.Digest {
		return // written again with the same certificate in it
	}
	at := c.New.Modified
	switch {
	case !c.Removed.IsZero():
		at = c.Removed
	case c.New.Reason == certsource.Expired:
		at = c.New.NotAfter.Add(-p.config.ttl)
	}
	if was {
		was = p.withdraw(c.Old, at)
	}
	if is {
		is = p.publish(c, at)
	}
	switch {
	case was && is:
		p.kinds["changed"]++
	case is:
		p.kinds["added"]++
	case was && c.New.Reason == certsource.Expired:
		p.kinds["expired"]++
	case was:
		p.kinds["withdrawn"]++
	}
}

// edit returns a zone's next version, begun if need be.
func (p *publisher) edit(zone int, at time.Time) *edit {
	e := p.edits[zone]
	if e == nil {
		z := p.zone(zone)
		e = &edit{Edit: z.Edit(), last: z.Serial}
		p.edits[zone] = e
	}
	if at.After(e.newest) && !at.After(time.Now().Add(certsource.Skew)) {
		e.newest = at
	}
	return e
}

func (p *publisher) zone(i int) *smimea.Zone {
	if s := p.current.Load(); s != nil {
		return s.zones[i]
	}
	if p.restored != nil {
		return p.restored[i]
	}
	return smimea.NewZone(p.places[i], p.config.prefix(p.places[i].Domain))
}

// mailbox is an address of a file, and where it is published.
type mailbox struct {
	address smimea.Address
	zones   []int
}

// mailboxes returns those of a file's addresses that are in our zones.
func (p *publisher) mailboxes(addresses []string) (list []mailbox, bad error) {
	for _, text := range addresses {
		a, err := smimea.ParseAddress(text)
		if err != nil {
			bad = err
			continue
		}
		if zones := p.domains[a.Domain]; len(zones) > 0 && !slices.ContainsFunc(list, func(m mailbox) bool { return m.address == a }) {
			list = append(list, mailbox{a, zones})
		}
	}
	return list, bad
}

// publish reports whether the certificate is in a zone of ours.
func (p *publisher) publish(c certsource.Change, at time.Time) bool {
	list, bad := p.mailboxes(c.New.Addresses)
	if bad != nil {
		log.Warningf("Skipping an address in %q: %v", c.Path, bad)
	}
	if len(list) == 0 {
		p.foreign++
		log.Warningf("Skipping %q: none of its addresses is in the zones of this block: name the zone, or move the file", c.Path)
	}
	p.counted(list, +1)
	publication := smimea.Publication{File: c.New.ID, Lower: p.config.lower}
	for _, a := range p.config.records {
		publication.Certs = append(publication.Certs, a.Append(nil, c.Certificate.Raw, c.Certificate.SPKI))
	}
	unnamed := false
	for _, m := range list {
		publication.URL = ""
		if c.New.Encrypts {
			publication.URL = p.config.url.Expand(m.address.Domain, c.Path, m.address.Label())
			if refused(publication.URL) {
				publication.URL, unnamed = "", true
			}
		}
		var left error
		for _, zone := range m.zones {
			if err := p.edit(zone, at).Publish(m.address, publication); err != nil {
				left = err
			}
		}
		if left != nil {
			log.Warningf("Not all of %q is published: %v", c.Path, left)
		}
	}
	if unnamed {
		log.Warningf("%q is published without a URL: https serves no file whose name has a backslash or control characters, or is that long: rename it", c.Path)
	}
	return len(list) > 0
}

// withdraw reports whether the certificate was in a zone of ours.
func (p *publisher) withdraw(f certsource.File, at time.Time) bool {
	list, _ := p.mailboxes(f.Addresses)
	if len(list) == 0 {
		p.foreign--
	}
	p.counted(list, -1)
	for _, m := range list {
		for _, zone := range m.zones {
			p.edit(zone, at).Withdraw(m.address, f.ID)
		}
	}
	return len(list) > 0
}

// counted counts a file's certificate once in each zone, and its addresses.
func (p *publisher) counted(list []mailbox, n int) {
	in := map[int]bool{}
	for _, m := range list {
		for _, zone := range m.zones {
			if !in[zone] {
				in[zone] = true
				p.counts[zone].certificates += n
			}
			p.counts[zone].addresses += n
		}
	}
}

// commit publishes what has been edited.
func (p *publisher) commit() {
	old := p.current.Load()
	if old == nil {
		p.directory.Compact()
	}
	s := &snapshot{files: p.directory.Files()}
	if old != nil {
		s.zones = slices.Clone(old.zones)
		s.extras, s.journals = old.extras, old.journals
	} else {
		s.zones = make([]*smimea.Zone, len(p.places))
		s.extras, s.journals = make([][]dns.RR, len(p.places)), make([]*smimea.Journal, len(p.places))
		for i := range s.extras {
			s.extras[i] = p.signer.Load().extra(i)
		}
	}
	var announced []int
	var unsigned []pending
	changed := old == nil
	unsaved := old == nil && p.restored == nil
	for i, e := range p.edits {
		if e == nil {
			continue
		}
		zone, differences := e.Zone(func(last uint32) uint32 { return p.serial(i, last, e.newest) })
		if old == nil {
			zone = zone.Compact()
			p.resume(zone, e.newest)
		}
		p.edits[i] = nil
		s.zones[i] = zone
		unsaved = unsaved || zone.Serial != e.last
		if old == nil || zone.Serial != old.zones[i].Serial {
			changed = true
			remember(zone)
			unsigned = append(unsigned, pending{i, differences})
			if p.presigning == nil {
				announced = append(announced, i)
				if old != nil {
					s.record(p, i, &snapshot{zones: old.zones, extras: s.extras, journals: s.journals})
				}
			}
		}
		if old == nil {
			s.journals[i] = recall(zone, s.extras[i])
		}
		if old == nil && p.restored != nil && p.restoredJournals[i] != nil && p.presigning == nil {
			s.journals[i] = p.restoredJournals[i]
			if zone.Serial != p.restored[i].Serial {
				s.record(p, i, &snapshot{zones: p.restored, extras: s.extras, journals: s.journals})
			}
		}
	}
	p.current.Store(s)
	for _, u := range unsigned { // now that it can be seen
		p.signing.changed(u.zone, u.differences)
	}
	for _, i := range announced {
		p.announce(i)
	}
	p.restored, p.restoredJournals = nil, nil
	if unsaved || old != nil && old.files != s.files {
		p.saver.changed(unsaved)
	}
	if changed {
		p.tellPublished(s)
	}
	clear(p.kinds)
}

func (p *publisher) tellPublished(s *snapshot) {
	for i, z := range s.zones {
		p.counts[i].publish(z)
	}
	lastChange.WithLabelValues(p.config.dir).SetToCurrentTime()
	text := ""
	for _, kind := range []string{"added", "changed", "withdrawn", "expired"} {
		if n := p.kinds[kind]; n > 0 {
			changes.WithLabelValues(p.config.dir, kind).Add(float64(n))
			text += fmt.Sprintf(", %d %s", n, kind)
		}
	}
	zone := fmt.Sprintf("%d zones", len(s.zones))
	if len(s.zones) == 1 {
		zone = fmt.Sprintf("%q with serial %d", s.zones[0].Origin, s.zones[0].Serial)
	}
	log.Infof("Published %d certificates of %q in %s%s", p.directory.Published()-p.foreign, p.config.dir, zone, text)
	p.tune(s)
}

// tell logs why a file is left out, once for each change of the reason.
func (p *publisher) tell(c certsource.Change) {
	why := func(f certsource.File) certsource.Reason {
		if f.Failing != "" {
			return f.Failing
		}
		return f.Reason
	}
	switch before, now := why(c.Old), why(c.New); {
	case now == before || c.New.ID == 0:
	case now == "":
		log.Infof("Reading %q again: it is all right now", c.Path)
	case c.New.Failing != "":
		log.Warningf("Keeping what %q published before: %v", c.Path, c.Refusal)
	case now == certsource.PrivateKey:
		log.Errorf("Skipping %q: %v", c.Path, c.Refusal)
	default:
		log.Warningf("Skipping %q: %v", c.Path, c.Refusal)
	}
}
