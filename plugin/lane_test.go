package plugin

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"

	"coredns-smimea/plugin/internal/answer"
	"coredns-smimea/plugin/internal/lane"
)

// newLaneTest returns what answers in a lane for a block with odd owners.
func newLaneTest(tb testing.TB) (b *laneBlock, owners []string) {
	tb.Helper()
	s := newBench(tb, 0)
	s.answers.TakesOctets, s.answers.Kept, s.instance = true, answer.NewKept(), new(instance)
	owners = odd(tb, s, rand.New(rand.NewPCG(1, 1)))
	for i := range 20 { // what is not there, and what is there without records
		owners = append(owners, fmt.Sprintf("nobody%d._smime.%s", i, benchZone), fmt.Sprintf("%056d._smimecert.%s", i, benchZone))
	}
	owners = append(owners, benchZone, "_smime."+benchZone, "_smimecert."+benchZone, "www."+benchZone, "_acme-challenge."+benchZone,
		"a\\032b._smime."+benchZone, "a\\.b._smime."+benchZone, "other.example.")
	return s.lane(), owners
}

// lane returns what answers for a block that is alone at its address.
func (b *bench) lane() *laneBlock {
	return &laneBlock{b.SMIMEA, answer.NewDirect(b.answers, b.answers.UDPLimit, [][3]bool{{true, true, true}}, nil)}
}

// sameAsChain gives a packet to the lane, and if that answers, at once or with a new
// signature, to the chain as CoreDNS does. It reports whether the lane answers at once.
func sameAsChain(tb testing.TB, b *laneBlock, packet []byte) bool {
	tb.Helper()
	q := &lane.Query{Now: time.Now()}
	if !q.Parse(packet) {
		return false
	}
	got, atOnce := b.Answer(q, make([]byte, 0, 1500))
	if ok := atOnce; !ok {
		if q.Granted {
			got, ok = b.Sign(q, make([]byte, 0, 1500))
		}
		if !ok {
			return false
		}
	}
	got = slices.Clone(got)
	m := new(dns.Msg)
	if err := m.Unpack(packet); err != nil {
		tb.Fatalf("the lane answers %x, which is no message: %v", packet, err)
	}
	w, request := new(client), m.Copy()
	rcode, err := b.ServeDNS(context.Background(), newScrub(request, w), request)
	if err != nil || !plugin.ClientWrite(rcode) {
		tb.Fatalf("the lane answers\n%v\nand the chain returns %d, %v", m, rcode, err)
	}
	if !bytes.Equal(got, w.got) {
		reply := new(dns.Msg)
		err := reply.Unpack(got)
		want := new(dns.Msg)
		_ = want.Unpack(w.got)
		tb.Fatalf("to\n%v\nthe lane answers\n%x (%v)\n%v\nwant\n%x\n%v", m, got, err, reply, w.got, want)
	}
	return atOnce
}

// randomQuery returns a question for one of the owners.
func randomQuery(r *rand.Rand, owners []string) *dns.Msg {
	q := new(dns.Msg)
	types := []uint16{dns.TypeSMIMEA, dns.TypeTXT, dns.TypeANY, dns.TypeA, dns.TypeSOA, dns.TypeNS, dns.TypeDS, dns.TypeDNSKEY, dns.TypeNSEC, dns.TypeMX, dns.TypeCDS, dns.TypeOPT, 65280}
	q.SetQuestion(owners[r.IntN(len(owners))], types[r.IntN(len(types))])
	if r.IntN(2) == 0 {
		q.Question[0].Qtype = types[r.IntN(2)]
	}
	vary(q, r)
	return q
}

// vary gives a question what clients may add to it: letters in both cases, flags, EDNS
// and a cookie.
func vary(q *dns.Msg, r *rand.Rand) {
	if r.IntN(2) == 0 { // RFC draft 0x20
		q.Question[0].Name = strings.Map(func(c rune) rune {
			if c >= 'a' && c <= 'z' && r.IntN(2) == 0 {
				return c - 'a' + 'A'
			}
			return c
		}, q.Question[0].Name)
	}
	q.RecursionDesired, q.CheckingDisabled, q.AuthenticatedData = r.IntN(2) == 0, r.IntN(2) == 0, r.IntN(2) == 0
	if r.IntN(4) > 0 {
		q.SetEdns0(uint16([]int{0, 512, 600, 1232, 4096, 65535}[r.IntN(6)]), r.IntN(2) == 0)
		opt := q.IsEdns0()
		opt.Hdr.Ttl |= uint32(r.IntN(1 << 15)) // CO and flags to come
		if r.IntN(6) == 0 {
			opt.Option = append(opt.Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "24a5ac1212121212"})
		}
	}
}

