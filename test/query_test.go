package test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A question is a query, with everything that a server may answer differently.
type question struct {
	name    string
	qtype   uint16
	class   uint16 // 0: IN
	tcp     bool
	size    uint16 // EDNS UDP size; 0: no EDNS
	do, co  bool   // need size
	rd      bool
	ad      bool
	randoms bool // 0x20: random case
}

func (q question) String() string {
	s := fmt.Sprintf("%s %s", q.name, dns.Type(q.qtype))
	if q.class != 0 {
		s += " " + dns.Class(q.class).String()
	}
	s += " " + q.network()
	if q.size > 0 {
		s += fmt.Sprintf(" EDNS %d", q.size)
	}
	if q.do {
		s += " DO"
	}
	if q.co {
		s += " CO"
	}
	return s
}

func (q question) network() string {
	if q.tcp {
		return "tcp"
	}
	return "udp"
}

func (q question) msg() *dns.Msg {
	m := new(dns.Msg)
	name := q.name
	if q.randoms {
		name = randomCase(name)
	}
	m.SetQuestion(name, q.qtype)
	if q.class != 0 {
		m.Question[0].Qclass = q.class
	}
	m.RecursionDesired, m.AuthenticatedData = q.rd, q.ad
	if q.size > 0 {
		m.SetEdns0(q.size, q.do)
		m.IsEdns0().SetCo(q.co)
	}
	return m
}

func (q question) pack(t testing.TB) []byte {
	t.Helper()
	b, err := q.msg().Pack()
	if err != nil {
		t.Fatalf("packing %s: %v", q, err)
	}
	return b
}

// lostAfter is how long an answer may take before it counts as lost. On loopback none is
// to be, and a busy machine is only slow.
const lostAfter = 30 * time.Second

// ask sends q and returns the answer and its octets as they came. A truncated
// answer is returned as it is.
func ask(t testing.TB, addr string, q question) (*dns.Msg, []byte) {
	t.Helper()
	query := q.pack(t)
	// A datagram can get lost where a machine is busy; who is asked the same
	// again and never answers does not want to.
	b, err := exchange(addr, q.network(), query, lostAfter)
	for range 5 {
		if e := net.Error(nil); q.network() == "udp" && errors.As(err, &e) && e.Timeout() {
			b, err = exchange(addr, q.network(), query, lostAfter)
		}
	}
	if err != nil {
		t.Fatalf("asking %s of %s: %v", q, addr, err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		t.Fatalf("answer to %s: %v\n%x", q, err, b)
	}
	end := questionEnd(t, query)
	if len(b) < end || string(b[12:end]) != string(query[12:end]) {
		t.Errorf("%s: the question came back as %x, want %x", q, b[12:min(end, len(b))], query[12:end])
	}
	return m, b
}

// sameBothWays asks over UDP by the fast lane and by the plugins, and wants the same
// octets; got is an answer that came already. A lane leaves a query with an octet more
// than it needs to the plugins, and they overlook that. Signatures may be made anew,
// where none are kept.
func sameBothWays(t testing.TB, addr string, q question, got []byte) {
	t.Helper()
	if q.tcp {
		return
	}
	query := q.pack(t)
	query[0], query[1] = 0x5a, 0xa5
	plugins, err := exchange(addr, "udp", append(slices.Clip(query), 0), lostAfter)
	if err != nil {
		t.Fatalf("asking %s of the plugins of %s: %v", q, addr, err)
	}
	if bytes.Equal(got[2:], plugins[2:]) { // but for the id
		return
	}
	if _, err := exchangeBothWays(t, addr, query); err != nil {
		t.Fatalf("asking %s of %s: %v", q, addr, err)
	}
}

// exchangeBothWays asks by the fast lane and by the plugins, and returns the answer of
// the lane, or of the plugins if the lane has left the query to them.
func exchangeBothWays(t testing.TB, addr string, query []byte) ([]byte, error) {
	t.Helper()
	lane, err := exchange(addr, "udp", query, lostAfter)
	if err != nil {
		return nil, err
	}
	plugins, err := exchange(addr, "udp", append(slices.Clip(query), 0), lostAfter)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(lane, plugins) && !bytes.Equal(timeless(t, lane), timeless(t, plugins)) {
		t.Errorf("to %x\n by the lane    %x\n by the plugins %x", query, lane, plugins)
	}
	return lane, nil
}

// questionEnd returns the offset behind the one question of a query.
func questionEnd(t testing.TB, query []byte) int {
	t.Helper()
	_, off, err := dns.UnpackDomainName(query, 12)
	if err != nil {
		t.Fatal(err)
	}
	return off + 4
}

// exchange sends a query's octets and returns those of the answer to it.
func exchange(addr, network string, query []byte, timeout time.Duration) ([]byte, error) {
	conn, err := net.DialTimeout(network, addr, timeout)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(timeout))
	if network == "tcp" {
		framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)
		if _, err := conn.Write(framed); err != nil {
			return nil, err
		}
		var length [2]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return nil, err
		}
		b := make([]byte, binary.BigEndian.Uint16(length[:]))
		_, err := io.ReadFull(conn, b)
		return b, err
	}
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	b := make([]byte, 65535)
	for {
		n, err := conn.Read(b)
		if err != nil {
			return nil, err
		}
		if n >= 12 && string(b[:2]) == string(query[:2]) {
			return b[:n], nil
		}
	}
}

// randomCase returns name with the case of its letters drawn at random (0x20).
func randomCase(name string) string {
	return strings.Map(func(r rune) rune {
		if rand.IntN(2) == 0 {
			return r
		}
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		}
		return r
	}, name)
}

// wire returns a name's octets in the DNS, ASCII letters in lower case. Names are
// compared so, and never as text: \046 and \. and an escaped letter have many texts.
func wire(t testing.TB, name string) string {
	t.Helper()
	b := make([]byte, 256)
	n, err := dns.PackDomainName(name, b, 0, nil, false)
	if err != nil {
		t.Fatalf("packing %q: %v", name, err)
	}
	return lowerWire(b[:n])
}

// lowerWire lower-cases ASCII letters of a name in wire form. Length octets are at
// most 63 and so never taken for a letter.
func lowerWire(b []byte) string {
	l := make([]byte, len(b))
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		l[i] = c
	}
	return string(l)
}

// record returns rr's octets with owner and TTL, names in lower case: equal for
// records that are equal in the DNS. Names in the data may have the question's case:
// servers point to it to compress them.
func record(t testing.TB, rr dns.RR) string {
	t.Helper()
	rr = dns.Copy(rr)
	switch rr := rr.(type) {
	case *dns.SOA:
		rr.Ns, rr.Mbox = strings.ToLower(rr.Ns), strings.ToLower(rr.Mbox)
	case *dns.NS:
		rr.Ns = strings.ToLower(rr.Ns)
	}
	b := make([]byte, 65535)
	n, err := dns.PackRR(rr, b, 0, nil, false)
	if err != nil {
		t.Fatalf("packing %s: %v", rr, err)
	}
	owner := wire(t, rr.Header().Name)
	return owner + string(b[len(owner):n])
}
