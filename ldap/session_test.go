package ldap

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"coredns-smimea/internal/harness"
	"coredns-smimea/internal/testcert"
	"coredns-smimea/smimea"
)

// bindMessage is an anonymous bind with message ID 1.
var bindMessage = []byte{0x30, 12, 2, 1, 1, 0x60, 7, 2, 1, 3, 4, 0, 0x80, 0}

// done reads the end of a search that has no entry.
func (w *wire) done(id int, want code) {
	w.t.Helper()
	if got, op, r := w.answer(); got != id || op != opDone || r.code != want {
		w.t.Errorf("message %d is %#x, %v; want the end of %d with %d", got, op, r, id, want)
	}
}

// TestHalfClosed has clients end their sending at once, as printf and nc -N do: they get
// the answers to what they have asked before that.
func TestHalfClosed(t *testing.T) {
	server, client := tlsPair(t)
	for _, secure := range []bool{false, true} {
		for what, rest := range map[string][]byte{"at the end": nil, "within a request": {0x30, 12, 2}} {
			s := newServer(t)
			shelf := s.Source.(*shelf)
			shelf.asked = make(chan string, 100)
			s.TLS = server
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			how := s.Serve
			if secure {
				how = s.ServeTLS
			}
			serveOn(t, s, l, how)
			w := dialWire(t, l.Addr().String())
			closeWrite := w.Conn.(*net.TCPConn).CloseWrite
			if secure {
				conn := tls.Client(w.Conn, client)
				w.Conn, closeWrite = conn, conn.CloseWrite
				w.r.Reset(conn)
			}
			w.send(append(append(append([]byte{}, bindMessage...), searchMessage(2, "x@slow.test")...), rest...))
			if err := closeWrite(); err != nil {
				t.Fatal(err)
			}
			if id, op, r := w.answer(); id != 1 || op != opBound || r.code != success {
				t.Errorf("%s: message %d is %#x, %v", what, id, op, r)
			}
			<-shelf.asked
			close(shelf.gate)
			w.done(2, success)
			w.closed()
		}
	}
}

// TestMany has a client ask more than may wait, all at once: each question is answered,
// those beyond with "busy", and then there is room again.
func TestMany(t *testing.T) {
	const some, more = 4, 40
	s := newServer(t)
	shelf := s.Source.(*shelf)
	s.Limits.PerClient = some
	w := dialWire(t, serve(t, s))
	var all []byte
	for id := 1; id <= some+more; id++ {
		all = append(all, searchMessage(id, "x@slow.test")...)
	}
	w.send(all)
	for id := some + 1; id <= some+more; id++ {
		w.done(id, busy)
	}
	close(shelf.gate)
	seen := map[int]bool{}
	for range some {
		id, op, r := w.answer()
		if seen[id] = true; id > some || op != opDone || r.code != success {
			t.Errorf("message %d is %#x, %v", id, op, r)
		}
	}
	if len(seen) != some {
		t.Errorf("answered are %v", seen)
	}
	w.send(searchMessage(1, "hugh@example.com"))
	w.found(1)
}

// TestBindAfterSearch holds that a bind does not take the answer of a search away.
func TestBindAfterSearch(t *testing.T) {
	s := newServer(t)
	shelf := s.Source.(*shelf)
	shelf.asked = make(chan string, 100)
	w := dialWire(t, serve(t, s))
	w.send(append(searchMessage(7, "x@slow.test"), bindMessage...))
	<-shelf.asked
	close(shelf.gate)
	w.done(7, success)
	if id, op, r := w.answer(); id != 1 || op != opBound || r.code != success {
		t.Errorf("message %d is %#x, %v", id, op, r)
	}
}

// critical is a control that nobody knows, and that is critical.
func critical(oid string) func(*cryptobyte.Builder) {
	return func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.Tag(classContext|constructed), func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				addString(b, oid)
				b.AddASN1Boolean(true)
			})
		})
	}
}

