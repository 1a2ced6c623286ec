package publish

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"time"

	"coredns-smimea/certsource/directory"
	"coredns-smimea/certsource/revocation"
	"coredns-smimea/internal/table"
)

// A Bridged certificate is one whose file holds another one of the same user by now.
// Resolvers still have its records only, for up to one TTL: so long it stays
// published, beside the new one, unless it ends or the file is removed.
type Bridged struct {
	Path      string // of the file
	Until     time.Time
	Digest    [32]byte // SHA-256 of its DER
	NotAfter  time.Time
	Modified  time.Time // the file, with this certificate in it
	Encrypts  bool
	Addresses []string      // that both have
	Issued    revocation.ID // see directory.Certificate

	Pinned bool // its octets are held
}

// bridges are the publisher's bridged certificates, by the numbers that they have in
// the zones: files have theirs from 1 up, these from the last one down.
type bridges struct {
	table *table.Table // as the last snapshot has them
	edit  *table.Edit  // the next ones, nil if nothing has changed
	paths map[string][]uint32
	ends  []end // in their order
	last  uint32
}

// end is when a certificate is bridged no more.
type end struct {
	at time.Time
	id uint32
}

func newBridges() bridges { return bridges{paths: map[string][]uint32{}, last: math.MaxUint32} }

// inheritBridges begins with what was bridged before.
func (p *Publisher) inheritBridges(t *table.Table) {
	p.bridges = newBridges()
	p.bridges.table = t
	for key, value := range t.All() {
		if one, err := decodeBridged(value); err == nil {
			p.bridges.note(binary.LittleEndian.Uint32(key), &one)
			if one.Pinned {
				p.octets.pin(one.Digest)
			}
		}
	}
}

func decodeBridged(value []byte) (b Bridged, err error) {
	err = json.Unmarshal(value, &b)
	return b, err
}

var errBridged = errors.New("an entry is not one of a bridged certificate")

// note takes down where a certificate is found again.
func (b *bridges) note(id uint32, one *Bridged) {
	b.last = min(b.last, id)
	b.paths[one.Path] = append(b.paths[one.Path], id)
	i, _ := slices.BinarySearchFunc(b.ends, one.Until, func(e end, at time.Time) int { return e.at.Compare(at) })
	b.ends = slices.Insert(b.ends, i, end{one.Until, id})
}

func (b *bridges) next() *table.Edit {
	if b.edit == nil {
		b.edit = b.table.Edit()
	}
	return b.edit
}

// add adds a certificate, and returns its number.
func (b *bridges) add(one *Bridged) uint32 {
	id := b.last - 1
	b.note(id, one)
	value, err := json.Marshal(one)
	if err != nil {
		panic(err) // numbers and strings
	}
	b.next().Set(binary.LittleEndian.AppendUint32(nil, id), value)
	return id
}

// remove removes a certificate, if it is still there, and returns it.
func (b *bridges) remove(id uint32) (Bridged, bool) {
	key := binary.LittleEndian.AppendUint32(nil, id)
	value, ok := b.next().Get(key)
	if !ok {
		return Bridged{}, false
	}
	one, err := decodeBridged(value)
	b.next().Delete(key)
	if b.paths[one.Path] = slices.DeleteFunc(b.paths[one.Path], func(other uint32) bool { return other == id }); len(b.paths[one.Path]) == 0 {
		delete(b.paths, one.Path)
	}
	return one, err == nil
}

// commit returns the table for the next snapshot.
func (b *bridges) commit() *table.Table {
	if b.edit != nil {
		b.table, b.edit = b.edit.Table(), nil
	}
	return b.table
}

// Bridged returns the certificate that is bridged under a number.
func (s *Snapshot) Bridged(id uint32) (Bridged, bool) {
	value, ok := s.bridged.Get(binary.LittleEndian.AppendUint32(nil, id))
	if !ok {
		return Bridged{}, false
	}
	one, err := decodeBridged(value)
	return one, err == nil
}

// maxBridges is how many certificates of one file are bridged at once, the last ones.
const maxBridges = 4

