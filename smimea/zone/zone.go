package zone

import (
	"encoding/hex"
	"hash/fnv"
	"iter"
	"slices"

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

// Prefix returns what the URLs in all TXT records begin with, for [Restore].
func (z *Zone) Prefix() string { return z.prefix }

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
	// ServerName is the name of a name server inside the zone, with addresses.
	ServerName
)

// A Name is a name as a zone knows it.
type Name struct {
	Kind Kind
	Tree Tree

	zone   *Zone
	node   node
	server *server
}

// Lookup returns what the zone has at a point that lies in it. It neither
// locks nor allocates.
func (z *Zone) Lookup(p Point) Name {
	n := Name{Tree: p.Tree, zone: z}
	if p.Apex {
		n.Kind = ApexName
		return n
	}
	if len(z.servers) > 0 {
		if h, ok := z.servers[string(p.Name)]; ok {
			n.Kind, n.server = ServerName, h
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
	case ServerName:
		var types []uint16
		for t := range n.server.rrs {
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

// Addresses returns the records of a type at the name of a name server.
func (n Name) Addresses(qtype uint16) []dns.RR {
	if n.server == nil {
		return nil
	}
	return n.server.rrs[qtype]
}

// At returns the same records at another place of the same origin, which may have
// other TTLs and another apex. Prefix is that of NewZone; what the URLs of the
// records that are there have in common with it is kept.
func (z *Zone) At(p *Place, prefix string) *Zone {
	next := *z
	if prefix != z.prefix {
		next = *z.shared(prefix)
	}
	next.Place = p
	return &next
}

// shared returns the zone with a shorter prefix, which all its URLs, and those
// that begin with another prefix, begin with.
func (z *Zone) shared(prefix string) *Zone {
	n := 0
	for n < len(prefix) && n < len(z.prefix) && prefix[n] == z.prefix[n] {
		n++
	}
	if z.owners[Texts] == 0 {
		next := *z
		next.prefix = prefix
		return &next
	}
	if n == len(z.prefix) {
		return z // the longer one begins with it
	}
	tail := []byte(z.prefix[n:])
	e := z.Edit()
	e.before[Texts] = nil // all of them differ
	for key, value := range z.tables[Texts].All() {
		old := node(value)
		below, _ := old.below()
		claims := slices.Collect(old.claims(nil))
		for i := range claims {
			claims[i].data = slices.Concat(tail, claims[i].data)
		}
		changed := old.with(below, claims, e.fixed(Texts)-len(tail))
		if !changed.empty() {
			changed = changed.signed(old.signatures()) // the records are the same
		}
		e.put(Texts, key, changed)
		e.sum += changed.sum(Texts, key) - old.sum(Texts, key)
	}
	next, _ := e.Zone(func(serial uint32) uint32 { return serial })
	next.prefix = z.prefix[:n]
	return next
}
