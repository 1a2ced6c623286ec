package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// A zone is what the tests expect a zone to hold: the table of answers,
// worked out from a list of records alone.
type zone struct {
	origin string
	apex   bool                           // the plugin serves the apex; otherwise it is another's
	nodes  map[string]map[uint16][]dns.RR // by owner in wire form; an empty node is an empty non-terminal
}

// newZone returns the zone of these records and of every name above one of them.
func newZone(t testing.TB, origin string, apex bool, rrs []dns.RR) *zone {
	t.Helper()
	z := &zone{origin: origin, apex: apex, nodes: map[string]map[uint16][]dns.RR{}}
	end := wire(t, origin)
	for _, rr := range rrs {
		owner := wire(t, rr.Header().Name)
		if !strings.HasSuffix(owner, end) {
			t.Fatalf("%s is not in %s", rr, origin)
		}
		for name := owner; len(name) >= len(end); name = name[1+name[0]:] {
			if z.nodes[name] == nil {
				z.nodes[name] = map[uint16][]dns.RR{}
			}
			if name == end {
				break
			}
		}
		node := z.nodes[owner]
		node[rr.Header().Rrtype] = append(node[rr.Header().Rrtype], rr)
	}
	return z
}

// apexRecords are the SOA, the NS, and CDS and CDNSKEY if there are any, of a zone whose apex the plugin serves, as the
// server gives them: the serial is its own.
func apexRecords(t *testing.T, addr, origin, mbox string, negative uint32, ns ...string) []dns.RR {
	t.Helper()
	m, _ := ask(t, addr, question{name: origin, qtype: dns.TypeSOA})
	if len(m.Answer) != 1 || m.Answer[0].Header().Rrtype != dns.TypeSOA {
		t.Fatalf("no SOA at %s:\n%s", origin, m)
	}
	soa := m.Answer[0].(*dns.SOA)
	if soa.Ns != ns[0] || soa.Mbox != mbox || soa.Minttl != negative || soa.Serial == 0 || soa.Hdr.Name != origin {
		t.Errorf("SOA is %s, want ns %s, mbox %s, minimum %d and a serial", soa, ns[0], mbox, negative)
	}
	rrs := []dns.RR{soa}
	m, _ = ask(t, addr, question{name: origin, qtype: dns.TypeNS})
	var names []string
	for _, rr := range m.Answer {
		if n, ok := rr.(*dns.NS); ok {
			names = append(names, n.Ns)
			rrs = append(rrs, rr)
		}
	}
	if !slices.Equal(names, ns) {
		t.Errorf("NS of %s are %q, want %q", origin, names, ns)
	}
	for _, rtype := range []uint16{dns.TypeCDS, dns.TypeCDNSKEY} { // where the zone is signed
		m, _ = ask(t, addr, question{name: origin, qtype: rtype})
		rrs = append(rrs, m.Answer...)
	}
	return rrs
}

// A denial is what a negative answer has to say.
type denial struct {
	rcode int
	types []uint16 // of the NSEC; only where the denial is signed
}

// expect returns the RRset that answers the question, or the denial.
func (z *zone) expect(t testing.TB, q question, signed bool) ([]dns.RR, denial) {
	t.Helper()
	proof := signed && q.do
	name := wire(t, q.name)
	node, exists := z.nodes[name]
	if !exists {
		if proof && !q.co {
			return nil, denial{dns.RcodeSuccess, []uint16{dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNXNAME}}
		}
		return nil, denial{dns.RcodeNameError, []uint16{dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNXNAME}}
	}
	if rrs := node[q.qtype]; rrs != nil {
		return rrs, denial{}
	}
	types := []uint16{dns.TypeRRSIG, dns.TypeNSEC}
	for rtype := range node {
		types = append(types, rtype)
	}
	if name == wire(t, z.origin) {
		types = append(types, dns.TypeDNSKEY)
	}
	slices.Sort(types)
	return nil, denial{dns.RcodeSuccess, types}
}

