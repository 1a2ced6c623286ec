package zone

import (
	"iter"
	"slices"

	"github.com/miekg/dns"
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

// apexSets returns the NS records and those of name servers inside the zone, in
// the same order for every version.
func (z *Zone) apexSets() [][]dns.RR {
	sets := [][]dns.RR{z.NS()}
	var names []string
	for name := range z.hosts {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, rtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
			if rrs := z.hosts[name].rrs[rtype]; len(rrs) > 0 {
				sets = append(sets, rrs)
			}
		}
	}
	return sets
}

// Size returns the octets that the transferable zone takes, near enough.
func (e *Transferable) Size() int { return e.Zone.Size() + e.Chain.Size() }

// Records yields all records of the transferable zone, the SOA first. They are made as
// they are asked for, and come in pieces of a name each.
func (e *Transferable) Records() iter.Seq[[]dns.RR] {
	return func(yield func([]dns.RR) bool) {
		if !yield([]dns.RR{e.Zone.SOA()}) || !yield(e.Apex) {
			return
		}
		for tree := range e.Zone.tables {
			for key, value := range e.Zone.tables[tree].All() {
				if rrs := e.records(Tree(tree), key, value); len(rrs) > 0 && !yield(rrs) {
					return
				}
			}
		}
		if e.Chain != nil {
			for hash, value := range e.Chain.table.All() {
				if !yield(e.records(links, hash, value)) {
					return
				}
			}
		}
	}
}

// links stands for the chain where a tree is named.
const links = Rest

// records returns what a transferable zone has for an entry of one of its tables: a
// name's records and their signatures, or a link of the chain and its.
func (e *Transferable) records(tree Tree, key, value []byte) []dns.RR {
	if tree == links {
		if len(value) == 0 {
			return nil
		}
		l := link(value)
		nsec3 := e.Chain.record(key, l)
		return e.appendSignatures([]dns.RR{nsec3}, l.signatures())
	}
	n := node(value)
	if n.empty() {
		return nil
	}
	rrs := e.Zone.rrset(tree, key, n)
	if e.Chain == nil {
		return rrs
	}
	return e.appendSignatures(rrs, n.signatures())
}

// appendSignatures appends stored signatures of rrset to it.
func (e *Transferable) appendSignatures(rrset []dns.RR, stored []byte) []dns.RR {
	header := rrset[0].Header()
	for sig := range eachSignature(stored, func() *dns.RRSIG { return new(dns.RRSIG) }) {
		sig.Hdr = dns.RR_Header{Name: header.Name, Rrtype: dns.TypeRRSIG, Class: dns.ClassINET, Ttl: header.Ttl}
		sig.TypeCovered = header.Rrtype
		sig.Labels = uint8(dns.CountLabel(header.Name))
		sig.SignerName = e.Keys.Signer
		rrset = append(rrset, sig)
	}
	return rrset
}