// TestCritical has critical controls with all kinds of requests.
func TestCritical(t *testing.T) {
	s := newServer(t)
	shelf := s.Source.(*shelf)
	shelf.asked = make(chan string, 100)
	w := dialWire(t, serve(t, s))
	bind := func(b *cryptobyte.Builder) {
		b.AddASN1Int64(3)
		addString(b, "")
		b.AddASN1(asn1.Tag(classContext), func(*cryptobyte.Builder) {})
	}
	for _, oid := range []string{"1.2.3.4", oidPaged, oidManageDsaIT} {
		w.send(message(2, opBind, bind, critical(oid)))
		if id, op, r := w.answer(); id != 2 || op != opBound || r.code != unavailableCritical {
			t.Errorf("a bind with %s: message %d is %#x, %v", oid, id, op, r)
		}
	}
	w.send(message(3, opDelete, func(b *cryptobyte.Builder) { b.AddBytes([]byte("cn=x")) }, critical(oidManageDsaIT)))
	if _, op, r := w.answer(); op != (opDelete|constructed)+1 || r.code != unwillingToPerform {
		t.Errorf("a deletion with ManageDsaIT: %#x, %v", op, r)
	}
	// An Abandon that is not to be done without something that is not known is not done.
	w.send(searchMessage(4, "x@slow.test"))
	<-shelf.asked
	w.send(message(5, opAbandon, func(b *cryptobyte.Builder) { b.AddBytes([]byte{4}) }, critical("1.2.3.4")))
	w.send(searchMessage(6, "hugh@example.com"))
	w.found(6)
	close(shelf.gate)
	w.done(4, success)
	// Nothing keeps a client from going.
	w.send(message(7, opUnbind, func(*cryptobyte.Builder) {}, critical("1.2.3.4")))
	w.closed()
}

// TestSlowSenders holds that those who begin requests, and TLS, and do not end them give
// way to others.
func TestSlowSenders(t *testing.T) {
	s := newServer(t)
	s.Limits.Connections = 4
	s.TLS, _ = tlsPair(t)
	plain := serve(t, s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, s, l, s.ServeTLS)
	for _, addr := range []string{plain, l.Addr().String(), plain, l.Addr().String()} {
		dialWire(t, addr).send([]byte{0x30})
	}
	if !harness.Wait(harness.Patience, nil, func() bool { return s.Connections() == 4 }) {
		t.Fatalf("%d connections", s.Connections())
	}
	for range 4 {
		w := dialWire(t, plain)
		w.send(searchMessage(1, "hugh@example.com"))
		w.found(1)
	}
}

// A stuck source does not end with its context, as a disk that does not answer.
type stuck struct {
	*shelf
	release chan struct{}
}

func (s *stuck) Find(ctx context.Context, a smimea.Address) (Found, error) {
	if a.Domain == "stuck.test" {
		<-s.release
	}
	return s.shelf.Find(ctx, a)
}

// TestStuck holds that a source that hangs keeps no client waiting, and not the answers
// that others have.
func TestStuck(t *testing.T) {
	source := &stuck{newShelf(t), make(chan struct{})}
	s := &Server{Source: source, Base: "o=smimea", Limits: Limits{Answer: 5 * shortly}}
	c := dial(t, serve(t, s))
	for range 2 {
		r, err := c.Search(asking("(|(mail=x@stuck.test)(mail=hugh@example.com))"))
		if codeOf(t, err) != busy || entriesOf(r) != "hugh@example.com" {
			t.Errorf("%q, %v", entriesOf(r), err)
		}
	}
	close(source.release)
	if !harness.Wait(harness.Patience, nil, func() bool { return len(s.slots) == 0 }) {
		t.Error("what hung stays counted")
	}
}