// check asks addr and compares the answer with what the zone says, down to the
// signatures.
func (z *zone) check(t *testing.T, addr string, k *keys, q question) {
	t.Helper()
	signed := len(k.dnskeys) > 0
	m, b := ask(t, addr, q)
	sameBothWays(t, addr, q, b)
	limit := 65535
	if !q.tcp {
		limit = max(512, int(q.size))
	}
	if len(b) > limit {
		t.Errorf("%s: answer of %d octets, want at most %d", q, len(b), limit)
	}
	if opt := m.IsEdns0(); (opt != nil) != (q.size > 0) {
		t.Errorf("%s: OPT in the answer is %v", q, opt)
	}
	if m.Truncated {
		if q.tcp {
			t.Errorf("%s: truncated over TCP", q)
			return
		}
		full := q
		full.tcp = true
		complete, _ := ask(t, addr, full)
		complete.Compress = true
		// Above udp_limit our answers go over TCP, whatever size is offered.
		if n := complete.Len(); n <= min(limit, 1232) {
			t.Errorf("%s: truncated, but the answer has %d octets and the limit is %d", q, n, limit)
		}
		z.check(t, addr, k, full)
		return
	}
	rrs, no := z.expect(t, q, signed)
	if q.qtype == dns.TypeANY { // one RRset of those there (RFC 8482)
		for _, set := range z.nodes[wire(t, q.name)] {
			if len(m.Answer) > 0 && m.Answer[0].Header().Rrtype == set[0].Header().Rrtype {
				rrs = set
			}
		}
		if rrs == nil && len(z.nodes[wire(t, q.name)]) > 0 {
			t.Errorf("%s: no RRset of the name:\n%s", q, m)
			return
		}
	}
	if m.Rcode != no.rcode || !m.Authoritative || m.RecursionAvailable || m.AuthenticatedData {
		t.Errorf("%s: want rcode %s, aa:\n%s", q, dns.RcodeToString[no.rcode], m)
	}
	extra := len(m.Extra)
	if q.size > 0 {
		extra--
	}
	if extra != 0 {
		t.Errorf("%s: records in the additional section:\n%s", q, m)
	}
	proof := signed && q.do
	if len(rrs) > 0 {
		z.compare(t, q, m.Answer, rrs, proof)
		if len(m.Ns) != 0 {
			t.Errorf("%s: records in the authority section:\n%s", q, m)
		}
		if proof {
			k.verify(t, q.String(), z.origin, m.Answer)
		}
		return
	}
	if len(m.Answer) != 0 {
		t.Errorf("%s: an answer where none is:\n%s", q, m)
		return
	}
	z.checkDenial(t, k, q, m, no, proof)
}

// compare checks that a section has exactly these records, and their signatures only
// where they were asked for.
func (z *zone) compare(t *testing.T, q question, section, want []dns.RR, proof bool) {
	t.Helper()
	var got, expected []string
	for _, rr := range section {
		if rr.Header().Rrtype == dns.TypeRRSIG {
			if !proof {
				t.Errorf("%s: a signature that was not asked for: %s", q, rr)
			}
			continue
		}
		if name := rr.Header().Name; name != strings.ToLower(name) {
			t.Errorf("%s: owner %s is not in the zone's case", q, name)
		}
		got = append(got, record(t, rr))
	}
	for _, rr := range want {
		expected = append(expected, record(t, rr))
	}
	slices.Sort(got)
	slices.Sort(expected)
	if !slices.Equal(got, expected) {
		t.Errorf("%s:\n got %s\nwant %s", q, texts(section), texts(want))
	}
}

