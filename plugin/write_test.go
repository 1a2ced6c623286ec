package plugin

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"

	"coredns-smimea/smimea"
	"coredns-smimea/smimea/zone"
)

// client keeps what is written to it, as it goes out.
type client struct {
	sink
	tcp    bool
	packed bool // what came was not a message
	got    []byte
}

func (c *client) RemoteAddr() net.Addr {
	if c.tcp {
		return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
	}
	return c.sink.RemoteAddr()
}

func (c *client) WriteMsg(m *dns.Msg) (err error) {
	c.got, err = m.Pack()
	return err
}

func (c *client) Write(b []byte) (int, error) {
	c.packed, c.got = true, slices.Clone(b)
	return len(b), nil
}

// odd fills the zone of b with owners of all kinds: several records, long and
// longest names, URLs above 255 octets, large data, several signatures or none.
func odd(tb testing.TB, b *bench, r *rand.Rand) (owners []string) {
	tb.Helper()
	edit := zone.NewZone(b.place, "https://bench.example/").Edit()
	for i := range 120 {
		a := smimea.Address{Local: fmt.Sprintf("%s%d", strings.Repeat("Ab.", r.IntN(40)), i), Domain: "bench.example"}
		for range 1 + r.IntN(3) {
			p := zone.Publication{File: uint32(r.IntN(1e6) + 1), URL: "https://bench.example/" + strings.Repeat("u", r.IntN(700)), Lower: r.IntN(2) == 0}
			for range 1 + r.IntN(2) {
				cert := []byte{3, byte(r.IntN(2)), byte(r.IntN(2))}
				for range []int{0, 32, 32, 64, 900}[r.IntN(5)] {
					cert = append(cert, byte(r.Uint32()))
				}
				p.Certs = append(p.Certs, cert)
			}
			if err := edit.Publish(a, p); err == nil {
				owner, _ := a.TextOwner()
				owners = append(owners, owner)
			}
		}
		owners = append(owners, a.Owner())
	}
	z, _ := edit.Zone(func(uint32) uint32 { return 1 })
	now := uint32(time.Now().Unix())
	b.serve(tb, z, func([]dns.RR) (sigs []dns.RR, err error) {
		for range r.IntN(3) {
			sigs = append(sigs, &dns.RRSIG{
				Algorithm: uint8(r.Uint32()), KeyTag: uint16(r.Uint32()), OrigTtl: r.Uint32(),
				Inception: now - 1000 + uint32(r.IntN(1001)), Expiration: now + 86400*uint32(1+r.IntN(8)),
				Signature: strings.Repeat("abcd", 1+r.IntN(60)),
			})
		}
		return sigs, nil
	})
	return owners
}

// TestPacked asks twice, with and without leave to write packed answers, and
// wants the same.
func TestPacked(t *testing.T) {
	s := newBench(t, 0)
	r := rand.New(rand.NewPCG(1, 1))
	owners := odd(t, s, r)
	packed := 0
	for range 20000 {
		q := new(dns.Msg)
		q.SetQuestion(owners[r.IntN(len(owners))], []uint16{dns.TypeSMIMEA, dns.TypeTXT, dns.TypeANY, dns.TypeA}[r.IntN(4)])
		vary(q, r)
		if r.IntN(10) == 0 {
			q.SetTsig("key.", dns.HmacSHA256, 300, time.Now().Unix())
		}
		s.answers.UDPLimit = []int{512, 1232, 4096}[r.IntN(3)]
		tcp := r.IntN(3) == 0
		ask := func(packs bool) (*dns.Msg, *client) {
			s.answers.TakesOctets = packs
			w, request, reply := &client{tcp: tcp}, q.Copy(), new(dns.Msg)
			if _, err := s.ServeDNS(context.Background(), newScrub(request, w), request); err != nil {
				t.Fatal(err)
			}
			if err := reply.Unpack(w.got); err != nil {
				t.Fatalf("unpacking the reply to\n%v: %v", q, err)
			}
			return reply, w
		}
		// The clock may go on between the two, but signatures are whole days old.
		want, _ := ask(false)
		got, w := ask(true)
		want.Compress, got.Compress = false, false
		if got.String() != want.String() {
			t.Fatalf("asked (tcp %v)\n%v\nthe packed answer is\n%v\nwant\n%v", tcp, q, got, want)
		}
		if w.packed {
			packed++
		}
	}
	if packed < 3000 {
		t.Errorf("%d of 20000 answers were written packed, want more", packed)
	}
	s.answers.TakesOctets = true
	s.answers.TCPOnly = true
	q := new(dns.Msg)
	q.SetQuestion(owners[len(owners)-1], dns.TypeSMIMEA)
	w := new(client)
	if _, err := s.ServeDNS(context.Background(), newScrub(q, w), q); err != nil || w.packed || w.got[2]&2 == 0 {
		t.Errorf("with tcp_only: error %v, packed %v, reply %x, want TC", err, w.packed, w.got)
	}
}

func newScrub(r *dns.Msg, w dns.ResponseWriter) dns.ResponseWriter {
	return request.NewScrubWriter(r, w)
}
