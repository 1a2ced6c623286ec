package ldap

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"coredns-smimea/internal/harness"
)

// shortly is a limit that is to be reached.
const shortly = 100 * time.Millisecond

// searchMessage is a search for an address in one equality of mail.
func searchMessage(id int, address string) []byte {
	return message(id, opSearch, func(b *cryptobyte.Builder) {
		addString(b, "")
		b.AddASN1Enum(2)
		b.AddASN1Enum(0)
		b.AddASN1Int64(0)
		b.AddASN1Int64(0)
		b.AddASN1Boolean(false)
		b.AddASN1(asn1.Tag(filterEqual), func(b *cryptobyte.Builder) {
			addString(b, "mail")
			addString(b, address)
		})
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {})
	})
}

// found reads the answer to a search with one entry.
func (w *wire) found(id int) {
	w.t.Helper()
	if got, op, _ := w.answer(); got != id || op != opEntry {
		w.t.Errorf("message %d is %#x; want the entry of %d", got, op, id)
	}
	if got, op, r := w.answer(); got != id || op != opDone || r.code != success {
		w.t.Errorf("message %d is %#x, %v; want the end of %d", got, op, r, id)
	}
}

// TestMalformed holds that what is no LDAP ends its connection, and no other.
func TestMalformed(t *testing.T) {
	s := newServer(t)
	failures := make(chan error, 100)
	s.Failed = func(err error) { failures <- err }
	addr := serve(t, s)
	other := dialWire(t, addr)
	for what, octets := range map[string]string{
		"no SEQUENCE":          "GET / HTTP/1.1\r\n\r\n",
		"indefinite length":    "\x30\x80\x02\x01\x01\x42\x00\x00\x00",
		"empty":                "\x30\x00",
		"no operation":         "\x30\x03\x02\x01\x01",
		"unknown operation":    "\x30\x05\x02\x01\x01\x5e\x00",
		"a response":           "\x30\x05\x02\x01\x01\x61\x00",
		"message ID 0":         "\x30\x0c\x02\x01\x00\x60\x07\x02\x01\x03\x04\x00\x80\x00",
		"negative message ID":  "\x30\x0c\x02\x01\xff\x60\x07\x02\x01\x03\x04\x00\x80\x00",
		"too long inside":      "\x30\x0c\x02\x01\x01\x60\x7f\x02\x01\x03\x04\x00\x80\x00",
		"search without all":   "\x30\x07\x02\x01\x01\x63\x02\x04\x00",
		"a length of 9 octets": "\x30\x89\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00",
	} {
		w := dialWire(t, addr)
		w.send([]byte(octets))
		if id, op, r := w.answer(); id != 0 || op != opExtendedOK || r.code != protocolError {
			t.Errorf("%s: message %d is %#x, %v; want a notice of disconnection", what, id, op, r)
		}
		w.closed()
		if err := <-failures; !errors.Is(err, errBER) {
			t.Errorf("%s: %v", what, err)
		}
	}
	other.send(searchMessage(7, "hugh@example.com"))
	other.found(7)
}

// TestSizes holds that requests end at 64 KiB, and that lengths may be written
// longer than they need be.
func TestSizes(t *testing.T) {
	addr := serve(t, newServer(t))
	for _, head := range []string{"\x30\x83\x01\x00\x00", "\x30\x84\x7f\xff\xff\xff", "\x30\x84\x80\x00\x00\x00", "\x30\x84\xff\xff\xff\xff", "\x30\x88\xff\xff\xff\xff\xff\xff\xff\xff", "\x30\x88\x00\x00\x00\x00\x00\x01\x00\x01"} {
		w := dialWire(t, addr)
		w.send([]byte(head))
		if _, op, r := w.answer(); op != opExtendedOK || r.code != protocolError {
			t.Errorf("%x: %#x, %v; want a notice of disconnection", head, op, r)
		}
		w.closed()
	}
	w := dialWire(t, addr)
	// As Windows writes it.
	w.send([]byte("\x30\x84\x00\x00\x00\x10\x02\x01\x05\x60\x84\x00\x00\x00\x07\x02\x01\x03\x04\x00\x80\x00"))
	if id, op, r := w.answer(); id != 5 || op != opBound || r.code != success {
		t.Errorf("message %d is %#x, %v", id, op, r)
	}
	large := searchMessage(6, string(make([]byte, 60<<10)))
	w.send(large)
	if id, op, r := w.answer(); id != 6 || op != opDone || r.code != success {
		t.Errorf("message %d is %#x, %v", id, op, r)
	}
}

