package publish

import (
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/plugin/internal/served"
	"coredns-smimea/smimea/zone"
)

// A commit makes the next snapshot of what has been edited.
type commit struct {
	p    *Publisher
	old  *Snapshot // nil before the first
	next *Snapshot

	changed  bool // some zone has another version
	unsaved  bool // and a state that was kept has not got it
	began    bool // some zone has its first version: all is to be signed
	announce []int
	unsigned []difference
}

// difference is what has changed in a zone, to be signed.
type difference struct {
	zone    int
	changes []zone.Difference
}

// commit publishes what has been edited.
func (p *Publisher) commit() {
	p.remark()
	c := commit{p: p, old: p.current.Load()}
	if c.old == nil {
		c.next = newSnapshot(len(p.config.Places))
	} else {
		c.next = c.old.next()
	}
	c.next.legacy = p.directory.Legacy()
	c.next.Files = c.next.legacy.Files()
	c.next.remake = p.remake
	c.next.bridged = p.bridges.commit()
	c.next.lists = p.lists.Kept()
	c.next.departed = p.commitDeparted()
	for i, e := range p.edits[:len(p.config.Places)] {
		if e == nil || !p.mayServe(i) {
			continue
		}
		p.edits[i] = nil
		if c.old == nil || c.old.Zones[i] == nil {
			c.firstOf(i, e)
		} else {
			c.nextOf(i, e)
		}
	}
	c.publish()
	if p.State().looked() {
		p.seed = nil
	}
}

// mayServe reports whether a zone may be served as it is now. Of one that was not
// served before and has not been looked at to the end, not all is known.
func (p *Publisher) mayServe(i int) bool {
	return p.State().looked() || p.State() == Restored && p.seed.zones[i] != nil
}

// firstOf makes the first version of a zone: after the first look, or of what was
// served before.
func (c *commit) firstOf(i int, e *edit) {
	p := c.p
	newest := p.standsFor(e.newest)
	z, _ := e.Zone(func(last uint32) uint32 { return served.NextSerial(last, newest) })
	extra := p.Signer().Extra(i)
	z.Serial = served.Resume(z, extra, newest)
	served.Note(z, extra)
	c.next.Zones[i] = z
	c.next.extras[i] = extra
	c.next.journals[i] = served.Journal(z, c.next.extras[i])
	if before, journal := p.seed.restored(i); journal != nil && !p.config.Signed {
		c.next.journals[i] = journal
		if z.Serial != before.Zone.Serial {
			c.record(i, before)
		}
	}
	c.changed, c.began = true, true
	c.unsaved = c.unsaved || p.seed == nil || !p.seed.saved || z.Serial != e.last
	if !p.config.Signed {
		c.announce = append(c.announce, i)
	}
}

// nextOf makes the next version of a zone that is served.
func (c *commit) nextOf(i int, e *edit) {
	p := c.p
	newest := p.standsFor(e.newest)
	z, changes := e.Zone(func(last uint32) uint32 { return p.nextSerial(i, last, newest) })
	c.next.Zones[i] = z
	if z.Serial == c.old.Zones[i].Serial {
		return
	}
	c.next.extras[i] = p.Signer().Extra(i)
	served.Note(z, c.next.extras[i])
	c.changed, c.unsaved = true, true
	if changes == nil { // too many to count
		c.began = true
	} else {
		c.unsigned = append(c.unsigned, difference{i, changes})
	}
	if !p.config.Signed {
		c.announce = append(c.announce, i)
		c.record(i, zone.NewTransferable(c.old.Zones[i], c.old.extras[i]))
	}
}

// nextSerial returns the serial of a zone's next version.
func (p *Publisher) nextSerial(i int, last uint32, newest time.Time) uint32 {
	if served.Later(p.abandoned[i], last) && p.abandoned[i] != 0 {
		last = p.abandoned[i]
	}
	return served.NextSerial(last, newest)
}

// takeBack goes on after a reload that has failed. The publisher that was to be the
// successor has noted, and maybe saved, versions that nobody was given: their serials
// are not to stand for others.
func (p *Publisher) takeBack() {
	for i, place := range p.config.Places {
		p.abandoned[i] = served.Last(place.Origin)
	}
	p.saver.reclaim()
}

