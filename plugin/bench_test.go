package plugin

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/dnssec"
	"github.com/coredns/coredns/plugin/erratic"
	"github.com/coredns/coredns/plugin/pkg/cache"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"

	"coredns-smimea/plugin/internal/answer"
	"coredns-smimea/plugin/internal/publish"
	"coredns-smimea/plugin/internal/secondary"
	"coredns-smimea/plugin/internal/sign"
	"coredns-smimea/smimea"
	"coredns-smimea/smimea/zone"
)

// bench is a block with users whose records are signed, without its server.
type bench struct {
	*SMIMEA
	snapshot atomic.Pointer[publish.Snapshot]
	place    *zone.Place
	users    int
}

const benchZone = "bench.example."

func benchAddress(i int) smimea.Address {
	return smimea.Address{Local: fmt.Sprintf("first%d.last%d", i%1000, i/1000), Domain: "bench.example"}
}

// newBench makes a block whose zone has users, as the publisher makes it.
func newBench(tb testing.TB, users int) *bench {
	tb.Helper()
	conf := defaults()
	place, err := conf.place(benchZone, zone.Whole)
	if err != nil {
		tb.Fatal(err)
	}
	b := &bench{
		SMIMEA: &SMIMEA{config: conf, counters: []*counters{newCounters(benchZone)}, lease: &publish.Lease{Publisher: new(publish.Publisher)}},
		place:  place, users: users,
	}
	index, err := zone.NewIndex([]*zone.Place{place})
	if err != nil {
		tb.Fatal(err)
	}
	b.answers = &answer.Block{
		Index:    index,
		Snapshot: &b.snapshot,
		Signer:   sign.New(newDNSSEC(tb), []*zone.Place{place}, true, clock),
		Now:      clock,
		Offer:    func(sign.Batch) {},
		UDPLimit: conf.answered.udpLimit,
	}
	b.primary = secondary.NewPrimary(nil, secondary.Options{Most: 1})
	edit := zone.NewZone(place, "https://bench.example/.well-known/smime/").Edit()
	for i := range users {
		a := benchAddress(i)
		cert := append([]byte{3, 1, 1}, make([]byte, 32)...)
		cert[3], cert[4], cert[5] = byte(i), byte(i>>8), byte(i>>16)
		url := conf.published.URL.Expand(a.Domain, fmt.Sprintf("d%03d/%s.pem", i/1000, a.Local), a.Label())
		if err := edit.Publish(a, zone.Publication{File: uint32(i + 1), Certs: [][]byte{cert}, URL: url}); err != nil {
			tb.Fatal(err)
		}
	}
	z, _ := edit.Zone(func(uint32) uint32 { return 1 })
	b.serve(tb, z, b.answers.Signer.Sign)
	return b
}

// follow has the plugin behind ours be next.
func (b *bench) follow(next plugin.Handler) { b.Next, b.answers.Next = next, next }

// serve serves a zone with signatures of what it has.
func (b *bench) serve(tb testing.TB, z *zone.Zone, sigs func([]dns.RR) ([]dns.RR, error)) {
	tb.Helper()
	signed, keys := z.Edit(), b.answers.Signer.Keys(0)
	for _, tree := range []zone.Tree{zone.Certs, zone.Texts} {
		for page := range z.Pages(tree) {
			for rrset := range z.Unsigned(tree, page, keys, time.Now(), 0, 0) {
				made, err := sigs(rrset.Records)
				if err == nil {
					err = signed.Keep(rrset, keys, made)
				}
				if err != nil {
					tb.Fatal(err)
				}
			}
		}
	}
	z, _ = signed.Zone(nil)
	b.snapshot.Store(publish.NewSnapshot(z))
}

func newDNSSEC(tb testing.TB) dnssec.Dnssec {
	tb.Helper()
	key := &dns.DNSKEY{
		Hdr:       dns.RR_Header{Name: benchZone, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 3600},
		Flags:     257,
		Protocol:  3,
		Algorithm: dns.ECDSAP256SHA256,
	}
	private, err := key.Generate(256)
	if err != nil {
		tb.Fatal(err)
	}
	base := filepath.Join(tb.TempDir(), "key")
	for name, text := range map[string]string{base + ".key": key.String() + "\n", base + ".private": key.PrivateKeyString(private)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	parsed, err := dnssec.ParseKeyFile(base+".key", base+".private")
	if err != nil {
		tb.Fatal(err)
	}
	return dnssec.New([]string{benchZone}, []*dnssec.DNSKEY{parsed}, false, nil, cache.New[[]dns.RR](10000))
}

// sink is a client that throws away what it gets; with pack, after it has been
// packed as for the wire.
type sink struct {
	pack bool
	last dns.Msg
	size int
	got  []byte
}

var sinkAddr net.Addr = &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5353}

func (w *sink) WriteMsg(m *dns.Msg) error {
	if !w.pack {
		w.last = *m
		return nil
	}
	b, err := m.Pack()
	w.size = len(b)
	return err
}
func (w *sink) Write(b []byte) (int, error) { w.size, w.got = len(b), b; return len(b), nil }
func (w *sink) LocalAddr() net.Addr         { return sinkAddr }
func (w *sink) RemoteAddr() net.Addr        { return sinkAddr }
func (w *sink) Close() error                { return nil }
func (w *sink) TsigStatus() error           { return nil }
func (w *sink) TsigTimersOnly(bool)         {}
func (w *sink) Hijack()                     {}
func (w *sink) Network() string             { return "udp" }

