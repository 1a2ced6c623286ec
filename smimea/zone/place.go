package zone

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"coredns-smimea/smimea"
)

// A Layout is the part of the DNS that a zone covers.
type Layout uint8

const (
	// SubZone is a zone of its own at _smimecert.D or _smime.D.
	SubZone Layout = iota
	// Whole is all of the mail domain's zone: apex, both sub-trees, and the
	// non-existence of everything else.
	Whole
	// Beside is the two sub-trees only of a zone that somebody else serves.
	Beside
)

// A Tree is one of the sub-trees of a mail domain, or what surrounds them.
type Tree uint8

const (
	Certs Tree = iota // _smimecert.D: SMIMEA records at digests of local-parts
	Texts             // _smime.D: TXT records at the local-parts themselves
	Rest              // other names of a Whole zone
)

// rrtype is the type that a tree's owners have.
func (t Tree) rrtype() uint16 {
	if t == Texts {
		return dns.TypeTXT
	}
	return dns.TypeSMIMEA
}

// A Place is what does not change about a zone: its names, its apex, its TTLs.
type Place struct {
	Origin string // the zone's name: lower case, final dot
	Domain string // the mail domain whose users it holds: A-labels, no final dot
	Layout Layout
	TTL    uint32 // of SMIMEA, TXT, NS and address records, in seconds
	Apex   Apex   // unused Beside

	origin  []byte             // Origin in wire form
	servers map[string]*server // name servers inside the zone, by owner in wire form
	trees   map[string]Tree    // the sub-trees' roots in wire form
	suffix  [2]string          // by Tree: what follows an owner's own labels
}

// An Apex is the configuration of a zone's own records (RFC 1035 section 3.3.13).
type Apex struct {
	NS       []NameServer
	Mailbox  string // in the form of a name
	Refresh  uint32 // seconds, as are the next three
	Retry    uint32
	Expire   uint32
	Negative uint32 // the SOA's minimum, and the TTL of denials
}

// A NameServer is the target of an NS record, with addresses where it lies in the zone.
type NameServer struct {
	Name      string
	Addresses []netip.Addr
}

// A server is a name server's name inside the zone, or, without records, an empty
// non-terminal above one.
type server struct {
	rrs map[uint16][]dns.RR
}

// NewPlace completes p from its Origin, Layout and Apex. A zone called
// _smimecert.D or _smime.D is a SubZone of D, every other one holds D itself.
func NewPlace(p Place) (*Place, error) {
	p.Origin = smimea.LowerASCII(dns.Fqdn(p.Origin))
	domain := p.Origin
	p.trees = map[string]Tree{}
	for tree, label := range map[Tree]string{Certs: smimea.CertsLabel, Texts: smimea.TextsLabel} {
		if rest, sub := strings.CutPrefix(p.Origin, label+"."); sub {
			p.Layout, domain = SubZone, rest
			p.suffix[tree] = p.Origin
		}
	}
	if domain == p.Origin {
		if p.Layout == SubZone {
			p.Layout = Whole
		}
		p.suffix = [2]string{Certs: smimea.CertsLabel + "." + p.Origin, Texts: smimea.TextsLabel + "." + p.Origin}
	}
	var err error
	if p.Domain, err = smimea.ParseDomain(strings.TrimSuffix(domain, ".")); err != nil {
		return nil, fmt.Errorf("the zone %s is no mail domain's: %w", p.Origin, err)
	}
	if p.origin, err = Wire(p.Origin); err != nil {
		return nil, fmt.Errorf("the zone %s: %w", p.Origin, err)
	}
	for tree, suffix := range p.suffix {
		if suffix != "" {
			wire, err := Wire(suffix)
			if err != nil {
				return nil, fmt.Errorf("the zone %s: %w", p.Origin, err)
			}
			p.trees[string(wire)] = Tree(tree)
		}
	}
	return &p, p.addServers()
}

func (p *Place) addServers() error {
	p.servers = map[string]*server{}
	for _, ns := range p.Apex.NS {
		wire, err := Wire(smimea.LowerASCII(ns.Name))
		if err != nil {
			return fmt.Errorf("the name server %q: %w", ns.Name, err)
		}
		if len(ns.Addresses) == 0 {
			continue
		}
		if !strings.HasSuffix(string(wire), string(p.origin)) || !dns.IsSubDomain(p.Origin, ns.Name) {
			return fmt.Errorf("the name server %q lies outside of %s: its addresses are for its own zone to give", ns.Name, p.Origin)
		}
		if len(wire) == len(p.origin) {
			return errors.New("the apex itself cannot be a name server with addresses")
		}
		for name := wire[1+wire[0]:]; len(name) > len(p.origin); name = name[1+name[0]:] {
			if p.servers[string(name)] == nil {
				p.servers[string(name)] = &server{}
			}
		}
		h := &server{rrs: map[uint16][]dns.RR{}}
		for _, a := range ns.Addresses {
			header := dns.RR_Header{Name: smimea.LowerASCII(ns.Name), Class: dns.ClassINET, Ttl: p.TTL}
			if a = a.Unmap(); a.Is4() {
				header.Rrtype = dns.TypeA
				h.rrs[dns.TypeA] = append(h.rrs[dns.TypeA], &dns.A{Hdr: header, A: a.AsSlice()})
			} else {
				header.Rrtype = dns.TypeAAAA
				h.rrs[dns.TypeAAAA] = append(h.rrs[dns.TypeAAAA], &dns.AAAA{Hdr: header, AAAA: a.AsSlice()})
			}
		}
		p.servers[string(wire)] = h
	}
	return nil
}