// checkDenial checks the authority section of a negative answer.
func (z *zone) checkDenial(t *testing.T, k *keys, q question, m *dns.Msg, no denial, proof bool) {
	t.Helper()
	var soa *dns.SOA
	var nsec *dns.NSEC
	for _, rr := range m.Ns {
		switch rr := rr.(type) {
		case *dns.SOA:
			if soa != nil {
				t.Errorf("%s: two SOA", q)
			}
			soa = rr
		case *dns.NSEC:
			if nsec != nil {
				t.Errorf("%s: two NSEC", q)
			}
			nsec = rr
		case *dns.RRSIG:
		default:
			t.Errorf("%s: in the authority section: %s", q, rr)
		}
	}
	if soa == nil || wire(t, soa.Hdr.Name) != wire(t, z.origin) {
		t.Errorf("%s: no SOA of %s:\n%s", q, z.origin, m)
		return
	}
	real := z.nodes[wire(t, z.origin)][dns.TypeSOA][0].(*dns.SOA)
	ttl := min(real.Hdr.Ttl, real.Minttl)
	same := dns.Copy(real).(*dns.SOA)
	same.Hdr.Ttl = ttl
	if record(t, soa) != record(t, same) {
		t.Errorf("%s: SOA of the denial\n got %s\nwant %s", q, soa, same)
	}
	if !proof {
		if nsec != nil || len(m.Ns) != 1 {
			t.Errorf("%s: more than the SOA:\n%s", q, m)
		}
		return
	}
	if nsec == nil {
		t.Errorf("%s: no NSEC:\n%s", q, m)
		return
	}
	k.verify(t, q.String(), z.origin, m.Ns)
	if wire(t, nsec.Hdr.Name) != wire(t, q.name) {
		t.Errorf("%s: NSEC at %s", q, nsec.Hdr.Name)
	}
	if next, want := wire(t, nsec.NextDomain), "\x01\x00"+wire(t, q.name); next != want && len(want) <= 255 {
		t.Errorf("%s: next name of the NSEC is %q, want %q", q, next, want)
	}
	if nsec.Hdr.Ttl != ttl {
		t.Errorf("%s: TTL of the NSEC is %d, want %d", q, nsec.Hdr.Ttl, ttl)
	}
	if !slices.Equal(nsec.TypeBitMap, no.types) {
		t.Errorf("%s: types of the NSEC %s, want %s", q, typeNames(nsec.TypeBitMap), typeNames(no.types))
	}
}

func typeNames(types []uint16) string {
	var names []string
	for _, rtype := range types {
		names = append(names, dns.Type(rtype).String())
	}
	return fmt.Sprint(names)
}

func texts(rrs []dns.RR) string {
	var b strings.Builder
	for _, rr := range rrs {
		b.WriteString("\n\t" + rr.String())
	}
	return b.String()
}

// text is the zone in the form of a zone file.
func (z *zone) text(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	apex := map[uint16]int{dns.TypeSOA: -2, dns.TypeNS: -1}
	var rrs []dns.RR
	for _, node := range z.nodes {
		for _, set := range node {
			rrs = append(rrs, set...)
		}
	}
	slices.SortStableFunc(rrs, func(a, b dns.RR) int { // SOA first
		return apex[a.Header().Rrtype] - apex[b.Header().Rrtype]
	})
	for _, rr := range rrs {
		_, rest, _ := strings.Cut(rr.String(), "\t")
		b.WriteString(plainText(t, rr.Header().Name) + "\t" + rest + "\n")
	}
	return b.String()
}

// plainText is a name with every octet escaped by number that is not a letter, a
// digit, a hyphen or an underscore: name servers agree on those. (Knot refuses \'.)
func plainText(t testing.TB, name string) string {
	t.Helper()
	var b strings.Builder
	for octets := wire(t, name); octets[0] != 0; octets = octets[1+octets[0]:] {
		for _, c := range []byte(octets[1 : 1+octets[0]]) {
			if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' {
				b.WriteByte(c)
			} else {
				fmt.Fprintf(&b, "\\%03d", c)
			}
		}
		b.WriteByte('.')
	}
	return b.String()
}
