// Package discovertest is a small Internet for tests of who looks for
// certificates: signed zones on a name server that can be made to lie, and a web
// server with a certificate of its own authority. All of it is on this machine,
// on ports that the kernel picks, and gone when the test ends.
//
// The denials are those of RFC 9824, made for each question.
package discovertest

import (
	"crypto"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"coredns-smimea/internal/harness"

	"github.com/miekg/dns"
)

// A Zone is a zone to serve.
type Zone struct {
	Name     string   // without the final dot
	Records  []string // in the form of a zone file, names relative to the zone
	Unsigned bool
	// KeyOf is a zone before it in the list that it shares the key of.
	KeyOf string
}

// A Names is a name server that has zones.
type Names struct {
	// Address is where it listens, for UDP and TCP.
	Address string
	// Anchors are the DS records of those signed zones whose parent it does
	// not have.
	Anchors string

	t     testing.TB
	zones []*zone // the deepest first

	mu     sync.Mutex
	lie    func(*dns.Msg) *dns.Msg
	denied []uint16
}

type zone struct {
	name     string
	key      *dns.DNSKEY
	signer   crypto.Signer
	sets     map[string]map[uint16][]dns.RR
	expired  bool
	unsigned bool
}

// Serve starts a name server.
func Serve(t testing.TB, zones ...Zone) *Names {
	t.Helper()
	n := &Names{t: t}
	for _, z := range zones {
		n.zones = append(n.zones, n.load(z))
	}
	slices.SortStableFunc(n.zones, func(a, b *zone) int { return dns.CountLabel(b.name) - dns.CountLabel(a.name) })
	for _, z := range n.zones {
		n.delegate(z)
	}
	listener, packets, err := harness.Listen()
	if err != nil {
		t.Fatal(err)
	}
	n.Address = listener.Addr().String()
	for _, server := range []*dns.Server{{Listener: listener, Handler: n}, {PacketConn: packets, Handler: n}} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go server.ActivateAndServe()
		<-started
		t.Cleanup(func() { server.Shutdown() })
	}
	return n
}

// Lie has each answer changed before it is sent, or not sent if lie returns nil.
// Without a lie, answers are true again.
func (n *Names) Lie(lie func(*dns.Msg) *dns.Msg) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lie = lie
}

// Expire has a zone's signatures be of yesterday.
func (n *Names) Expire(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.zone(name).expired = true
}

// DenyWith has all denials, at names that exist and that do not, list the same
// types, as CoreDNS's dnssec does.
func (n *Names) DenyWith(types ...uint16) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.denied = types
}

func (n *Names) load(from Zone) *zone {
	n.t.Helper()
	z := &zone{name: dns.Fqdn(from.Name), sets: map[string]map[uint16][]dns.RR{}, unsigned: from.Unsigned}
	text := "$TTL 300\n@ IN SOA ns hostmaster 1 7200 3600 1209600 300\n@ IN NS ns\nns IN A 127.0.0.1\n" + strings.Join(from.Records, "\n") + "\n"
	parser := dns.NewZoneParser(strings.NewReader(text), z.name, "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		z.add(rr)
	}
	if err := parser.Err(); err != nil {
		n.t.Fatalf("zone %s: %v", z.name, err)
	}
	if z.unsigned {
		return z
	}
	z.key = &dns.DNSKEY{
		Hdr:   dns.RR_Header{Name: z.name, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 300},
		Flags: dns.ZONE | dns.SEP, Protocol: 3, Algorithm: dns.ECDSAP256SHA256,
	}
	if other := n.zone(from.KeyOf); other != nil {
		z.key.PublicKey, z.signer = other.key.PublicKey, other.signer
	} else {
		private, err := z.key.Generate(256)
		if err != nil {
			n.t.Fatal(err)
		}
		z.signer = private.(crypto.Signer)
	}
	z.add(z.key)
	return z
}

func (z *zone) add(rr dns.RR) {
	name := dns.CanonicalName(rr.Header().Name)
	if z.sets[name] == nil {
		z.sets[name] = map[uint16][]dns.RR{}
	}
	z.sets[name][rr.Header().Rrtype] = append(z.sets[name][rr.Header().Rrtype], rr)
}

