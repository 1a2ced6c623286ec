package publish

import (
	"time"

	"coredns-smimea/certsource/directory"
	"coredns-smimea/smimea"
	"coredns-smimea/smimea/zone"
)

// torn are files that stay published though they cannot be read as they are now, by
// their numbers.
type torn struct {
	pinned   map[uint32][32]byte // digests of those whose octets are held
	nameless map[uint32]bool     // those whose octets are not: they have no URL
}

func newTorn() torn { return torn{map[uint32][32]byte{}, map[uint32]bool{}} }

// givenOut sees to it that what the DNS names is given out over HTTPS: a file that
// cannot be read any more and stays published has its octets held, or its URLs are
// withdrawn until it can be read again.
func (p *Publisher) givenOut(path string, f *directory.File, at time.Time) {
	if p.octets == nil {
		return
	}
	for _, cert := range f.Live() {
		_, pinned := p.torn.pinned[cert.ID]
		known, isTorn := pinned || p.torn.nameless[cert.ID], f.Failing != ""
		switch {
		case isTorn == known:
		case isTorn && p.octets.pin(cert.Digest):
			p.torn.pinned[cert.ID] = cert.Digest
		case isTorn:
			p.torn.nameless[cert.ID] = true
			p.eachEdit(cert, at, func(e *edit, a smimea.Address) { e.WithdrawText(a, cert.ID) })
		default:
			if p.torn.nameless[cert.ID] {
				p.name(path, f, cert, at)
			}
			p.mended(cert.ID)
		}
	}
}

// eachEdit does something to each zone that a certificate is in, for each of its addresses.
func (p *Publisher) eachEdit(cert *directory.Certificate, at time.Time, do func(*edit, smimea.Address)) {
	list, _ := p.mailboxes(cert.Addresses)
	for _, m := range list {
		for _, zone := range m.zones {
			do(p.edit(zone, at), m.address)
		}
	}
}

// mended forgets that a file was torn: it can be read again, or is published no more.
func (p *Publisher) mended(id uint32) {
	if digest, ok := p.torn.pinned[id]; ok {
		p.octets.unpin(digest)
	}
	delete(p.torn.pinned, id)
	delete(p.torn.nameless, id)
}

// release gives up what is pinned, when the publisher ends: a successor has pinned it
// for itself.
func (p *Publisher) release() {
	for id := range p.torn.pinned {
		p.mended(id)
	}
	for _, value := range p.bridges.table.All() {
		if one, err := decodeBridged(value); err == nil && one.Pinned {
			p.octets.unpin(one.Digest)
		}
	}
}

// name publishes the URLs of a certificate whose records are published.
func (p *Publisher) name(path string, f *directory.File, cert *directory.Certificate, at time.Time) {
	source := smimea.Source{Path: path, Shared: ofSeveral(f), Encrypts: cert.Encrypts}
	p.eachEdit(cert, at, func(e *edit, a smimea.Address) {
		// What has no room was told of before.
		_ = e.Publish(a, zone.Publication{File: cert.ID, Lower: p.config.Lower, URL: p.config.At(a, source).URL})
	})
}