// TestEntryNames reads entries again by their names, however those are written, and asks
// below what is no name.
func TestEntryNames(t *testing.T) {
	s := newServer(t)
	shelf := s.Source.(*shelf)
	for _, address := range []string{"hugh+lists@example.com", `"a, b"@example.com`, "o'hara=x@example.com"} {
		a, err := smimea.ParseAddress(address)
		if err != nil {
			t.Fatal(err)
		}
		shelf.found[a.String()] = Found{Certificates: []Certificate{{Raw: leaf(t, address), Chain: [][]byte{testcert.Shared().Certificate}}, {Raw: leaf(t, address)}}}
		c := dial(t, serve(t, &Server{Source: shelf, Base: "o=smimea"}))
		r, err := c.Search(goldap.NewSearchRequest("this is no name", goldap.ScopeWholeSubtree, 0, 0, 0, false, "(mail="+goldap.EscapeFilter(address)+")", []string{"mail"}, nil))
		if err != nil || len(r.Entries) != 2 {
			t.Fatalf("%s: %v", address, err)
		}
		for _, e := range r.Entries {
			name, err := goldap.ParseDN(e.DN)
			if err != nil || !strings.HasSuffix(e.DN, ",o=smimea") || name.RDNs[1].Attributes[0].Value != address {
				t.Errorf("the name %q: %v", e.DN, err)
			}
			uid, mail := name.RDNs[0].Attributes[0].Value, name.RDNs[1].Attributes[0]
			for _, dn := range []string{e.DN, "UID = " + uid + " , Mail= " + escapeDN(mail.Value) + " , o=smimea", strings.ReplaceAll(e.DN, `\+`, `\2B`)} {
				again, err := c.Search(goldap.NewSearchRequest(dn, goldap.ScopeBaseObject, 0, 0, 0, false, "(objectClass=*)", []string{"uid"}, nil))
				if err != nil || len(again.Entries) != 1 || again.Entries[0].GetAttributeValue("uid") != uid {
					t.Errorf("the entry %q: %v, %v", dn, again, err)
				}
			}
		}
	}
	for text, want := range map[string]entryName{
		"uid=a,mail=b": {"a", "b", ""}, `uid=a,mail=\62\`: {"a", "b", ""}, `UID= a , mail = b\  , o=x`: {"a", "b ", "o=x"},
		"": {}, "mail=b,uid=a": {}, "uid=a": {}, "uid=,mail=b": {}, "o=smimea": {}, ",": {}, "uid=a,mail": {},
	} {
		if got, ok := parseEntryName(text); ok != (want.uid != "") || ok && got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// TestHeld holds that a search that waits takes little more room than its request, also
// if that is of nothing but the smallest of filters.
func TestHeld(t *testing.T) {
	const searches = 10
	s := newServer(t)
	shelf := s.Source.(*shelf)
	shelf.asked = make(chan string, searches)
	w := dialWire(t, serve(t, s))
	octets := message(0, opSearch, func(b *cryptobyte.Builder) {
		addString(b, "")
		b.AddASN1Enum(2)
		b.AddASN1Enum(0)
		b.AddASN1Int64(0)
		b.AddASN1Int64(0)
		b.AddASN1Boolean(false)
		b.AddASN1(filterOr, func(b *cryptobyte.Builder) {
			b.AddASN1(filterEqual, func(b *cryptobyte.Builder) { addString(b, "mail"); addString(b, "x@slow.test") })
			b.AddBytes(bytes.Repeat([]byte{filterPresent, 0}, 15_000))
		})
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(bytes.Repeat([]byte("\x04\x02cn"), 8_000)) })
	})
	before := heap()
	for id := 1; id <= searches; id++ {
		octets[6] = byte(id) // behind the header of four octets, and the integer's
		w.send(octets)
		<-shelf.asked
	}
	if held := heap() - before; held > searches*4*65536 {
		t.Errorf("%d searches of 62 KiB hold %d octets", searches, held)
	}
	close(shelf.gate)
	for range searches {
		if _, op, r := w.answer(); op != opDone || r.code != success {
			t.Errorf("%#x, %v", op, r)
		}
	}
}
