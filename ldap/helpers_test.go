package ldap

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"coredns-smimea/discover/discovertest"
	"coredns-smimea/internal/testcert"
	"coredns-smimea/smimea"
)

// A shelf is a source that has what a test puts there.
type shelf struct {
	found  map[string]Found
	failed map[string]error
	gate   chan struct{} // if not nil, what is in domain slow.test waits for it
	asked  chan string   // if not nil, told of each address
}

func (s *shelf) Find(ctx context.Context, a smimea.Address) (Found, error) {
	if s.asked != nil {
		s.asked <- a.String()
	}
	if a.Domain == "slow.test" {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return Found{}, ctx.Err()
		}
	}
	return s.found[a.String()], s.failed[a.String()]
}

// newShelf has hugh@example.com with a leaf and its issuer, and two of
// two@example.com.
func newShelf(t testing.TB) *shelf {
	t.Helper()
	s := &shelf{found: map[string]Found{}, failed: map[string]error{}, gate: make(chan struct{})}
	s.found["hugh@example.com"] = Found{Certificates: []Certificate{{Raw: leaf(t, "hugh@example.com"), Chain: [][]byte{testcert.Shared().Certificate}}}}
	s.found["two@example.com"] = Found{Certificates: []Certificate{{Raw: leaf(t, "two@example.com")}, {Raw: leaf(t, "two@example.com")}}}
	s.found["nobody@example.com"] = Found{Why: "the domain says that there is none"}
	return s
}

func leaf(t testing.TB, address string) []byte {
	t.Helper()
	der, err := testcert.Template{Addresses: []string{address}, CommonName: "Hugh E. User"}.DER()
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// serve runs a server until the test ends, and returns its address.
func serve(t testing.TB, s *Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, s, l, s.Serve)
	return l.Addr().String()
}

func serveOn(t testing.TB, s *Server, l net.Listener, how func(net.Listener) error) {
	done := make(chan error)
	go func() { done <- how(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; err != ErrClosed {
			t.Errorf("serving: %v", err)
		}
	})
}

// newServer is a server of a shelf. Its searches wait for as long as a test may take.
func newServer(t testing.TB) *Server {
	return &Server{Source: newShelf(t), Base: "o=smimea", Limits: Limits{Answer: time.Minute}}
}

// tlsPair makes the configurations of a TLS server and of its clients.
func tlsPair(t testing.TB) (server, client *tls.Config) {
	web := discovertest.ServeWeb(t, nil, "127.0.0.1", "localhost")
	return &tls.Config{Certificates: []tls.Certificate{web.KeyPair}}, &tls.Config{RootCAs: web.Roots, ServerName: "localhost"}
}

func dial(t testing.TB, addr string) *goldap.Conn {
	t.Helper()
	c, err := goldap.DialURL("ldap://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	c.SetTimeout(20 * time.Second)
	t.Cleanup(func() { c.Close() })
	return c
}

func asking(filter string, attributes ...string) *goldap.SearchRequest {
	return goldap.NewSearchRequest("dc=example,dc=com", goldap.ScopeWholeSubtree, goldap.NeverDerefAliases, 0, 0, false, filter, attributes, nil)
}

// codeOf is the result code of a go-ldap error; 0 of none.
func codeOf(t testing.TB, err error) code {
	t.Helper()
	if err == nil {
		return success
	}
	e, ok := err.(*goldap.Error)
	if !ok {
		t.Fatalf("no result: %v", err)
	}
	return code(e.ResultCode)
}

// A wire is a connection on which octets are sent as they are.
type wire struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func dialWire(t testing.TB, addr string) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(time.Minute))
	t.Cleanup(func() { conn.Close() })
	return &wire{t, conn, bufio.NewReader(conn)}
}

func (w *wire) send(octets []byte) {
	w.t.Helper()
	if _, err := w.Write(octets); err != nil {
		w.t.Fatal(err)
	}
}

// answer reads the next message: its ID, its operation's tag, and the code and
// text of its result.
func (w *wire) answer() (id int, op byte, r result) {
	w.t.Helper()
	body, err := readMessage(w.r, 1<<20)
	if err != nil {
		w.t.Fatalf("no answer: %v", err)
	}
	m, err := parseRequest(append(ber{2, 1, 0}, body[2+int(body[1]):]...))
	if err != nil {
		w.t.Fatal(err)
	}
	id, _ = body[2 : 2+int(body[1])].number()
	if m.op != opEntry {
		n, err := m.body.integer(tagEnumerated)
		if err != nil {
			w.t.Fatal(err)
		}
		m.body.octets()
		text, _ := m.body.octets()
		r = result{code(n), text}
	}
	return id, m.op, r
}

// closed waits until the server has hung up.
func (w *wire) closed() {
	w.t.Helper()
	if c, err := w.r.ReadByte(); err == nil {
		w.t.Fatalf("there is more: %#x", c)
	} else if e, ok := err.(net.Error); ok && e.Timeout() {
		w.t.Fatal("the connection stays")
	}
}

func entriesOf(r *goldap.SearchResult) string {
	var dns []string
	for _, e := range r.Entries {
		dns = append(dns, e.GetAttributeValue("mail"))
	}
	return strings.Join(dns, " ")
}
