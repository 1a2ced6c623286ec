package lane

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/reuseport"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"coredns-smimea/internal/harness"
)

// logs keeps what a lane logs, by level.
type logs struct {
	mu    sync.Mutex
	lines []string
}

func (l *logs) add(level, format string, v []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, level+": "+fmt.Sprintf(format, v...))
}
func (l *logs) Debugf(format string, v ...any)   { l.add("debug", format, v) }
func (l *logs) Infof(format string, v ...any)    { l.add("info", format, v) }
func (l *logs) Warningf(format string, v ...any) { l.add("warning", format, v) }
func (l *logs) Errorf(format string, v ...any)   { l.add("error", format, v) }

// has reports whether a line has some text.
func (l *logs) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.lines, func(line string) bool { return strings.Contains(line, text) })
}

// texts answers questions for TXT, with AA, and panics at one of type ANY. Those for A
// records of IPv6 it answers by signing, those for MX it cannot sign for, and signing for
// SRV is a panic.
type texts struct{}

func (texts) Answer(q *Query, room []byte) ([]byte, bool) {
	if q.Type == dns.TypeANY {
		panic("ANY")
	}
	if q.Type != dns.TypeTXT {
		q.Granted = q.Type == dns.TypeAAAA || q.Type == dns.TypeMX || q.Type == dns.TypeSRV
		return nil, false
	}
	return authoritative(q, room), true
}

func (texts) Sign(q *Query, room []byte) ([]byte, bool) {
	if q.Type == dns.TypeSRV {
		panic("SRV")
	}
	return authoritative(q, room), q.Type == dns.TypeAAAA
}