// standsFor returns the time that the serial of a version stands for, of the time of its
// newest change. What is bridged is in no file: a server that begins without a state has
// other records at that time, and those are the later ones.
func (p *Publisher) standsFor(newest time.Time) time.Time {
	if len(p.bridges.paths) > 0 {
		return newest.Add(-served.Tick)
	}
	return newest
}

// record writes the way from a zone's version before to the next one into its
// journal.
func (c *commit) record(i int, before *zone.Transferable) {
	s := c.next
	s.journals[i] = s.journals[i].Append(before, zone.NewTransferable(s.Zones[i], s.extras[i]))
	served.NoteJournal(s.Zones[i], s.extras[i], s.journals[i])
}

// publish swaps the snapshot in, and tells everybody whom it concerns.
func (c *commit) publish() {
	p := c.p
	if c.unsaved || c.old != nil && (c.old.Files != c.next.Files || c.old.bridged != c.next.bridged || c.old.lists != c.next.lists) {
		// Before it is served: a state that is clean when the process is killed is
		// taken for what was served last.
		p.saver.changed(c.next, c.unsaved)
	}
	p.current.Store(c.next)
	for _, d := range c.unsigned { // now that it can be seen
		p.ahead.Changed(d.zone, d.changes)
	}
	if c.began {
		p.ahead.Everything()
	}
	for _, i := range c.announce {
		p.announce(i)
	}
	if c.changed {
		p.tell(c.next, c.old == nil)
	}
	clear(p.kinds)
}

func (p *Publisher) announce(i int) {
	if p.secondaries != nil {
		p.secondaries.Announce(i)
	}
}

// tell tells the operator what is published.
func (p *Publisher) tell(s *Snapshot, first bool) {
	for i, z := range s.Zones {
		p.counts[i].measure(z)
	}
	setTime(lastChange, p.config.Dir, p.world.System.Now())
	text := ""
	for _, kind := range []string{"added", "changed", "withdrawn", "expired", "revoked"} {
		if n := p.kinds[kind]; n > 0 {
			changes.WithLabelValues(p.config.Dir, kind).Add(float64(n))
			text += fmt.Sprintf(", %d %s", n, kind)
		}
	}
	zone := fmt.Sprintf("%d zones", len(s.Zones))
	if len(s.Zones) == 1 {
		zone = fmt.Sprintf("%q with serial %d", p.config.Places[0].Origin, s.Zones[0].Serial)
	}
	if text != "" || first { // the end of a bridge is no news
		log.Infof("Published %d certificates of %q in %s%s", p.directory.Published()-p.foreign, p.config.Dir, zone, text)
	}
	p.tune(s)
}

// raise gives a zone a later serial without another change.
func (p *Publisher) raise(i int) {
	old := p.current.Load()
	if old == nil || old.Zones[i] == nil {
		return
	}
	c := commit{p: p, old: old, next: old.next()}
	z := *old.Zones[i]
	z.Serial = p.nextSerial(i, z.Serial, p.world.System.Now())
	c.next.Zones[i] = &z
	c.next.extras[i] = p.Signer().Extra(i)
	served.Note(&z, c.next.extras[i])
	p.saver.changed(c.next, true) // before it is served, as in publish
	p.counts[i].measure(&z)
	if p.config.Signed {
		p.current.Store(c.next)
		p.secondaries.Wake()
		return
	}
	c.record(i, zone.NewTransferable(old.Zones[i], old.extras[i]))
	p.current.Store(c.next)
	p.announce(i)
}

// adopt has secondaries told of other CDS records, after other keys have come.
func (p *Publisher) adopt() {
	s := p.current.Load()
	if s == nil || p.config.Signed {
		return
	}
	for i, place := range p.config.Places {
		if place.Layout != zone.Beside && s.Zones[i] != nil && !slices.EqualFunc(s.extras[i], p.Signer().Extra(i), dns.IsDuplicate) {
			p.raise(i)
		}
	}
}
