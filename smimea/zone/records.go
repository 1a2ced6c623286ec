package zone

import (
	"bytes"
	"encoding/hex"
	"iter"
	"slices"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/smimea"
)

// Records yields the zone's RRsets: SOA, NS and addresses first, where the
// zone has an apex, then every owner's in no useful order. Records are made as
// they are asked for.
func (z *Zone) Records() iter.Seq[[]dns.RR] {
	return func(yield func([]dns.RR) bool) {
		if z.Layout != Beside {
			if !yield([]dns.RR{z.SOA()}) || !yield(z.NS()) {
				return
			}
			for _, h := range z.servers {
				for _, rrs := range h.rrs {
					if !yield(rrs) {
						return
					}
				}
			}
		}
		for tree := range z.tables {
			for key, value := range z.tables[tree].All() {
				if !node(value).empty() && !yield(z.rrset(Tree(tree), key, value)) {
					return
				}
			}
		}
	}
}

// SOA returns the zone's SOA record, with its TTL as an answer. In a denial
// it is the lesser of that and the minimum (RFC 2308 section 5).
func (z *Zone) SOA() *dns.SOA {
	return &dns.SOA{
		Hdr:     dns.RR_Header{Name: z.Origin, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: z.TTL},
		Ns:      z.Apex.NS[0].Name,
		Mbox:    z.Apex.Mailbox,
		Serial:  z.Serial,
		Refresh: z.Apex.Refresh,
		Retry:   z.Apex.Retry,
		Expire:  z.Apex.Expire,
		Minttl:  z.Apex.Negative,
	}
}

// NS returns the zone's NS records.
func (z *Zone) NS() []dns.RR {
	var rrs []dns.RR
	for _, ns := range z.Apex.NS {
		rrs = append(rrs, &dns.NS{
			Hdr: dns.RR_Header{Name: z.Origin, Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: z.TTL},
			Ns:  ns.Name,
		})
	}
	return rrs
}

// apexSets returns the NS records and those of name servers inside the zone, in
// the same order for every version.
func (z *Zone) apexSets() [][]dns.RR {
	sets := [][]dns.RR{z.NS()}
	var names []string
	for name := range z.servers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, rtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
			if rrs := z.servers[name].rrs[rtype]; len(rrs) > 0 {
				sets = append(sets, rrs)
			}
		}
	}
	return sets
}

// owner returns the owner name of a table's key, in presentation form.
func (z *Zone) owner(tree Tree, key []byte) string {
	if tree == Certs {
		return hex.EncodeToString(key) + "." + z.suffix[Certs]
	}
	return Text(append(append(make([]byte, 0, smimea.MaxName), key...), 0)) + z.suffix[Texts]
}

// ownerWire returns the owner name of a table's key in wire form.
func (z *Zone) ownerWire(tree Tree, key []byte) []byte {
	wire, _ := Wire(z.owner(tree, key)) // which has been a name before
	return wire
}

func (z *Zone) rrset(tree Tree, key []byte, n node) []dns.RR {
	owner := z.owner(tree, key)
	var rrs []dns.RR
	for data := range n.data() {
		rrs = append(rrs, z.record(tree, owner, data))
	}
	return rrs
}

// record makes a record of a claim's data.
func (z *Zone) record(tree Tree, owner string, data []byte) dns.RR {
	header := dns.RR_Header{Name: owner, Rrtype: tree.rrtype(), Class: dns.ClassINET, Ttl: z.TTL}
	if tree == Certs {
		rr := &dns.SMIMEA{Hdr: header}
		setCert(rr, data)
		return rr
	}
	rr := &dns.TXT{Hdr: header}
	rr.Txt = z.strings(nil, data)
	return rr
}

func setCert(rr *dns.SMIMEA, data []byte) {
	rr.Usage, rr.Selector, rr.MatchingType = data[0], data[1], data[2]
	rr.Certificate = hex.EncodeToString(data[3:])
}

// strings appends the strings of a TXT record: a URL, cut where it is longer
// than one string can be. URLs need no escapes.
func (z *Zone) strings(dst []string, data []byte) []string {
	url := z.prefix + string(data)
	for len(url) > smimea.MaxString {
		dst = append(dst, url[:smimea.MaxString])
		url = url[smimea.MaxString:]
	}
	return append(dst, url)
}

// An RRset is the records of one owner, to be signed.
type RRset struct {
	Records []dns.RR

	tree Tree
	key  []byte
	node node
}

// RRset returns the records of the owner that lies at a point, to be signed.
func (z *Zone) RRset(p Point, n Name) RRset {
	// A copy: the point is gone with the query that asks for it.
	var key []byte
	if p.Tree == Certs {
		for i := 1; i < len(p.Rel); i += 2 {
			key = append(key, unhex(p.Rel[i])<<4|unhex(p.Rel[i+1]))
		}
	} else {
		key = append(key, p.Rel...)
	}
	return RRset{z.rrset(n.Tree, key, n.node), n.Tree, key, n.node}
}

// RRsetOf returns the records of a difference as they are after it, to be signed. It
// reports false if there are none left.
func (z *Zone) RRsetOf(d Difference) (s RRset, ok bool) {
	if d.new.empty() {
		return RRset{}, false
	}
	return RRset{z.rrset(d.Tree, d.key, d.new), d.Tree, d.key, d.new}, true
}

// Unsigned yields the RRsets of one page of a sub-tree, 0 <= page < Pages, that
// have no signatures by these keys, or such as expire within margin. For each
// name margin is longer by up to spread, so that signatures that were made
// together are not all made anew together.
func (z *Zone) Unsigned(t Tree, page int, k Keys, now time.Time, margin, spread time.Duration) iter.Seq[RRset] {
	return func(yield func(RRset) bool) {
		for key, value := range z.tables[t].Page(page) {
			n := node(value)
			if n.empty() {
				continue
			}
			early := time.Duration(n.sum(t, key)%1024) * spread / 1024
			if !fresh(n.signatures(), k, now, margin+early) && !yield(RRset{z.rrset(t, key, n), t, key, n}) {
				return
			}
		}
	}
}

// Pages returns the number of pages of a sub-tree.
func (z *Zone) Pages(t Tree) int { return z.tables[t].Pages() }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c - 'a' + 10
}

// NSEC returns the record that denies every type but those that exist at a
// name, and, where the name does not exist, says so (RFC 9824 sections 3.1 to
// 3.3). It covers nothing but the name itself.
//
// Name is the owner in wire form, lower case; extra are types at the name that
// the zone does not know of, such as DNSKEY at its apex.
func (z *Zone) NSEC(n Name, name []byte, ttl uint32, extra ...uint16) *dns.NSEC {
	next := successor(name)
	if !within(next, z.origin) {
		next = z.origin // what a zone's last NSEC points to
	}
	types := slices.Concat(n.Types(), extra, []uint16{dns.TypeRRSIG, dns.TypeNSEC})
	if n.Kind == Absent {
		types = append(types, dns.TypeNXNAME)
	}
	slices.Sort(types)
	return &dns.NSEC{
		Hdr:        dns.RR_Header{Name: Text(name), Rrtype: dns.TypeNSEC, Class: dns.ClassINET, Ttl: ttl},
		NextDomain: Text(next),
		TypeBitMap: slices.Compact(types),
	}
}

// within reports whether a name is at or below another, both in wire form.
func within(name, other []byte) bool {
	for off := 0; !bytes.Equal(name[off:], other); off += 1 + int(name[off]) {
		if name[off] == 0 {
			return false
		}
	}
	return true
}