// TestDepth holds that filters are only nested so deep.
func TestDepth(t *testing.T) {
	nested := func(depth int) ber {
		f := []byte{filterPresent, 2, 'c', 'n'}
		for range depth {
			b := cryptobyte.NewBuilder(nil)
			b.AddASN1(asn1.Tag(filterNot), func(b *cryptobyte.Builder) { b.AddBytes(f) })
			f = b.BytesOrPanic()
		}
		return f
	}
	for depth, ok := range map[int]bool{0: true, maxDepth: true, maxDepth + 1: false, 10000: false} {
		b := nested(depth)
		if _, err := parseFilter(&b, 0); (err == nil) != ok {
			t.Errorf("%d deep: %v", depth, err)
		}
	}
}

// TestTimes holds the limits of time.
func TestTimes(t *testing.T) {
	for what, test := range map[string]struct {
		limits Limits
		sent   string
	}{
		"idle":     {Limits{Idle: shortly}, ""},
		"slow":     {Limits{Read: shortly}, "\x30\x0c\x02"},
		"lifetime": {Limits{Total: shortly}, ""},
	} {
		t.Run(what, func(t *testing.T) {
			s := newServer(t)
			s.Limits = test.limits
			w := dialWire(t, serve(t, s))
			w.send([]byte(test.sent))
			w.closed()
		})
	}
}

func (s *Server) allIdle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.sessions {
		if c.idle.Load() == 0 {
			return false
		}
	}
	return true
}

// TestConnections holds that there are only so many: one that asks nothing gives
// way, and none that waits for an answer.
func TestConnections(t *testing.T) {
	s := newServer(t)
	shelf := s.Source.(*shelf)
	shelf.asked = make(chan string, 100)
	s.Limits.Connections = 2
	addr := serve(t, s)
	var waiting []*wire
	for range 2 {
		w := dialWire(t, addr)
		w.send(searchMessage(1, "hugh@example.com"))
		w.found(1)
		<-shelf.asked
		waiting = append(waiting, w)
		if !harness.Wait(20*time.Second, nil, s.allIdle) {
			t.Fatal("a connection does not become idle")
		}
	}
	newest := dialWire(t, addr)
	waiting[0].closed()
	newest.send(searchMessage(1, "hugh@example.com"))
	newest.found(1)
	<-shelf.asked
	for _, w := range []*wire{newest, waiting[1]} {
		w.send(searchMessage(2, "x@slow.test"))
		<-shelf.asked
	}
	dialWire(t, addr).closed()
	if n := s.Connections(); n != 2 {
		t.Errorf("%d connections", n)
	}
	close(shelf.gate)
	for _, w := range []*wire{newest, waiting[1]} {
		if id, op, r := w.answer(); id != 2 || op != opDone || r.code != success {
			t.Errorf("message %d is %#x, %v", id, op, r)
		}
	}
}

