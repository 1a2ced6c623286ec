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
	if p.applied++; p.applied%readEvery == 0 && p.current.Load() == nil {
		p.tuneReading()
	}
	for i := range c.Certificates {
		p.lists.Learn(c.Certificates[i].Raw, c.Certificates[i].Others)
	}
	published := c.New.Published()
	// Of what was read all can be made anew. What was not is less than before.
	remake := c.Certificates != nil && (p.remake || ofSeveral(&c.Old) != ofSeveral(&c.New))
	if c.Old.Published() && published && c.Old.Same(&c.New) && !remake {
		// Written again with the same certificates in it, or kept as it was.
		p.givenOut(c.Path, &c.New, c.New.Modified)
		return
	}
	at := c.New.Modified
	switch {
	case !c.Removed.IsZero():
		at = c.Removed
	case c.Certificates == nil || !published:
		at = lastEnd(&c.New, p.config.TTL, at)
	}
	left, come, foreign := 0, 0, 0 // certificates: that leave our zones, come into them, or are in none
	was, is := false, false        // there are some in our zones, and still are
	for i, cert := range c.Old.Live() {
		gone := remake || !hasAt(&c.New, i, cert)
		if gone && published && !has(&c.New, cert.Digest) {
			p.bridge(c, cert, at)
		}
		in := p.withdraw(cert, at, gone)
		was = was || in
		if in && gone {
			left++
		}
		if gone {
			p.mended(cert.ID)
		}
	}
	if !published {
		p.unbridgeFile(c.Path, at)
	}
	for i, cert := range c.New.Live() {
		anew := remake || !hasAt(&c.Old, i, cert)
		in := p.publish(c, i, cert, at, anew)
		is = is || in
		switch {
		case in && anew:
			come++
		case anew:
			foreign++
		}
		p.unbridgeSame(c.Path, cert.Digest, at)
	}
	switch {
	case foreign > 0 && is:
		p.note("hold certificates without an address in the zones of this block", "Of %q a part is not published: certificates without an address in the zones of this block (%d): name the zone, or move them", c.Path, foreign)
	case foreign > 0:
		p.note("have no address in the zones of this block", "Skipping %q: none of its addresses is in the zones of this block: name the zone, or move the file", c.Path)
	}
	switch {
	case was && is:
		p.kinds["changed"] += max(left, come)
	case is:
		p.kinds["added"] += come
	case was && c.New.Reason == certsource.Expired:
		p.kinds["expired"] += left
	case was && c.New.Reason == certsource.Revoked:
		p.kinds["revoked"] += left
	case was:
		p.kinds["withdrawn"] += left
	}
}

// lastEnd returns when the last of the certificates came to their end that have, or
// at if none has.
func lastEnd(f *directory.File, ttl time.Duration, at time.Time) time.Time {
	last := time.Time{}
	for _, cert := range f.Certificates() {
		if end := cert.NotAfter.Add(-ttl); cert.Ended && !cert.Revoked && end.After(last) {
			last = end
		}
	}
	if last.IsZero() {
		return at
	}
	return last
}

// has reports whether a file has a certificate, published or ended.
func has(f *directory.File, digest [32]byte) bool {
	for _, cert := range f.Certificates() {
		if cert.Digest == digest {
			return true
		}
	}
	return false
}

// hasAt reports whether a file publishes a certificate at its place, so that it has
// the number there.
func hasAt(f *directory.File, place int, cert *directory.Certificate) bool {
	for i, other := range f.Live() {
		if i == place {
			return other.Digest == cert.Digest
		}
	}
	return false
}