// benchQueries are the kinds of question that are measured.
var benchQueries = []struct {
	name  string
	do    bool
	qtype uint16
	qname func(i int) string
	rcode int
	// ours is how many allocations of one query may be ours; -1: not promised.
	ours float64
}{
	{"smimea", false, dns.TypeSMIMEA, benchOwner, dns.RcodeSuccess, 4},
	{"smimea signed", true, dns.TypeSMIMEA, benchOwner, dns.RcodeSuccess, 6},
	{"txt", false, dns.TypeTXT, benchText, dns.RcodeSuccess, 4},
	{"txt signed", true, dns.TypeTXT, benchText, dns.RcodeSuccess, 6},
	{"nodata", false, dns.TypeA, benchOwner, dns.RcodeSuccess, -1},
	{"absent", false, dns.TypeSMIMEA, benchAbsent, dns.RcodeNameError, -1},
	{"absent signed", true, dns.TypeSMIMEA, benchAbsent, dns.RcodeSuccess, -1},
	{"passed on", false, dns.TypeA, func(int) string { return "www.example.org." }, dns.RcodeSuccess, 0},
}

func benchOwner(i int) string { return benchAddress(i).Owner() }
func benchText(i int) string {
	owner, err := benchAddress(i).TextOwner()
	if err != nil {
		panic(err)
	}
	return owner
}
func benchAbsent(i int) string { return fmt.Sprintf("%056x._smimecert.%s", i, benchZone) }

// requests returns n queries that ask for users in a scattered order.
func (b *bench) requests(n int, do bool, qtype uint16, qname func(int) string) []*dns.Msg {
	var rs []*dns.Msg
	for i := range n {
		r := new(dns.Msg)
		r.SetQuestion(qname(i*7919%b.users), qtype)
		if do {
			r.SetEdns0(1232, true)
		}
		rs = append(rs, r)
	}
	return rs
}

// next stands for the plugin behind ours: it answers, without allocating.
type next struct{ reply *dns.Msg }

func (n next) Name() string { return "next" }
func (n next) ServeDNS(_ context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	return dns.RcodeSuccess, w.WriteMsg(n.reply)
}

// BenchmarkServeDNS answers queries as they come from the server's reader, and
// packs the replies. The plugin *erratic*, which has nothing to look up, is what
// the engine costs.
func BenchmarkServeDNS(b *testing.B) {
	s := newBench(b, 2000)
	s.follow(next{new(dns.Msg)})
	// fresh: each query for another name, so that *dnssec* has no signature of it.
	run := func(b *testing.B, h plugin.Handler, rs []*dns.Msg, fresh bool) {
		ctx, i := context.Background(), 0
		w := &sink{pack: true}
		b.ReportAllocs()
		for b.Loop() {
			r := rs[i%len(rs)]
			if fresh {
				r.Question[0].Name = benchAbsent(b.N + i)
			}
			if rcode, err := h.ServeDNS(ctx, request.NewScrubWriter(r, w), r); rcode != 0 || err != nil {
				b.Fatal(rcode, err)
			}
			i++
		}
	}
	b.Run("engine", func(b *testing.B) { run(b, &erratic.Erratic{}, s.requests(1000, false, dns.TypeA, benchOwner), false) })
	b.Run("engine DO", func(b *testing.B) { run(b, &erratic.Erratic{}, s.requests(1000, true, dns.TypeA, benchOwner), false) })
	for _, q := range benchQueries {
		s.answers.TakesOctets = true
		b.Run(q.name, func(b *testing.B) { run(b, s, s.requests(1000, q.do, q.qtype, q.qname), q.name == "absent signed") })
		if s.answers.TakesOctets = false; q.ours > 0 {
			b.Run(q.name+" as message", func(b *testing.B) { run(b, s, s.requests(1000, q.do, q.qtype, q.qname), false) })
		}
	}
}

// TestAllocations holds ServeDNS to what it may allocate, up to where it hands
// the reply over.
func TestAllocations(t *testing.T) {
	s := newBench(t, 500)
	behind := next{new(dns.Msg)}
	s.follow(behind)
	for i := range 2 * len(benchQueries) {
		q, packs := benchQueries[i/2], i%2 == 1
		t.Run(fmt.Sprint(q.name, ", packed ", packs), func(t *testing.T) {
			s.answers.TakesOctets = packs
			rs, w, ctx, i := s.requests(500, q.do, q.qtype, q.qname), new(sink), context.Background(), 0
			serve := func(h plugin.Handler) func() {
				return func() {
					if _, err := h.ServeDNS(ctx, w, rs[i%len(rs)]); err != nil {
						t.Fatal(err)
					}
					i++
				}
			}
			allocs := testing.AllocsPerRun(200, serve(s))
			if q.name == "passed on" {
				// What the server allocates for any plugin on the way is not ours.
				allocs -= testing.AllocsPerRun(200, func() {
					if _, err := plugin.NextOrFailure(name, behind, ctx, w, rs[0]); err != nil {
						t.Fatal(err)
					}
				})
				w.last.Rcode = q.rcode
			} else if w.size > 0 {
				if err := w.last.Unpack(w.got); err != nil {
					t.Fatal(err)
				}
			}
			if w.last.Rcode != q.rcode || q.ours > 0 && len(w.last.Answer)+len(w.last.Ns) == 0 {
				t.Fatalf("the reply is\n%v", &w.last)
			}
			if q.do && len(w.last.Answer)+len(w.last.Ns) < 2 {
				t.Fatalf("the reply is not signed:\n%v", &w.last)
			}
			t.Logf("%.0f allocations", allocs)
			if q.ours >= 0 && allocs > q.ours {
				t.Errorf("%.0f allocations, want at most %.0f", allocs, q.ours)
			}
		})
	}
}
