package publish

import (
	"fmt"
	"slices"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/certsource/directory"
	"coredns-smimea/smimea"
	"coredns-smimea/smimea/zone"
)

// edit is a zone's next version, and the newest time that speaks for it.
type edit struct {
	*zone.Edit
	last   uint32 // the serial of the version before
	newest time.Time
}

// count is what a zone publishes.
type count struct{ certificates, addresses int }

// apply takes in one file's change.
func (p *Publisher) apply(c directory.Change) {
	was, is := c.Old.Published(), c.New.Published()
	if was && is && c.Old.Digest == c.New.Digest && (!p.remake || c.Certificate == nil) {
		return // written again with the same certificate in it, or kept as it was
	}
	at := c.New.Modified
	switch {
	case !c.Removed.IsZero():
		at = c.Removed
	case c.New.Reason == certsource.Expired:
		at = c.New.NotAfter.Add(-p.config.TTL)
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
func (p *Publisher) edit(zone int, at time.Time) *edit {
	e := p.edits[zone]
	if e == nil {
		z := p.zone(zone)
		e = &edit{Edit: z.Edit(), last: z.Serial}
		p.edits[zone] = e
	}
	if at.After(e.newest) && !at.After(p.world.System.Now().Add(directory.Skew)) {
		e.newest = at
	}
	return e
}

// zone returns the version of a zone that the next one is made of.
func (p *Publisher) zone(i int) *zone.Zone {
	if z := p.Zone(i); z != nil {
		return z
	}
	if p.seed != nil && p.seed.zones[i] != nil {
		return p.seed.zones[i]
	}
	return zone.NewZone(p.config.Places[i], p.config.prefix(p.config.Places[i].Domain))
}

// mailbox is an address of a file, and where it is published.
type mailbox struct {
	address smimea.Address
	zones   []int
}

// mailboxes returns those of a file's addresses that are in our zones.
func (p *Publisher) mailboxes(addresses []string) (list []mailbox, bad error) {
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
func (p *Publisher) publish(c directory.Change, at time.Time) bool {
	list, bad := p.mailboxes(c.New.Addresses)
	if bad != nil {
		log.Warningf("Skipping an address in %q: %v", c.Path, bad)
	}
	if len(list) == 0 {
		p.foreign++
		log.Warningf("Skipping %q: none of its addresses is in the zones of this block: name the zone, or move the file", c.Path)
	}
	p.counted(list, +1)
	publication := zone.Publication{File: c.New.ID, Lower: p.config.Lower}
	for _, a := range p.config.Records {
		publication.Certs = append(publication.Certs, a.Append(nil, c.Certificate.Raw, c.Certificate.SPKI))
	}
	unnamed := false
	for _, m := range list {
		publication.URL = ""
		if c.New.Encrypts {
			publication.URL = p.config.URL.Expand(m.address.Domain, c.Path, m.address.Label())
			if p.config.Unservable != nil && p.config.Unservable(publication.URL) {
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
func (p *Publisher) withdraw(f directory.File, at time.Time) bool {
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
func (p *Publisher) counted(list []mailbox, n int) {
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

// remark logs what there is to say of the files.
func (p *Publisher) remark() {
	for _, r := range p.directory.Remarks() {
		what := fmt.Sprintf("%q", r.Path)
		if r.More > 0 {
			what = fmt.Sprintf("%d more", r.More)
		}
		switch {
		case r.Kind == directory.Secret:
			log.Errorf("Beside the certificates lies %s, which nobody is given: %v", what, r.Refusal)
		case r.Kind == directory.Gone:
			log.Infof("What %s published is withdrawn: the file is gone", what)
		case r.Kind == directory.Restored:
			log.Infof("Reading %s again: it is all right now", what)
		case r.Kind == directory.Kept:
			log.Warningf("Keeping what %s published before: %v", what, r.Refusal)
		case r.Refusal.Reason == certsource.PrivateKey:
			log.Errorf("Skipping %s: %v", what, r.Refusal)
		default:
			log.Warningf("Skipping %s: %v", what, r.Refusal)
		}
	}
}
