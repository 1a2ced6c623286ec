package lane

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/internal/harness"
)

// gate waits at its questions for MX, and at each signature for TXT, to be let pass.
type gate struct{ asked, pass chan struct{} }

func (g gate) wait() { g.asked <- struct{}{}; <-g.pass }

func (g gate) Answer(q *Query, room []byte) ([]byte, bool) {
	if q.Type == dns.TypeMX {
		g.wait()
	}
	q.Granted = q.Type == dns.TypeTXT
	return authoritative(q, room), q.Type == dns.TypeMX
}

func (g gate) Sign(q *Query, room []byte) ([]byte, bool) {
	g.wait()
	return authoritative(q, room), true
}

// TestQueue holds how many wait, and in which order.
func TestQueue(t *testing.T) {
	r := &reader{socket: new(socket)}
	for i := range 2*mostWaiting + 1 {
		if i >= mostWaiting {
			if r.postpone(0, []byte{0, 0}) {
				t.Fatalf("%d wait", r.waiting.count)
			}
			if w := r.waiting.next(); string(w.packet[:w.length]) != fmt.Sprint(i-mostWaiting) {
				t.Fatalf("%q is next after %d", w.packet[:w.length], i-mostWaiting)
			}
		}
		if !r.postpone(0, fmt.Append(nil, i)) {
			t.Fatalf("only %d wait", r.waiting.count)
		}
	}
}

// TestWaiting has a lane taken over while queries wait for a signature, and wants an
// answer to each.
func TestWaiting(t *testing.T) {
	s, addr := serve(t, 1)
	o, g := newOptions(s, 1, new(logs)), gate{make(chan struct{}), make(chan struct{})}
	o.Blocks[0].Block, o.Sockets = g, 1
	first, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(packed(t, "example.", dns.TypeMX, nil)); err != nil {
		t.Fatal(err)
	}
	<-g.asked              // and these make whole batches
	const sent = 2 * batch // for which there is room in sockets
	for i := range sent {
		if _, err := conn.Write(packed(t, "example.", dns.TypeTXT, func(m *dns.Msg) { m.Id = uint16(i) })); err != nil {
			t.Fatal(err)
		}
	}
	g.pass <- struct{}{}
	<-g.asked
	opened := make(chan error)
	var second *Lane
	go func() {
		var err error
		o.Blocks = []Counted{{Block: texts{}}}
		second, err = Open(o)
		opened <- err
	}()
	if !harness.Wait(harness.Patience, nil, func() bool { return first.readers[0].stopping.Load() }) {
		t.Fatal("the first lane is not told to stop")
	}
	g.pass <- struct{}{}
	go func() { // the rest of what is being signed
		for range g.asked {
			g.pass <- struct{}{}
		}
	}()
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	close(g.asked)
	answered := map[uint16]bool{}
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	for reply := make([]byte, 512); len(answered) < sent; {
		n, err := conn.Read(reply)
		if err != nil {
			t.Fatalf("%d of %d queries are answered: %v", len(answered), sent, err)
		}
		m := new(dns.Msg)
		if err := m.Unpack(reply[:n]); err != nil {
			t.Fatal(err)
		}
		if m.Question[0].Qtype == dns.TypeTXT {
			answered[m.Id] = true
		}
	}
	second.Close()
}