func TestLaneAnswersAsChain(t *testing.T) {
	b, owners := newLaneTest(t)
	r := rand.New(rand.NewPCG(2, 2))
	answered := 0
	for range 20000 {
		packet, err := randomQuery(r, owners).Pack()
		if err != nil {
			t.Fatal(err)
		}
		b.answers.UDPLimit = []int{512, 1232, 4096}[r.IntN(3)]
		b.direct.Size = b.answers.UDPLimit
		b.answers.TCPOnly = r.IntN(5) == 0
		if sameAsChain(t, b, packet) {
			answered++
		}
	}
	if answered < 6000 {
		t.Errorf("the lane answered %d of 20000 queries, want more", answered)
	}
}

// TestLaneFlood wants TC from the lane when no denials are left.
func TestLaneFlood(t *testing.T) {
	b, _ := newLaneTest(t)
	b.answers.Denials = answer.NewLimit(1)
	for b.answers.Denials.Take(time.Now().Add(900 * time.Millisecond)) {
	}
	q := new(dns.Msg)
	q.SetQuestion("nobody._smime."+benchZone, dns.TypeTXT)
	q.SetEdns0(1232, true)
	packet, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if !sameAsChain(t, b, packet) {
		t.Errorf("the lane does not answer over the limit")
	}
	b.answers.Denials = nil
	if sameAsChain(t, b, packet) {
		t.Errorf("the lane answers without a signature")
	}
	signs := &lane.Query{Now: time.Now()}
	if !signs.Parse(packet) {
		t.Fatal("not parsed")
	}
	if _, ok := b.Sign(signs, make([]byte, 0, 1500)); !ok {
		t.Errorf("the lane does not sign")
	}
}

// TestLaneKept wants the lane to answer what has been denied with signatures before,
// as the chain does then, until the zone changes.
func TestLaneKept(t *testing.T) {
	b, owners := newLaneTest(t)
	kept := 0
	slices.Sort(owners)
	owners = slices.Compact(owners)
	for _, name := range owners {
		for size := uint16(512); size < 700; size += 1 + uint16(len(name)%3) {
			for _, co := range []bool{false, true} {
				q := new(dns.Msg)
				q.SetQuestion(strings.ToUpper(name), dns.TypeA)
				q.SetEdns0(size, true)
				q.IsEdns0().SetCo(co)
				packet, err := q.Pack()
				if err != nil {
					t.Fatal(err)
				}
				if name != "other.example." && size == 512 && !co && sameAsChain(t, b, packet) {
					t.Errorf("%s: the lane has a denial that nobody has signed", name)
				}
				if name == "other.example." {
					continue
				}
				for range 2 {
					if _, err := b.ServeDNS(context.Background(), newScrub(q, new(client)), q.Copy()); err != nil {
						t.Fatal(err)
					}
				}
				if sameAsChain(t, b, packet) {
					kept++
				}
			}
		}
	}
	if kept < len(owners) {
		t.Errorf("%d denials of %d names were kept, want more", kept, len(owners))
	}
}

// TestLaneAllocates wants no allocation for an answer.
func TestLaneAllocates(t *testing.T) {
	b := newBench(t, 10).lane()
	text, err := benchAddress(1).TextOwner()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		qtype uint16
		do    bool
	}{
		{benchAddress(1).Owner(), dns.TypeSMIMEA, false},
		{benchAddress(1).Owner(), dns.TypeSMIMEA, true},
		{text, dns.TypeTXT, true},
		{"nobody._smime." + benchZone, dns.TypeTXT, false},
		{benchZone, dns.TypeSOA, false},
	} {
		m := new(dns.Msg)
		m.SetQuestion(c.name, c.qtype)
		m.SetEdns0(1232, c.do)
		packet, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		q, room := &lane.Query{Now: time.Now()}, make([]byte, 0, 1500)
		allocs := testing.AllocsPerRun(100, func() {
			if !q.Parse(packet) {
				t.Fatal("not parsed")
			}
			if _, ok := b.Answer(q, room); !ok {
				t.Fatalf("%v is not answered", m)
			}
		})
		if allocs > 0 {
			t.Errorf("%s %d with DO %v: %v allocations", c.name, c.qtype, c.do, allocs)
		}
	}
}

