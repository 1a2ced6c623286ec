// Package ldap is a read-only LDAPv3 server (RFC 4511) that hands out S/MIME
// certificates by mail address, for mail programs that look there for those of
// strangers. Where the certificates come from is for a [Source] to know.
//
// A search is for the addresses in its filter. It is answered within
// [Limits.Answer], whatever the source does: a mail program waits for it behind
// a dialog that the user cannot close. "There is none" is success without an
// entry, and said only if the source says so; what fails is busy or unavailable.
//
// Requests are read by a reader of BER of this package's own, and answers
// written with golang.org/x/crypto/cryptobyte. Of the kept libraries,
// go-asn1-ber/asn1-ber makes a tree of objects of some hundred times the size
// of a request that is made for it, and reads indefinite lengths, which LDAP
// forbids; cryptobyte reads DER only, which LDAP clients do not all write.
// go-ldap/ldap is a client, with which this server is tested.
package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"
)

// Limits bound what clients can make a server do. Zero fields are those of
// [DefaultLimits].
type Limits struct {
	Connections int // at once
	Searches    int // that wait for a source at once, of all connections
	PerClient   int // of these, of one connection
	Addresses   int // of one search
	Entries     int // of one search
	Request     int // octets of a request

	Answer time.Duration // until a search is answered
	Read   time.Duration // until a request has come, once it has begun
	Write  time.Duration // until an answer is taken
	Idle   time.Duration // until a connection ends that asks nothing
	Total  time.Duration // until a connection ends
}

// DefaultLimits are for a machine with few users.
var DefaultLimits = Limits{
	Connections: 128, Searches: 256, PerClient: 32, Addresses: 32, Entries: 100, Request: 64 << 10,
	Answer: 2500 * time.Millisecond, Read: 10 * time.Second, Write: 10 * time.Second, Idle: 5 * time.Minute, Total: time.Hour,
}

// orDefault fills in what is not set.
func (l Limits) orDefault() Limits {
	for _, f := range []struct{ to, from *int }{
		{&l.Connections, &DefaultLimits.Connections}, {&l.Searches, &DefaultLimits.Searches}, {&l.PerClient, &DefaultLimits.PerClient},
		{&l.Addresses, &DefaultLimits.Addresses}, {&l.Entries, &DefaultLimits.Entries}, {&l.Request, &DefaultLimits.Request},
	} {
		if *f.to == 0 {
			*f.to = *f.from
		}
	}
	for _, f := range []struct{ to, from *time.Duration }{
		{&l.Answer, &DefaultLimits.Answer}, {&l.Read, &DefaultLimits.Read}, {&l.Write, &DefaultLimits.Write},
		{&l.Idle, &DefaultLimits.Idle}, {&l.Total, &DefaultLimits.Total},
	} {
		if *f.to == 0 {
			*f.to = *f.from
		}
	}
	return l
}

// A Server answers searches. Its fields are not changed once it serves.
type Server struct {
	Source Source
	// Base is the naming context that the root DSE names, such as "o=smimea".
	// Searches may have any base.
	Base string
	// TLS is for StartTLS and for connections of [Server.ServeTLS]; nil if
	// there is none.
	TLS    *tls.Config
	Limits Limits
	// Searched is told of each search that was answered, if not nil.
	Searched func(Search)
	// Failed is told why connections end that should not, if not nil.
	Failed func(error)

	once    sync.Once
	limits  Limits
	slots   chan struct{} // of searches
	ctx     context.Context
	cancel  context.CancelFunc
	working sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	listeners map[net.Listener]bool
	sessions  map[*session]bool
}

// A Search says how a search went.
type Search struct {
	Code      int // the resultCode
	Addresses int // that were looked up
	Entries   int
	Took      time.Duration
}

// ErrClosed is the error of serving after [Server.Close].
var ErrClosed = errors.New("the LDAP server is closed")

func (s *Server) init() {
	s.once.Do(func() {
		s.limits = s.Limits.orDefault()
		s.slots = make(chan struct{}, s.limits.Searches)
		s.ctx, s.cancel = context.WithCancel(context.Background())
		s.listeners, s.sessions = map[net.Listener]bool{}, map[*session]bool{}
	})
}

// Serve answers on a listener until it fails or the server is closed, which is
// [ErrClosed].
func (s *Server) Serve(l net.Listener) error { return s.serve(l, false) }

// ServeTLS is Serve for a listener whose connections begin with TLS.
func (s *Server) ServeTLS(l net.Listener) error { return s.serve(l, true) }

func (s *Server) serve(l net.Listener, secure bool) error {
	s.init()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		l.Close()
		return ErrClosed
	}
	s.listeners[l] = true
	s.mu.Unlock()
	var pause time.Duration
	for {
		conn, err := l.Accept()
		if err == nil {
			pause = 0
			s.accept(conn, secure)
			continue
		}
		if s.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return ErrClosed
		}
		// Too many open files, say: it will pass.
		s.fail(err)
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		select {
		case <-time.After(pause):
		case <-s.ctx.Done():
			return ErrClosed
		}
	}
}

// accept begins a session. If there are too many, that one gives way which has
// asked nothing for longest, or not finished asking: a program that comes back later
// connects again. One whose search waits stays.
func (s *Server) accept(conn net.Conn, secure bool) {
	c := newSession(s, conn)
	s.mu.Lock()
	room := !s.closed && (len(s.sessions) < s.limits.Connections || s.evict())
	if room {
		s.sessions[c] = true
		s.working.Add(1)
	}
	s.mu.Unlock()
	if !room {
		conn.Close()
		return
	}
	go func() {
		defer s.working.Done()
		c.run(secure)
		s.mu.Lock()
		delete(s.sessions, c)
		s.mu.Unlock()
	}()
}

// evict ends the session that has been idle longest, and reports whether there was
// one. The lock is held.
func (s *Server) evict() bool {
	var oldest *session
	var since int64
	for c := range s.sessions {
		if at := c.idle.Load(); at != 0 && (oldest == nil || at < since) {
			oldest, since = c, at
		}
	}
	if oldest == nil {
		return false
	}
	delete(s.sessions, oldest)
	oldest.raw.Close()
	return true
}

// Connections returns how many there are.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// Close ends all connections, and waits for what is under way.
func (s *Server) Close() {
	s.init()
	s.mu.Lock()
	s.closed = true
	s.cancel()
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.sessions {
		c.interrupt()
	}
	s.mu.Unlock()
	s.working.Wait()
}

func (s *Server) fail(err error) {
	if s.Failed != nil {
		s.Failed(err)
	}
}
