package zone

import (
	"iter"
	"slices"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/internal/table"
)

// A Transferable is a version of a zone as secondaries get it: what the zone has,
// and what its answers get only when they are given.
type Transferable struct {
	Zone *Zone
	// Apex are the records at the apex and at name servers inside the zone, all
	// but the SOA; in a signed transferable zone with the signatures of them and of it.
	Apex []dns.RR
	// Keys are those of a signed transferable zone's signatures.
	Keys Keys
	// Chain is a signed transferable zone's denial of everything else; nil: not signed.
	Chain *Chain
}

// NewTransferable returns the transferable zone of a zone without signatures. Extra are
// records at its apex that the zone does not know of.
func NewTransferable(z *Zone, extra []dns.RR) *Transferable {
	return &Transferable{Zone: z, Apex: append(slices.Concat(z.apexSets()...), extra...)}
}

// Size returns the octets that the transferable zone takes, near enough.
func (t *Transferable) Size() int { return t.Zone.Size() + t.Chain.Size() }

// Records yields all records of the transferable zone, the SOA first. They are made as
// they are asked for, and come in pieces of a name each.
func (t *Transferable) Records() iter.Seq[[]dns.RR] {
	return func(yield func([]dns.RR) bool) {
		if !yield([]dns.RR{t.Zone.SOA()}) || !yield(t.Apex) {
			return
		}
		for i, entries := range t.tables() {
			for key, value := range entries.All() {
				if rrs := t.records(section(i), key, value); len(rrs) > 0 && !yield(rrs) {
					return
				}
			}
		}
	}
}

// Ends returns when the first of a transferable zone's signatures expires, as of now; zero
// if it has none. It looks at all of them.
func (t *Transferable) Ends(now time.Time) time.Time {
	least, any := time.Duration(0), false
	end := func(expiration uint32) {
		if left := Left(expiration, now); !any || left < least {
			least, any = left, true
		}
	}
	for _, rr := range t.Apex {
		if sig, ok := rr.(*dns.RRSIG); ok {
			end(sig.Expiration)
		}
	}
	for i, entries := range t.tables() {
		for _, value := range entries.All() {
			for s := range eachSignature(section(i).signatures(value)) {
				end(s.expiration())
			}
		}
	}
	if !any {
		return time.Time{}
	}
	return time.Unix(now.Unix(), 0).Add(least)
}

// A section is a part of a transferable zone that has a table of its own: a sub-tree, or
// the chain.
type section uint8

const (
	certsSection = section(Certs)
	textsSection = section(Texts)
	chainSection = section(2)
)

// tables returns the tables of a transferable zone, by section.
func (t *Transferable) tables() [3]*table.Table {
	tables := [3]*table.Table{certsSection: t.Zone.tables[Certs], textsSection: t.Zone.tables[Texts]}
	if t.Chain != nil {
		tables[chainSection] = t.Chain.table
	}
	return tables
}

// signatures returns the stored signatures in an entry of a section.
func (s section) signatures(value []byte) []byte {
	switch n := node(value); {
	case s == chainSection:
		return link(value).signatures()
	case n.empty():
		return nil
	default:
		return n.signatures()
	}
}

// records returns what a transferable zone has for an entry of a section: a name's
// records and their signatures, or a link of the chain and its.
func (t *Transferable) records(s section, key, value []byte) []dns.RR {
	var rrs []dns.RR
	switch n := node(value); {
	case s == chainSection && len(value) > 0:
		rrs = []dns.RR{t.Chain.record(key, link(value))}
	case s == chainSection || n.empty():
		return nil
	default:
		rrs = t.Zone.rrset(Tree(s), key, n)
	}
	if t.Chain == nil {
		return rrs
	}
	for sig := range eachRRSIG(s.signatures(value), rrs[0].Header(), t.Keys.Signer, func() *dns.RRSIG { return new(dns.RRSIG) }) {
		rrs = append(rrs, sig)
	}
	return rrs
}
