package certhost

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// What a client may take at most, phase by phase.
const (
	handshakeTimeout = 10 * time.Second
	headerTimeout    = 10 * time.Second // to send a request's header
	requestTimeout   = 15 * time.Second // to send a whole request; there is no use for a body
	answerTimeout    = 30 * time.Second // to take the answer, from the end of the header
	idleTimeout      = 60 * time.Second // between requests
	closeTimeout     = 3 * time.Second  // to finish when the listener goes away
	maxHeader        = 16 << 10         // octets
	maxStreams       = 100              // requests in progress on one HTTP/2 connection
)

// A host is one listener with its HTTP server and all leases of its address.
type host struct {
	key      string // its address in the registry
	listener net.Listener
	server   *http.Server
	queue    *queue
	conns    *conns
	cache    cache
	complain occasion
	proxied  sync.Once // to say that a proxy does not pass names on
	done     sync.WaitGroup

	// routes are what is served now: replaced whole by publish and release.
	routes atomic.Pointer[routes]

	// leases are those not yet released, in the order of Acquire. The registry's
	// lock guards them.
	leases []*Lease
}

// listen opens the listener. The socket does not set SO_REUSEPORT as CoreDNS's
// do: two listeners on one port would share its connections at random, and
// without it the kernel says so.
func listen(key string, config *Config) (*host, error) {
	l, err := net.Listen("tcp", config.Address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listening on %s: the port is taken, by another program or by a server of this one (DNS over HTTPS, DNS over TLS, metrics); choose another port for one of the two", config.Address)
	}
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", config.Address, err)
	}
	h := &host{key: key, listener: l, queue: newQueue(l.Addr()), cache: newCache()}
	h.routes.Store(newRoutes(nil))
	address := l.Addr().String()
	h.conns = &conns{
		limit:  config.MaxConnections,
		open:   map[*conn]struct{}{},
		notify: func(n int) { h.routes.Load().metrics.Connections(address, n) },
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	h.server = &http.Server{
		Handler:           h,
		Protocols:         &protocols,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnState:         track,
		ErrorLog:          log.New(radiation{h}, "", 0),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams,
			SendPingTimeout:      requestTimeout,
			PingTimeout:          requestTimeout,
			WriteByteTimeout:     requestTimeout,
		},
	}
	h.done.Add(2)
	go h.accept()
	go func() {
		defer h.done.Done()
		h.server.Serve(h.queue)
	}()
	return h, nil
}

// radiation takes what net/http complains about, which is what strangers send.
type radiation struct{ h *host }

func (r radiation) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if log := r.h.routes.Load().log; strings.Contains(text, "panic") {
		log.Errorf("https: %s", text) // that is ours
	} else {
		log.Debugf("https: %s", text)
	}
	return len(line), nil
}

// recovered keeps a panic in one of our goroutines from ending the process, and
// with it the DNS. It is deferred; cleanup is called if there was a panic.
func recovered(log Logger, what string, cleanup func()) {
	if v := recover(); v != nil {
		log.Errorf("https: panic %s: %v\n%s", what, v, debug.Stack())
		cleanup()
	}
}

func (h *host) accept() {
	defer h.done.Done()
	config := &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			hello.Conn.(*conn).hello.Store(true)
			return h.routes.Load().tls(hello)
		},
	}
	var pause time.Duration
	for {
		nc, err := h.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of file descriptors, or the client has gone again.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			if now := time.Now(); h.complain.due(now) {
				h.routes.Load().log.Errorf("https: accepting a connection: %v", err)
			}
			select {
			case <-time.After(pause):
			case <-h.queue.closed:
			}
			continue
		}
		pause = 0
		c := h.conns.add(nc)
		switch {
		case c == nil:
		case h.routes.Load().plain:
			h.queue.push(c)
		default:
			h.done.Go(func() { h.handshake(c, config) })
		}
	}
}

// handshake prepares a connection for HTTP. It is done here and not by net/http
// so that failures can be counted by their reason, and so that the connections
// of an ACME server never reach HTTP.
func (h *host) handshake(c *conn, config *tls.Config) {
	defer recovered(h.routes.Load().log, "in a handshake", func() { c.Close() })
	c.SetDeadline(time.Now().Add(handshakeTimeout))
	t := tls.Server(c, config)
	if err := t.HandshakeContext(context.Background()); err != nil {
		c.Close()
		routes := h.routes.Load()
		if c.hello.Load() || !closedByPeer(err) {
			routes.metrics.HandshakeError(handshakeReason(err))
			routes.log.Debugf("https: handshake with %s: %v", c.RemoteAddr(), err)
		}
		return
	}
	if t.ConnectionState().NegotiatedProtocol == acmeProtocol {
		h.routes.Load().metrics.ACME("challenge")
		t.Close() // RFC 8737 section 3: the handshake was all
		return
	}
	c.SetDeadline(time.Time{})
	h.queue.push(t)
}

func closedByPeer(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}

func handshakeReason(err error) string {
	var alert tls.AlertError
	var remote *net.OpError // how crypto/tls wraps an alert it has received
	switch {
	case errors.Is(err, errNoCertificate):
		return "no_certificate"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case closedByPeer(err):
		return "aborted"
	case errors.As(err, &alert), errors.As(err, &remote) && remote.Op == "remote error":
		return "client_alert"
	}
	return "protocol"
}

// close ends the listener: nobody new, what is in progress may finish.
func (h *host) close() {
	h.listener.Close()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	h.server.Shutdown(ctx) // closes the queue, too
	h.queue.Close()
	h.conns.closeAll()
	h.done.Wait()
}
