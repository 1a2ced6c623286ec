package certhost

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"crypto/tls"
)

// conns are the open connections of a listener, at most limit of them. When it
// is full, the one that has waited longest (for a handshake, for a request, for
// the rest of its header) is closed to make room: whoever opens many and sends
// nothing only displaces himself and the longest idle. If none waits, it is the
// one that has taken its answer longest, if that is longer than any honest
// client needs.
type conns struct {
	limit  int
	notify func(n int)

	mu     sync.Mutex
	open   map[*conn]struct{}
	closed bool // nobody is let in any more
}

// A conn is one of them. net/http and crypto/tls wrap it.
type conn struct {
	net.Conn
	in     *conns
	closed sync.Once
	hello  atomic.Bool // the client has begun a handshake

	// since is when it began to wait, in nanoseconds since the epoch; negative:
	// when the answer to a request was begun.
	since atomic.Int64
}

// stalled is how long an answer of a few kilobytes may take when others want in.
const stalled = 2 * time.Second

// add takes a connection in, or closes it and returns nil if there is no room, or the
// listener is closed.
func (c *conns) add(nc net.Conn) *conn {
	added := &conn{Conn: nc, in: c}
	now := time.Now()
	added.since.Store(now.UnixNano())
	var victim *conn
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		nc.Close()
		return nil
	}
	if len(c.open) >= c.limit {
		victim = c.oldest(now)
		if victim == nil {
			c.mu.Unlock()
			nc.Close()
			return nil
		}
		delete(c.open, victim)
	}
	c.open[added] = struct{}{}
	n := len(c.open)
	c.mu.Unlock()
	if victim != nil {
		victim.Close()
	}
	c.notify(n)
	return added
}

// oldest is called with mu held, and only when there is no room.
func (c *conns) oldest(now time.Time) *conn {
	var waiting, answered *conn
	waitingSince, answeredSince := now.UnixNano()+1, now.Add(-stalled).UnixNano()
	for candidate := range c.open {
		switch since := candidate.since.Load(); {
		case since >= 0 && since < waitingSince:
			waiting, waitingSince = candidate, since
		case since < 0 && -since < answeredSince:
			answered, answeredSince = candidate, -since
		}
	}
	if waiting != nil {
		return waiting
	}
	return answered
}

// closeAll closes all that are open, and whatever comes later.
func (c *conns) closeAll() {
	c.mu.Lock()
	c.closed = true
	all := make([]*conn, 0, len(c.open))
	for one := range c.open {
		all = append(all, one)
	}
	c.mu.Unlock()
	for _, one := range all {
		one.Close()
	}
}

func (c *conn) Close() error {
	c.closed.Do(func() {
		c.in.mu.Lock()
		delete(c.in.open, c)
		n := len(c.in.open)
		c.in.mu.Unlock()
		c.in.notify(n)
	})
	return c.Conn.Close()
}

// track is the http.Server's ConnState. StateActive begins when a request's
// header has been read, so a client that sends its header slowly still waits.
func track(nc net.Conn, state http.ConnState) {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	c, ok := nc.(*conn)
	if !ok {
		return
	}
	switch state {
	case http.StateActive:
		c.since.Store(-time.Now().UnixNano())
	case http.StateIdle:
		c.since.Store(time.Now().UnixNano())
	}
}

// A queue hands connections that are ready for HTTP to http.Server.Serve.
type queue struct {
	addr   net.Addr
	ready  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newQueue(addr net.Addr) *queue {
	return &queue{addr: addr, ready: make(chan net.Conn, 16), closed: make(chan struct{})}
}

// push gives a connection to the server, or closes it if there is none any more.
func (q *queue) push(nc net.Conn) {
	select {
	case q.ready <- nc:
	case <-q.closed:
		nc.Close()
	}
}

func (q *queue) Accept() (net.Conn, error) {
	select {
	case nc := <-q.ready:
		return nc, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

func (q *queue) Close() error {
	q.once.Do(func() { close(q.closed) })
	return nil
}

func (q *queue) Addr() net.Addr { return q.addr }

// An occasion limits how often something is said.
type occasion struct{ last atomic.Int64 }

// due reports whether ten seconds have passed since it was last due.
func (o *occasion) due(now time.Time) bool {
	last := o.last.Load()
	return now.UnixNano()-last > int64(10*time.Second) && o.last.CompareAndSwap(last, now.UnixNano())
}