// Serves reports whether the place has the tree.
func (p *Place) Serves(t Tree) bool { return t < Rest && p.suffix[t] != "" }

// Ours returns the names at and below which all names are the place's.
func (p *Place) Ours() []string {
	if p.Layout == Beside {
		return p.suffix[:]
	}
	return []string{p.Origin}
}

// A Point is where a name lies.
type Point struct {
	Zone int    // index of the place, as given to NewIndex
	Tree Tree   // the sub-tree that the name lies in
	Name []byte // the whole name in wire form, lower case
	Rel  []byte // its labels before the sub-tree's root, without the root octet
	Apex bool   // the name is the zone's apex
}

// An Index finds the zone that a name lies in.
type Index struct {
	anchors map[string]anchor
	below   bool // all anchors are names with an underscore
}

type anchor struct {
	zone int
	tree Tree
	apex bool
}

// NewIndex makes an index of places, which must not hold one another's names.
func NewIndex(places []*Place) (*Index, error) {
	x := &Index{anchors: map[string]anchor{}}
	for i, p := range places {
		for root, tree := range p.trees {
			if other, taken := x.anchors[root]; taken {
				return nil, fmt.Errorf("the zones %s and %s both hold %s", places[other.zone].Origin, p.Origin, p.suffix[tree])
			}
			x.anchors[root] = anchor{zone: i, tree: tree, apex: root == string(p.origin)}
		}
	}
	for i, p := range places {
		if p.Layout == Whole {
			x.anchors[string(p.origin)] = anchor{zone: i, tree: Rest, apex: true}
		}
	}
	x.below = true
	for root := range x.anchors {
		x.below = x.below && strings.IndexByte(root, '_') >= 0
	}
	return x, nil
}

// Foreign reports whether a name in presentation form can be told to lie in none
// of the zones at first sight: other names of a domain do without underscores.
func (x *Index) Foreign(name string) bool {
	return x.below && strings.IndexByte(name, '_') < 0 && strings.IndexByte(name, '\\') < 0
}

// Find returns where a name in lower-case wire form lies, by the longest zone.
func (x *Index) Find(name []byte) (Point, bool) {
	for off := 0; ; off += 1 + int(name[off]) {
		if a, ok := x.anchors[string(name[off:])]; ok {
			return Point{Zone: a.zone, Tree: a.tree, Name: name, Rel: name[:off], Apex: a.apex && off == 0}, true
		}
		if name[off] == 0 {
			return Point{}, false
		}
	}
}

// Wire returns the wire form of a name in presentation form, in lower case.
func Wire(name string) ([]byte, error) {
	return AppendWire(make([]byte, 0, smimea.MaxName), name)
}

// AppendWire appends the wire form of a name to dst, in lower case. It does not
// allocate if dst has room for 255 octets.
func AppendWire(dst []byte, name string) ([]byte, error) {
	if wire, ok := appendPlain(dst, name); ok {
		return wire, nil
	}
	grown := slices.Grow(dst, smimea.MaxName)
	wire := grown[len(dst) : len(dst)+smimea.MaxName]
	n, err := dns.PackDomainName(name, wire, 0, nil, false)
	if err != nil {
		return nil, err
	}
	wire = wire[:n]
	for off := 0; wire[off] != 0; {
		end := off + 1 + int(wire[off])
		for i := off + 1; i < end; i++ {
			if wire[i] >= 'A' && wire[i] <= 'Z' {
				wire[i] += 'a' - 'A'
			}
		}
		off = end
	}
	return grown[:len(dst)+n], nil
}

// Text returns the presentation form of a name in wire form. A first label that begins
// with *, and is more than that, is escaped: miekg/dns takes every name that begins with
// * for a wildcard, and would sign it over a name with a label less.
func Text(wire []byte) string {
	name, _, err := dns.UnpackDomainName(wire, 0)
	if err != nil {
		return "." // not reached: wire has been a name before
	}
	if name[0] == '*' && wire[0] > 1 {
		return `\042` + name[1:]
	}
	return name
}