// bridge keeps a certificate that a file held published for the addresses that have
// another one by the same change. For others it is withdrawn.
func (p *Publisher) bridge(c directory.Change, cert *directory.Certificate, at time.Time) {
	if p.directory.Names(cert.Issued) {
		return // nobody is to use it
	}
	now := p.world.System.Now()
	one := Bridged{
		Path: c.Path, Digest: cert.Digest, NotAfter: cert.NotAfter, Modified: c.Old.Modified, Encrypts: cert.Encrypts, Issued: cert.Issued,
		Until: now.Add(p.config.TTL),
	}
	if last := one.NotAfter.Add(-p.config.TTL); last.Before(one.Until) {
		one.Until = last
	}
	var next []mailbox
	for _, new := range c.New.Live() {
		if !has(&c.Old, new.Digest) {
			its, _ := p.mailboxes(new.Addresses)
			next = append(next, its...)
		}
	}
	list, _ := p.mailboxes(cert.Addresses)
	list = slices.DeleteFunc(list, func(m mailbox) bool {
		return !slices.ContainsFunc(next, func(n mailbox) bool { return n.address.Lower() == m.address.Lower() })
	})
	for _, m := range list {
		one.Addresses = append(one.Addresses, m.address.String())
	}
	if len(list) == 0 || !one.Until.After(now) {
		return
	}
	if before := p.bridges.paths[c.Path]; len(before) >= maxBridges {
		p.unbridge(before[0], at)
	}
	one.Pinned = p.octets.pin(one.Digest)
	id := p.bridges.add(&one)
	for _, m := range list {
		for _, zone := range m.zones {
			p.edit(zone, at).Retain(m.address, cert.ID, id)
		}
	}
}

// unbridge withdraws a bridged certificate.
func (p *Publisher) unbridge(id uint32, at time.Time) {
	one, ok := p.bridges.remove(id)
	if !ok {
		return
	}
	list, _ := p.mailboxes(one.Addresses)
	for _, m := range list {
		for _, zone := range m.zones {
			p.edit(zone, at).Withdraw(m.address, id)
		}
	}
	if one.Pinned {
		p.octets.unpin(one.Digest)
	}
}

// unbridgeSame withdraws what is bridged of a file that holds that certificate again.
func (p *Publisher) unbridgeSame(path string, digest [32]byte, at time.Time) {
	for _, id := range slices.Clone(p.bridges.paths[path]) {
		if value, ok := p.bridges.next().Get(binary.LittleEndian.AppendUint32(nil, id)); ok {
			if one, err := decodeBridged(value); err == nil && one.Digest == digest {
				p.unbridge(id, at)
			}
		}
	}
}

// unbridgeFile withdraws all that is bridged of a file: it was removed on purpose, or
// is to be published no more.
func (p *Publisher) unbridgeFile(path string, at time.Time) {
	for _, id := range slices.Clone(p.bridges.paths[path]) {
		p.unbridge(id, at)
	}
}

// unbridgeRevoked withdraws what is bridged and may be revoked by now.
func (p *Publisher) unbridgeRevoked() {
	for key, value := range p.bridges.commit().All() {
		if one, err := decodeBridged(value); err == nil && p.directory.Names(one.Issued) {
			p.unbridge(binary.LittleEndian.Uint32(key), p.world.System.Now())
		}
	}
}

// unbridgeDue withdraws what has been bridged for long enough.
func (p *Publisher) unbridgeDue(now time.Time) {
	for len(p.bridges.ends) > 0 && !p.bridges.ends[0].at.After(now) {
		due := p.bridges.ends[0]
		p.bridges.ends = p.bridges.ends[1:]
		p.unbridge(due.id, due.at)
	}
}

// nextBridgeEnd returns when the next certificate is bridged no more, zero if none is.
func (p *Publisher) nextBridgeEnd() time.Time {
	if len(p.bridges.ends) == 0 {
		return time.Time{}
	}
	return p.bridges.ends[0].at
}