// TestInFlight holds that searches run side by side, that only so many wait for
// the source, and that those beyond are told so in time.
func TestInFlight(t *testing.T) {
	s := newServer(t)
	shelf := s.Source.(*shelf)
	shelf.asked = make(chan string, 100)
	s.Limits = Limits{Searches: 2, PerClient: 3, Answer: time.Minute}
	addr := serve(t, s)
	w := dialWire(t, addr)
	w.send(searchMessage(1, "x@slow.test"))
	<-shelf.asked
	w.send(searchMessage(2, "hugh@example.com"))
	w.found(2)
	<-shelf.asked
	w.send(searchMessage(3, "y@slow.test"))
	<-shelf.asked
	r := asking("(mail=hugh@example.com)")
	r.TimeLimit = 1
	if _, err := dial(t, addr).Search(r); codeOf(t, err) != timeLimitExceeded {
		t.Errorf("%v; want %d", err, timeLimitExceeded)
	}
	close(shelf.gate)
	for range 2 {
		if _, op, r := w.answer(); op != opDone || r.code != success {
			t.Errorf("%#x, %v", op, r)
		}
	}
}

// TestAbandon holds that an abandoned search gets no answer, and others do.
func TestAbandon(t *testing.T) {
	s := newServer(t)
	shelf := s.Source.(*shelf)
	shelf.asked = make(chan string, 100)
	w := dialWire(t, serve(t, s))
	w.send(searchMessage(1, "x@slow.test"))
	<-shelf.asked
	w.send([]byte{0x30, 6, 2, 1, 2, opAbandon, 1, 1})
	w.send(searchMessage(3, "hugh@example.com"))
	w.found(3)
	w.send([]byte{0x30, 5, 2, 1, 4, opUnbind, 0})
	w.closed()
}

// TestTLS has StartTLS, and TLS from the beginning.
func TestTLS(t *testing.T) {
	s := newServer(t)
	server, client := tlsPair(t)
	s.TLS = server
	plain := serve(t, s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, s, l, s.ServeTLS)

	c := dial(t, plain)
	if err := c.StartTLS(client); err != nil {
		t.Fatal(err)
	}
	if err := c.StartTLS(client); err == nil {
		t.Error("TLS begins twice")
	}
	secure, err := goldap.DialURL("ldaps://"+l.Addr().String(), goldap.DialWithTLSConfig(client))
	if err != nil {
		t.Fatal(err)
	}
	defer secure.Close()
	for _, c := range []*goldap.Conn{c, secure} {
		if r, err := c.Search(asking("(mail=hugh@example.com)")); err != nil || len(r.Entries) != 1 {
			t.Errorf("over TLS: %v", err)
		}
	}
	if err := dial(t, serve(t, newServer(t))).StartTLS(client); codeOf(t, err) != protocolError {
		t.Errorf("StartTLS without TLS: %v", err)
	}

	// What follows StartTLS in the clear must not be answered over TLS.
	w := dialWire(t, plain)
	start := message(1, opExtended, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.Tag(classContext), func(b *cryptobyte.Builder) { b.AddBytes([]byte(oidStartTLS)) })
	})
	w.send(append(start, searchMessage(2, "hugh@example.com")...))
	if _, _, r := w.answer(); r.code != operationsError {
		t.Errorf("StartTLS with a request behind it: %v", r)
	}
	w.found(2)
}

// TestClose holds that the server says goodbye, and ends while searches wait.
func TestClose(t *testing.T) {
	s := newServer(t)
	shelf := s.Source.(*shelf)
	shelf.asked = make(chan string, 100)
	s.TLS, _ = tlsPair(t)
	w := dialWire(t, serve(t, s))
	w.send(searchMessage(1, "x@slow.test"))
	<-shelf.asked
	s.Close()
	if id, op, r := w.answer(); id != 0 || op != opExtendedOK || r.code != unavailable {
		t.Errorf("message %d is %#x, %v; want a notice of disconnection", id, op, r)
	}
	w.closed()
	if _, err := tls.Dial("tcp", w.RemoteAddr().String(), nil); err == nil {
		t.Error("the server still listens")
	}
	if err := s.Serve(&net.TCPListener{}); err != ErrClosed {
		t.Errorf("serving again: %v", err)
	}
	var _ io.Closer = w
}