// FuzzLane gives packets of any form to the lane and to the chain.
func FuzzLane(f *testing.F) {
	b, owners := newLaneTest(f)
	r := rand.New(rand.NewPCG(3, 3))
	for range 300 {
		packet, err := randomQuery(r, owners).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packet)
		f.Add(packet[:r.IntN(len(packet))])
		packet = slices.Clone(packet)
		packet[r.IntN(len(packet))] ^= byte(1 << r.IntN(8))
		f.Add(packet)
	}
	f.Fuzz(func(t *testing.T, packet []byte) { sameAsChain(t, b, packet) })
}

func BenchmarkLane(b *testing.B) {
	const users = 100_000
	l := newBench(b, users).lane()
	l.answers.Denials = answer.NewLimit(1)
	for _, c := range []struct {
		name string
		do   bool
		ask  func(i int) (string, uint16)
	}{
		{"SMIMEA", false, func(i int) (string, uint16) { return benchAddress(i).Owner(), dns.TypeSMIMEA }},
		{"SMIMEA with DO", true, func(i int) (string, uint16) { return benchAddress(i).Owner(), dns.TypeSMIMEA }},
		{"absent", false, func(i int) (string, uint16) { return fmt.Sprintf("nobody%d._smime.%s", i, benchZone), dns.TypeTXT }},
		{"absent with DO, over the limit", true, func(i int) (string, uint16) { return fmt.Sprintf("nobody%d._smime.%s", i, benchZone), dns.TypeTXT }},
	} {
		b.Run(c.name, func(b *testing.B) {
			var packets [][]byte
			for i := range 10000 {
				m := new(dns.Msg)
				m.SetQuestion(c.ask(i * 7 % users))
				if c.do {
					m.SetEdns0(1232, true)
				}
				packet, err := m.Pack()
				if err != nil {
					b.Fatal(err)
				}
				packets = append(packets, packet)
			}
			q, room := &lane.Query{Now: time.Now()}, make([]byte, 0, 1500)
			l.answers.Denials.Take(q.Now) // the only one of that moment
			for i := 0; b.Loop(); i++ {
				if !q.Parse(packets[i%len(packets)]) {
					b.Fatal("not parsed")
				}
				if _, ok := l.Answer(q, room); !ok {
					b.Fatal("not answered")
				}
			}
		})
	}
}

// BenchmarkDenial signs for names that nobody has asked for, in the lane and in the
// chain.
func BenchmarkDenial(b *testing.B) {
	l := newBench(b, 1000).lane()
	l.answers.Kept = answer.NewKept()
	m := new(dns.Msg)
	m.SetQuestion(benchAbsent(0), dns.TypeSMIMEA)
	m.SetEdns0(1232, true)
	packet, err := m.Pack()
	if err != nil {
		b.Fatal(err)
	}
	asked := 0
	ask := func() { // for another name
		asked++
		copy(packet[13:], fmt.Sprintf("%056x", asked))
	}
	b.Run("lane", func(b *testing.B) {
		q, room := &lane.Query{Now: time.Now()}, make([]byte, 0, 1500)
		b.ReportAllocs()
		for b.Loop() {
			ask()
			if !q.Parse(packet) {
				b.Fatal("not parsed")
			}
			if _, ok := l.Sign(q, room); !ok {
				b.Fatal("not answered")
			}
		}
	})
	b.Run("chain", func(b *testing.B) {
		w := &sink{pack: true}
		b.ReportAllocs()
		for b.Loop() {
			ask()
			r := new(dns.Msg)
			if err := r.Unpack(packet); err != nil {
				b.Fatal(err)
			}
			if _, err := l.ServeDNS(context.Background(), newScrub(r, w), r); err != nil {
				b.Fatal(err)
			}
		}
	})
}

var _ lane.Block = (*laneBlock)(nil)
