package zone

import (
	"encoding/hex"
	"hash/fnv"
	"iter"

	"github.com/miekg/dns"

	"coredns-smimea/internal/table"
	"coredns-smimea/smimea"
)

// A Zone is one version of a zone. It is immutable and safe for concurrent
// use; [Zone.Edit] makes the next version.
//
// It is kept in two tables, one a sub-tree: from the 28 octets of a digest
// (Certs), or the labels before _smime (Texts), to a node.
type Zone struct {
	*Place
	Serial uint32

	prefix string // what the URLs of all TXT records begin with
	tables [2]*table.Table
	owners [2]int // names with records, by tree
	sum    uint64 // of all records, whatever their order: equal sums, equal zones
}

// NewZone returns an empty zone. Prefix is what the URLs in its TXT records
// have in common, so that it is not kept a million times.
func NewZone(p *Place, prefix string) *Zone {
	return &Zone{Place: p, prefix: prefix}
}

// Owners returns how many names of a sub-tree have records.
func (z *Zone) Owners(t Tree) int { return z.owners[t] }

// Sum returns a digest of all SMIMEA and TXT records: zones with the same
// records have the same sum, on every machine.
func (z *Zone) Sum() uint64 {
	h := fnv.New64a() // the same on every machine
	if z.owners[Texts] > 0 {
		h.Write([]byte(z.prefix)) // which the nodes leave out
	}
	return z.sum ^ h.Sum64()
}

// Size returns the octets that the zone takes.
func (z *Zone) Size() int { return z.tables[Certs].Size() + z.tables[Texts].Size() }

// A Kind is what a name is in a zone.
type Kind uint8

const (
	// Absent is a name that does not exist.
	Absent Kind = iota
	// EmptyNonTerminal is a name without records that has names below it.
	EmptyNonTerminal
	// Owner is a name with SMIMEA or TXT records.
	Owner
	// ApexName is the zone's own name.
	ApexName
	// HostName is the name of a name server inside the zone, with addresses.
	HostName
)

// A Name is a name as a zone knows it.
type Name struct {
	Kind Kind
	Tree Tree

	zone *Zone
	node node
	host *host
}

// Lookup returns what the zone has at a point that lies in it. It neither
// locks nor allocates.
func (z *Zone) Lookup(p Point) Name {
	n := Name{Tree: p.Tree, zone: z}
	if p.Apex {
		n.Kind = ApexName
		return n
	}
	if len(z.hosts) > 0 {
		if h, ok := z.hosts[string(p.Name)]; ok {
			n.Kind, n.host = HostName, h
			if h.rrs == nil {
				n.Kind = EmptyNonTerminal
			}
			return n
		}
	}
	if p.Tree == Rest {
		return n
	}
	if len(p.Rel) == 0 {
		n.Kind = EmptyNonTerminal
		return n
	}
	if p.Tree == Certs {
		var hash [smimea.HashSize]byte
		if len(p.Rel) != 1+2*smimea.HashSize || p.Rel[0] != 2*smimea.HashSize {
			return n
		}
		if _, err := hex.Decode(hash[:], p.Rel[1:]); err != nil {
			return n
		}
		value, ok := z.tables[Certs].Get(hash[:])
		if !ok {
			return n
		}
		n.Kind, n.node = Owner, value
		return n
	}
	value, ok := z.tables[Texts].Get(p.Rel)
	if !ok {
		return n
	}
	n.Kind, n.node = Owner, value
	if n.node.empty() {
		n.Kind = EmptyNonTerminal
	}
	return n
}

// Files yields the numbers of the files whose certificates are published at the
// digest of a local-part.
func (z *Zone) Files(hash [smimea.HashSize]byte) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		value, _ := z.tables[Certs].Get(hash[:])
		var first claim
		any := false
		for c := range node(value).claims(nil) {
			if c.surplus || any && c.variant != first.variant || !yield(c.file) {
				return
			}
			first, any = c, true
		}
	}
}

// Type returns the type of an owner's records.
func (n Name) Type() uint16 { return n.Tree.rrtype() }

// Types returns the types that exist at the name beside RRSIG and NSEC.
func (n Name) Types() []uint16 {
	switch n.Kind {
	case Owner:
		if n.Tree == Certs {
			return certTypes
		}
		return textTypes
	case ApexName:
		return apexTypes
	case HostName:
		var types []uint16
		for t := range n.host.rrs {
			types = append(types, t)
		}
		return types
	}
	return nil
}

var (
	certTypes = []uint16{dns.TypeSMIMEA}
	textTypes = []uint16{dns.TypeTXT}
	apexTypes = []uint16{dns.TypeSOA, dns.TypeNS}
)

// Host returns the records of a type at the name of a name server.
func (n Name) Host(qtype uint16) []dns.RR {
	if n.host == nil {
		return nil
	}
	return n.host.rrs[qtype]
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

// Records yields the zone's RRsets: SOA, NS and addresses first, where the
// zone has an apex, then every owner's in no useful order. Records are made as
// they are asked for.
func (z *Zone) Records() iter.Seq[[]dns.RR] {
	return func(yield func([]dns.RR) bool) {
		if z.Layout != Beside {
			if !yield([]dns.RR{z.SOA()}) || !yield(z.NS()) {
				return
			}
			for _, h := range z.hosts {
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

// owner returns the owner name of a table's key, in presentation form.
func (z *Zone) owner(tree Tree, key []byte) string {
	if tree == Certs {
		return hex.EncodeToString(key) + "." + z.suffix[Certs]
	}
	return Text(append(append(make([]byte, 0, smimea.MaxName), key...), 0)) + z.suffix[Texts]
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