// authoritative appends a reply with AA, and nothing else.
func authoritative(q *Query, room []byte) []byte {
	reply := append(room, byte(q.ID>>8), byte(q.ID), 0x84, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	return append(append(reply, q.Asked...), byte(q.Type>>8), byte(q.Type), 0, 1)
}

// serve runs CoreDNS's own server with some sockets. Its plugin answers without AA.
func serve(t *testing.T, sockets int) (*dnsserver.Server, string) {
	t.Helper()
	handler := plugin.HandlerFunc(func(_ context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		m := new(dns.Msg)
		m.SetReply(r)
		return dns.RcodeSuccess, w.WriteMsg(m)
	})
	var servers []*dnsserver.Server
	var addr string
	err := harness.OnFreePort(func(port int) error {
		addr = harness.Loopback(port)
		for range sockets {
			config := &dnsserver.Config{Zone: ".", Transport: "dns", ListenHosts: []string{"127.0.0.1"}, Port: fmt.Sprint(port)}
			config.AddPlugin(func(plugin.Handler) plugin.Handler { return handler })
			s, err := dnsserver.NewServer("dns://"+addr, []*dnsserver.Config{config})
			if err != nil {
				return err
			}
			p, err := s.ListenPacket()
			if err != nil {
				return err
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_ = s.ServePacket(p) // its end is no error
			}()
			t.Cleanup(func() {
				if err := s.Stop(); err != nil {
					t.Error(err)
				}
				<-ended
			})
			servers = append(servers, s)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !harness.Wait(harness.Patience, nil, func() bool { return asks(addr, dns.TypeA) == nil }) {
		t.Fatal("the server does not answer")
	}
	return servers[0], addr
}

// asks asks once, and returns an error if there is no answer.
func asks(addr string, qtype uint16) error {
	_, err := ask(addr, qtype)
	return err
}

// ask asks a question, from a port of its own, and reports whether the lane has
// answered.
func ask(addr string, qtype uint16) (byLane bool, err error) {
	m := new(dns.Msg)
	m.SetQuestion("Name.example.", qtype)
	reply, _, err := (&dns.Client{Timeout: time.Minute}).Exchange(m, addr)
	if err != nil {
		return false, err
	}
	if reply.Id != m.Id || reply.Question[0] != m.Question[0] {
		return false, fmt.Errorf("asked\n%v\ngot\n%v", m, reply)
	}
	return reply.Authoritative, nil
}

// wantLane asks many times, and wants the lane to answer, or not.
func wantLane(t *testing.T, addr string, qtype uint16, byLane bool) {
	t.Helper()
	for range 50 {
		got, err := ask(addr, qtype)
		if err != nil || got != byLane {
			t.Fatalf("type %d: by the lane: %v, want %v; %v", qtype, got, byLane, err)
		}
	}
}

func newOptions(s *dnsserver.Server, cores int, log *logs) Options {
	return Options{
		Server: s, Blocks: []Counted{{Block: texts{}}}, Cores: cores, Sockets: 2, Log: log,
		Answered: prometheus.NewCounter(prometheus.CounterOpts{}), Passed: prometheus.NewCounter(prometheus.CounterOpts{}),
	}
}

// TestLane opens lanes beside one and several sockets of CoreDNS's, and closes them.
func TestLane(t *testing.T) {
	for _, cores := range []int{1, 3} {
		s, addr := serve(t, cores)
		log := new(logs)
		l, err := Open(newOptions(s, cores, log))
		if err != nil {
			t.Fatal(err)
		}
		wantLane(t, addr, dns.TypeTXT, true)
		wantLane(t, addr, dns.TypeA, false)
		wantLane(t, addr, dns.TypeAAAA, true)
		wantLane(t, addr, dns.TypeMX, false)
		for what, qtype := range map[string]uint16{"ANY": dns.TypeANY, "SRV": dns.TypeSRV} {
			wantLane(t, addr, qtype, false) // after a panic
			if !log.has("error: Recovered from panic in the fast lane of \"dns://" + addr + "\": " + what) {
				t.Errorf("the log says nothing of the panic at %s: %q", what, log.lines)
			}
		}
		l.Close()
		l.Close()
		wantLane(t, addr, dns.TypeTXT, false)
		if len(groups.byAddress) > 0 {
			t.Errorf("sockets are left open")
		}
	}
}

// TestHeir has a lane take the sockets of another over, with other sockets of
// CoreDNS's beside it, and then wait for one that does not come. Nobody misses an answer.
func TestHeir(t *testing.T) {
	s, addr := serve(t, 1)
	log := new(logs)
	first, err := Open(newOptions(s, 1, log))
	if err != nil {
		t.Fatal(err)
	}
	stop, failed := make(chan struct{}), make(chan error, 2)
	for _, qtype := range []uint16{dns.TypeTXT, dns.TypeA} {
		go func() {
			for {
				select {
				case <-stop:
					failed <- nil
					return
				default:
				}
				if err := asks(addr, qtype); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	Expect("second", s.Addr)
	first.Close()
	wantLane(t, addr, dns.TypeTXT, true)
	second, err := Open(newOptions(s, 1, log))
	if err != nil {
		t.Fatal(err)
	}
	wantLane(t, addr, dns.TypeTXT, true)
	first.Close() // late, and of no concern to the heir
	wantLane(t, addr, dns.TypeTXT, true)
	more, err := reuseport.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { more.Close() })
	third, err := Open(newOptions(s, 2, log))
	if err != nil {
		t.Fatal(err)
	}
	wantLane(t, addr, dns.TypeTXT, true)
	more.Close()
	second.Close()
	Expect("nobody", s.Addr)
	third.Close()
	wantLane(t, addr, dns.TypeTXT, true)
	Abandon()
	wantLane(t, addr, dns.TypeTXT, false)
	close(stop)
	for range 2 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	if log.has("error:") || log.has("warning:") {
		t.Errorf("the log says %q", log.lines)
	}
}

// TestUnwanted leaves to CoreDNS's own sockets what has no form of an ordinary query.
func TestUnwanted(t *testing.T) {
	s, addr := serve(t, 2)
	o := newOptions(s, 2, new(logs))
	passed := make(map[uint16]bool)
	o.Blocks[0].Block = blockFunc(func(q *Query, _ []byte) ([]byte, bool) {
		passed[q.ID] = true
		return nil, false
	})
	o.Sockets = 1
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	send := func(b []byte) {
		t.Helper()
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	update := new(dns.Msg)
	update.SetUpdate("example.")
	update.Id = 1
	b, err := update.Pack()
	if err != nil {
		t.Fatal(err)
	}
	send(b)
	send(packed(t, "example.", dns.TypeTXT, func(m *dns.Msg) { m.Id, m.Response = 2, true }))
	send([]byte{0, 3})
	send(nil)
	send(packed(t, "example.", dns.TypeTXT, func(m *dns.Msg) { m.Id = 4 }))
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	for got := 0; got != 4; { // the last one
		reply := make([]byte, 512)
		if _, err := conn.Read(reply); err != nil {
			t.Fatal(err)
		}
		got = int(reply[1])
	}
	l.Close() // which joins the reader
	if len(passed) != 1 || !passed[4] {
		t.Errorf("the lane got %v, want 4 only", passed)
	}
}

type blockFunc func(*Query, []byte) ([]byte, bool)

func (f blockFunc) Answer(q *Query, room []byte) ([]byte, bool) { return f(q, room) }
func (blockFunc) Sign(*Query, []byte) ([]byte, bool)            { return nil, false }

// TestOpenFails has the address taken by somebody who does not share it.
func TestOpenFails(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	o := newOptions(&dnsserver.Server{Addr: "dns://" + conn.LocalAddr().String()}, 1, new(logs))
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "opening a socket") {
		t.Errorf("a lane at an address that is taken: %v", err)
	}
	if len(groups.byAddress) > 0 {
		t.Errorf("sockets are left open")
	}
}

// TestMetrics holds which zone a name is counted in.
func TestMetrics(t *testing.T) {
	zones := []string{"example.", "sub.Example.", "other."}
	c := NewMetrics(func() []string { return zones }, "dns://:53", "smimea")
	z := c.update(nil, time.Now())
	for name, want := range map[string]string{
		"\x07example\x00": "example.", "\x01a\x07example\x00": "example.", "\x01a\x03sub\x07example\x00": "sub.Example.",
		"\x04asub\x07example\x00": "example.", "\x03net\x00": ".", "\x00": ".",
	} {
		if got := z.of([]byte(name)).labels[1]; got != want {
			t.Errorf("%q is counted in %q, want %q", name, got, want)
		}
	}
	if next := c.update(z, time.Now()); next.byName["\x07example\x00"] != z.byName["\x07example\x00"] {
		t.Errorf("the same zones have other metrics")
	}
	if zones = zones[1:]; c.update(z, time.Now()).of([]byte("\x07example\x00")).labels[1] != "." {
		t.Errorf("a zone that is gone is counted in")
	}
}