// delegate adds a zone's delegation to its parent, if that is here.
func (n *Names) delegate(z *zone) {
	parent := n.above(z.name)
	if parent == nil {
		if !z.unsigned {
			n.Anchors += z.key.ToDS(dns.SHA256).String() + "\n"
		}
		return
	}
	parent.add(&dns.NS{Hdr: dns.RR_Header{Name: z.name, Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 300}, Ns: "ns." + parent.name})
	if !z.unsigned {
		parent.add(z.key.ToDS(dns.SHA256))
	}
}

// above returns the deepest zone above a name.
func (n *Names) above(name string) *zone {
	for _, z := range n.zones {
		if z.name != name && dns.IsSubDomain(z.name, name) {
			return z
		}
	}
	return nil
}

// ServeDNS answers one question.
func (n *Names) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	n.mu.Lock()
	m, lie := n.answer(q), n.lie
	n.mu.Unlock()
	if lie != nil {
		m = lie(m.Copy()) // the records are the zone's
	}
	if m == nil {
		return
	}
	if w.RemoteAddr().Network() == "udp" {
		size := dns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
		}
		m.Truncate(size)
	}
	w.WriteMsg(m)
}

func (n *Names) answer(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	if opt := q.IsEdns0(); opt != nil {
		m.SetEdns0(1232, opt.Do())
	}
	name, qtype := dns.CanonicalName(q.Question[0].Name), q.Question[0].Qtype
	z := n.above(name)
	for _, own := range n.zones {
		if own.name == name && (qtype != dns.TypeDS || z == nil) {
			z = own
		}
	}
	if z == nil {
		m.Rcode = dns.RcodeRefused
		return m
	}
	m.Authoritative = true
	set, ok := z.sets[name][qtype]
	if !ok {
		set, ok = z.sets[name][dns.TypeCNAME]
	}
	if ok {
		m.Answer = z.sign(set)
		return m
	}
	exists := len(z.sets[name]) > 0
	for other := range z.sets {
		exists = exists || dns.IsSubDomain(name, other)
	}
	m.Ns = z.sign(z.sets[z.name][dns.TypeSOA])
	if z.unsigned {
		if !exists {
			m.Rcode = dns.RcodeNameError
		}
		return m
	}
	types := []uint16{dns.TypeRRSIG, dns.TypeNSEC}
	for t := range z.sets[name] {
		types = append(types, t)
	}
	if !exists {
		types = append(types, dns.TypeNXNAME)
	}
	if n.denied != nil {
		types = slices.DeleteFunc(slices.Clone(n.denied), func(t uint16) bool { return t == qtype })
	}
	slices.Sort(types)
	m.Ns = append(m.Ns, z.sign([]dns.RR{&dns.NSEC{
		Hdr:        dns.RR_Header{Name: name, Rrtype: dns.TypeNSEC, Class: dns.ClassINET, Ttl: 300},
		NextDomain: `\000.` + name, TypeBitMap: types,
	}})...)
	return m
}

// Key returns the key of a signed zone.
func (n *Names) Key(zone string) *dns.DNSKEY {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.zone(zone).key
}

// zone returns a zone, nil if there is none of the name.
func (n *Names) zone(name string) *zone {
	for _, z := range n.zones {
		if z.name == dns.Fqdn(name) {
			return z
		}
	}
	return nil
}

// Sign returns records of a zone with the signature of its key: what a cache has that
// asked before the zone was changed.
func (n *Names) Sign(zone string, set ...dns.RR) []dns.RR {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.zone(zone).sign(set)
}

func (z *zone) sign(set []dns.RR) []dns.RR {
	signed := slices.Clone(set)
	if z.unsigned {
		return signed
	}
	const validity = 7 * 24 * time.Hour
	now := time.Now()
	if z.expired {
		now = now.Add(-validity - time.Hour)
	}
	sig := &dns.RRSIG{
		Hdr:       dns.RR_Header{Ttl: set[0].Header().Ttl},
		Algorithm: z.key.Algorithm, KeyTag: z.key.KeyTag(), SignerName: z.name,
		Inception: uint32(now.Add(-time.Hour).Unix()), Expiration: uint32(now.Add(validity).Unix()),
	}
	if err := sig.Sign(z.signer, set); err != nil {
		panic(fmt.Sprintf("signing %v: %v", set, err))
	}
	return append(signed, sig)
}
