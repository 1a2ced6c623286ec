package lane

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin/metrics/vars"
	"github.com/miekg/dns"
)

// A reader reads one socket for one instance of the server. It is the
// net.PacketConn of a dns.Server, which gets from it what no block answers, and
// deals with that as CoreDNS's own does: one goroutine a packet, malformed ones
// and TSIG included.
type reader struct {
	lane   *Lane
	socket *socket
	query  Query

	passed  [batch]int // packets that the chain is to answer
	granted [batch]bool
	passing int // of them
	given   int // of these
	at      int // the packet that is being answered
	waiting queue
	back    []handedBack

	stopping atomic.Bool
	drain    bool          // before it stops, read what has come in; set before stopping is
	last     bool          // there is no more to wait for
	stopped  chan struct{} // closed when it reads no more
	ended    chan struct{} // closed when all that it has passed is answered
}

var errStopped = errors.New("the lane reads no more")

// serve reads until the reader is stopped.
func (r *reader) serve() {
	defer close(r.ended)
	server := &dns.Server{
		Net:        "udp",
		PacketConn: r,
		TsigSecret: r.lane.Server.TsigSecret,
		Handler:    dns.HandlerFunc(r.lane.pass),
	}
	err := server.ActivateAndServe()
	if !errors.Is(err, errStopped) {
		// The kernel gives packets to the others of its group.
		r.lane.Log.Errorf("A socket of the fast lane of %s has failed: %v", r.lane.Server.Addr, err)
		r.socket.conn.Close()
		close(r.stopped)
	}
}

// pass gives a query to CoreDNS as its own sockets do.
func (l *Lane) pass(w dns.ResponseWriter, m *dns.Msg) {
	ctx := context.WithValue(context.Background(), dnsserver.Key{}, l.Server)
	ctx = context.WithValue(ctx, dnsserver.LoopKey{}, 0)
	if c, ok := w.RemoteAddr().(*client); ok && c.granted {
		ctx = context.WithValue(ctx, grantedKey{}, true)
	}
	l.Server.ServeDNS(ctx, writer{w}, m)
}

// stop has the reader end. With drain it first reads what waits, and what the
// kernel may still give it.
func (r *reader) stop(drain bool) {
	r.drain = drain
	deadline := time.Now()
	if drain {
		deadline = deadline.Add(settling)
	}
	r.stopping.Store(true)
	_ = r.socket.conn.SetReadDeadline(deadline)
	<-r.stopped
	_ = r.socket.conn.SetReadDeadline(time.Time{})
}

// ReadFrom implements net.PacketConn. It returns the next packet that no block
// answers, and answers those that come before it.
func (r *reader) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		if r.given < r.passing {
			i := r.passed[r.given]
			r.given++
			c := r.socket.client(i)
			c.granted = r.granted[r.given-1]
			return copy(p, r.socket.query(i)), c, nil
		}
		if len(r.back) > 0 {
			b := r.back[0]
			r.back = r.back[1:]
			r.lane.Passed.Inc()
			return copy(p, b.packet), b.client, nil
		}
		if r.passing > 0 {
			// Who has been given a packet is not made to wait for the next ones.
			r.passing, r.given = 0, 0
			runtime.Gosched()
		}
		stopping := r.stopping.Load()
		if stopping && !r.drain {
			if r.waiting.count > 0 {
				r.handBack(r.waiting.next()) // the next reader is not made to wait
				continue
			}
			close(r.stopped)
			return 0, nil, errStopped
		}
		err := r.socket.read(!r.last && r.waiting.count == 0)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			r.last = true
			_ = r.socket.conn.SetReadDeadline(time.Time{})
		case err != nil:
			return 0, nil, err
		case r.last && r.socket.count+r.waiting.count == 0:
			close(r.stopped)
			return 0, nil, errStopped
		}
		r.answer()
		if r.waiting.count > 0 {
			r.sign()
		}
	}
}

// answer answers what the blocks can of a batch, and passes the rest.
func (r *reader) answer() {
	r.query.Now = time.Now()
	for r.at = 0; r.at < r.socket.count; {
		r.answerFrom()
	}
	if r.passing > 0 {
		r.lane.Passed.Add(float64(r.passing))
	}
	r.flush()
}

// flush sends what is answered.
func (r *reader) flush() {
	r.lane.Answered.Add(float64(r.socket.queued))
	if err := r.socket.flush(); err != nil {
		r.lane.Log.Debugf("Sending replies of %s: %v", r.lane.Server.Addr, err)
	}
}

// answerFrom answers packets from r.at on. A query at which a block panics is
// passed, and then it is CoreDNS that catches that, or not, as it is told to.
func (r *reader) answerFrom() {
	defer func() {
		if what := recover(); what != nil {
			r.panicked(what)
			r.pass()
			r.at++
		}
	}()
	s, q := r.socket, &r.query
	for ; r.at < s.count; r.at++ {
		packet := s.query(r.at)
		q.Granted = false
		if !q.Parse(packet) {
			if !s.probed(packet) {
				r.pass()
			}
			continue
		}
		q.IPv6 = s.ipv6(r.at)
		reply, ok := r.lane.answer(q, s.replies[s.queued][:0], len(packet), Block.Answer)
		switch {
		case ok:
			s.queue(r.at, reply)
		case !q.Granted || !r.postpone(r.at, packet):
			r.pass()
		}
	}
}

func (r *reader) panicked(what any) {
	r.lane.Log.Errorf("Recovered from panic in the fast lane of %q: %v", r.lane.Server.Addr, what)
	vars.Panic.Inc()
}

func (r *reader) pass() {
	r.passed[r.passing], r.granted[r.passing] = r.at, r.query.Granted
	r.passing++
}

// WriteTo implements net.PacketConn.
func (r *reader) WriteTo(b []byte, to net.Addr) (int, error) {
	c, ok := to.(*client)
	if !ok {
		return 0, errors.New("not a client of the lane")
	}
	return r.socket.writeTo(b, c)
}

// LocalAddr implements net.PacketConn.
func (r *reader) LocalAddr() net.Addr { return r.socket.conn.LocalAddr() }

// Close and the deadlines of net.PacketConn do nothing: the socket outlives its
// readers, and stop ends them.
func (r *reader) Close() error                     { return nil }
func (r *reader) SetDeadline(time.Time) error      { return nil }
func (r *reader) SetReadDeadline(time.Time) error  { return nil }
func (r *reader) SetWriteDeadline(time.Time) error { return nil }

// A client is who has sent a packet, and by which of our addresses.
type client struct {
	udp     net.UDPAddr
	control []byte // for the kernel, with the reply; none where there is one address only
	granted bool
}

func (c *client) Network() string { return c.udp.Network() }
func (c *client) String() string  { return c.udp.String() }

// A writer shows the chain the client's address as CoreDNS's own sockets do.
type writer struct{ dns.ResponseWriter }

func (w writer) RemoteAddr() net.Addr {
	c, ok := w.ResponseWriter.RemoteAddr().(*client)
	if !ok {
		return w.ResponseWriter.RemoteAddr()
	}
	return &c.udp
}