// ofSeveral reports whether a file has certificates of several users.
func ofSeveral(f *directory.File) bool {
	if len(f.More) == 0 {
		return false
	}
	var addresses [][]string
	for _, cert := range f.Certificates() {
		addresses = append(addresses, cert.Addresses)
	}
	return len(addresses) > 0 && smimea.Shared(addresses...)
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
	if ours := len(p.config.Places); i >= ours {
		return p.departed[i-ours]
	}
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

// mailboxes returns those of a file's addresses that are in our zones, or in such that
// have left.
func (p *Publisher) mailboxes(addresses []string) (list []mailbox, bad error) {
	for _, text := range addresses {
		a, err := smimea.ParseAddress(text)
		if err != nil {
			bad = err
			continue
		}
		zones := p.domains[a.Domain]
		if left := p.domainsLeft[a.Domain]; len(left) > 0 {
			zones = slices.Concat(zones, left)
		}
		if len(zones) > 0 && !slices.ContainsFunc(list, func(m mailbox) bool { return m.address == a }) {
			list = append(list, mailbox{a, zones})
		}
	}
	return list, bad
}

// publish publishes a certificate at its place in a file, unless it is already, and
// reports whether it is in a zone of ours.
func (p *Publisher) publish(c directory.Change, place int, cert *directory.Certificate, at time.Time, anew bool) bool {
	list, bad := p.mailboxes(cert.Addresses)
	if !anew {
		return p.isOurs(list)
	}
	if bad != nil {
		p.note("have an address that cannot be read", "Skipping an address in %q: %v", c.Path, bad)
	}
	if !p.isOurs(list) {
		p.foreign++
	}
	p.counted(list, +1)
	read := &c.Certificates[place]
	p.octets.put(cert.Digest, read.Raw, p.State().looked())
	publication := zone.Publication{File: cert.ID, Lower: p.config.Lower, Certs: p.config.Data(read.Raw, read.SPKI)}
	source := smimea.Source{Path: c.Path, Shared: ofSeveral(&c.New), Encrypts: cert.Encrypts}
	var lacks error
	for _, m := range list {
		entry := p.config.At(m.address, source)
		publication.URL = entry.URL
		if entry.NoText != nil && entry.NoText != smimea.ErrSignOnly {
			lacks = entry.NoText
		}
		for _, zone := range m.zones {
			if err := p.edit(zone, at).Publish(m.address, publication); err != nil {
				lacks = err
			}
		}
	}
	if lacks != nil {
		p.note("are not published whole", "Not all of %q is published: %v", c.Path, lacks)
	}
	return p.isOurs(list)
}

// withdraw withdraws a certificate, unless it stays, and reports whether it was in a
// zone of ours.
func (p *Publisher) withdraw(cert *directory.Certificate, at time.Time, gone bool) bool {
	list, _ := p.mailboxes(cert.Addresses)
	if !gone {
		return p.isOurs(list)
	}
	if !p.isOurs(list) {
		p.foreign--
	}
	p.counted(list, -1)
	for _, m := range list {
		for _, zone := range m.zones {
			p.edit(zone, at).Withdraw(m.address, cert.ID)
		}
	}
	return p.isOurs(list)
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

// maxNoted is how many files of a kind have a line of their own between two commits.
const maxNoted = 10

// note logs something about one file, or counts it where many have the same.
func (p *Publisher) note(kind, format string, args ...any) {
	if p.noted[kind]++; p.noted[kind] <= maxNoted {
		log.Warningf(format, args...)
	}
}

// remark logs what there is to say of the files.
func (p *Publisher) remark() {
	for kind, n := range p.noted {
		if n > maxNoted {
			log.Warningf("And %d more files %s", n-maxNoted, kind)
		}
	}
	clear(p.noted)
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
		case r.Kind == directory.Locked && r.More > 0:
			log.Errorf("%s directories cannot be read, and nothing new in them is seen: let the server read them", what)
		case r.Kind == directory.Locked:
			log.Errorf("The directory %s cannot be read (%s), and nothing new in it is seen: let the server read it", what, r.Refusal.Detail)
		case r.Kind == directory.Partly && r.More > 0:
			log.Warningf("Of %s files a part is not published", what)
		case r.Kind == directory.Partly:
			log.Warningf("Of %s a part is not published: %s", what, r.Part)
		case r.Kind == directory.Kept:
			log.Warningf("Keeping what %s published before: %v", what, r.Refusal)
		case r.Refusal.Reason == certsource.PrivateKey:
			log.Errorf("Skipping %s: %v", what, r.Refusal)
		default:
			log.Warningf("Skipping %s: %v", what, r.Refusal)
		}
	}
}
