package ldap

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A session is one connection. One goroutine reads its requests, and answers
// all but searches that wait for a source: these have a goroutine each.
type session struct {
	*Server
	raw    net.Conn
	conn   net.Conn // raw, or TLS over it once that has begun
	r      *bufio.Reader
	end    time.Time    // of the connection at the latest
	secure bool         // over TLS
	idle   atomic.Int64 // since when, in ns since 1970, no search waits; 0 if one does

	writing sync.Mutex // held while an answer is written

	slots    chan struct{} // of searches that wait
	full     bool          // there was none for as long as one is waited for
	waiting  sync.WaitGroup
	mu       sync.Mutex
	searches map[int]context.CancelFunc // those that wait, by message ID
	pending  int                        // searches that wait, or whose answer is being sent
}

// readSize is enough for the requests of mail programs.
const readSize = 2048

func newSession(s *Server, conn net.Conn) *session {
	c := &session{
		Server: s, raw: conn, conn: conn, r: bufio.NewReaderSize(conn, readSize), end: time.Now().Add(s.limits.Total),
		slots: make(chan struct{}, s.limits.PerClient), searches: map[int]context.CancelFunc{},
	}
	c.noteIdle()
	return c
}

// interrupt ends the wait for the next request.
func (c *session) interrupt() { c.raw.SetReadDeadline(time.Unix(1, 0)) }

// allow gives the client some time to send. The error says that the server
// stops: interrupt, which comes after that, is not undone.
func (c *session) allow(d time.Duration) error {
	at := time.Now().Add(d)
	if at.After(c.end) {
		at = c.end
	}
	c.raw.SetReadDeadline(at)
	return c.ctx.Err()
}

// run answers requests until the connection ends.
func (c *session) run(secure bool) {
	defer c.raw.Close()
	if secure && c.startTLS() != nil {
		return
	}
	err := c.requests()
	if !isSilence(err) {
		c.abandonAll()
	}
	c.waiting.Wait()
	switch {
	case err == nil:
	case c.ctx.Err() != nil:
		c.disconnect(result{unavailable, "the server stops"})
	case errors.Is(err, errBER):
		c.fail(err)
		c.disconnect(result{protocolError, "the request cannot be read"})
	case errors.As(err, new(*tooLong)):
		c.fail(err)
		c.disconnect(result{protocolError, err.Error()})
	}
	if c.conn != c.raw {
		c.conn.Close() // with TLS's goodbye
	}
}

// isSilence reports whether a client says nothing more, or not in time. It may still
// listen to what it has asked for: printf and nc -N end their sending so.
func isSilence(err error) bool {
	var timeout net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &timeout) && timeout.Timeout()
}

// requests reads and answers one request after the other. It returns nil if the
// client has ended the session.
func (c *session) requests() error {
	for {
		if err := c.allow(c.limits.Idle); err != nil {
			return err
		}
		if _, err := c.r.Peek(1); err != nil {
			return err
		}
		c.mu.Lock()
		c.noteIdle()
		c.mu.Unlock()
		if err := c.allow(c.limits.Read); err != nil {
			return err
		}
		body, err := readMessage(c.r, c.limits.Request)
		if err != nil {
			return err
		}
		r, err := parseRequest(body)
		if err != nil {
			return err
		}
		if ended, err := c.answer(&r); ended || err != nil {
			return err
		}
	}
}

// noteIdle notes that the client has done something just now, and whether a search
// waits. A request that is sent slowly is no reason to stay. The lock is held, once the
// session is known to others.
func (c *session) noteIdle() {
	if c.pending == 0 {
		c.idle.Store(time.Now().UnixNano())
	} else {
		c.idle.Store(0)
	}
}

// answer does what a request wants. An error, as does ended, ends the session.
func (c *session) answer(r *request) (ended bool, err error) {
	switch r.op {
	case opUnbind:
		return true, nil
	case opAbandon:
		id, err := r.body.number()
		if _, critical := r.unsupported(); err != nil || critical {
			return false, err
		}
		c.abandon(id)
		return false, nil
	}
	response, ok := responses[r.op]
	if !ok || r.id == 0 {
		return false, errBER // RFC 4511 section 4.1.1
	}
	if oid, critical := r.unsupported(); critical {
		return false, c.send(resultMessage(r.id, response, result{unavailableCritical, "the control " + quoteOID(oid) + " is not supported"}, ""))
	}
	switch r.op {
	case opBind:
		// RFC 4511 section 4.2.1 has what is under way abandoned or completed, and
		// who has asked for it may wait.
		c.waiting.Wait()
		res, err := bind(r.body)
		if err != nil {
			return false, err
		}
		return false, c.send(resultMessage(r.id, response, res, ""))
	case opSearch:
		return false, c.search(r)
	case opExtended:
		return false, c.extended(r)
	}
	return false, c.send(resultMessage(r.id, response, result{unwillingToPerform, "this directory can only be searched"}, ""))
}

// quoteOID keeps what is no OID out of an answer.
func quoteOID(s string) string {
	for _, r := range s {
		if r != '.' && (r < '0' || r > '9') {
			return "of that name"
		}
	}
	return s
}

// bind judges a BindRequest (RFC 4511 section 4.2). Everybody is anonymous.
func bind(b ber) (result, error) {
	version, err := b.integer(tagInteger)
	if err != nil {
		return result{}, err
	}
	name, err := b.octets()
	if err != nil {
		return result{}, err
	}
	tag, password, err := b.next()
	switch {
	case err != nil:
		return result{}, err
	case version != 3:
		return result{protocolError, "only LDAP version 3 is spoken"}, nil
	case tag != classContext:
		return result{authMethodNotSupported, "only anonymous binds are possible"}, nil
	case len(password) > 0:
		return result{invalidCredentials, "nobody has a password here: bind anonymously"}, nil
	case name != "":
		// RFC 4513 section 5.1.2: who forgets the password must not think
		// that it was right.
		return result{unwillingToPerform, "a name without a password: bind anonymously"}, nil
	}
	return result{}, nil
}

// extended answers an ExtendedRequest (RFC 4511 section 4.12).
func (c *session) extended(r *request) error {
	name, err := r.body.expect(classContext)
	if err != nil {
		return err
	}
	if string(name) != oidStartTLS {
		return c.send(resultMessage(r.id, opExtendedOK, result{protocolError, "the extended operation is not supported"}, ""))
	}
	res := result{}
	c.mu.Lock()
	outstanding := c.pending
	c.mu.Unlock()
	switch {
	case c.TLS == nil:
		res = result{protocolError, "this server has no TLS"}
	case c.secure:
		res = result{operationsError, "TLS has begun already"}
	case outstanding > 0 || c.r.Buffered() > 0:
		// What came in the clear must not count as if it had come over TLS.
		res = result{operationsError, "StartTLS must be the only request under way"}
	}
	if err := c.send(resultMessage(r.id, opExtendedOK, res, oidStartTLS)); err != nil || res.code != success {
		return err
	}
	return c.startTLS()
}

// startTLS does the handshake.
func (c *session) startTLS() error {
	conn := tls.Server(c.conn, c.TLS)
	ctx, cancel := context.WithTimeout(c.ctx, c.limits.Read)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		c.fail(fmt.Errorf("TLS: %w", err))
		return err
	}
	c.conn, c.secure = conn, true
	c.r.Reset(conn)
	return nil
}

// send writes an answer. Where it cannot be written, the session ends at once: nobody
// takes the other answers either.
func (c *session) send(message []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.raw.SetWriteDeadline(time.Now().Add(c.limits.Write))
	_, err := c.conn.Write(message)
	if err != nil {
		c.raw.Close()
	}
	return err
}

// disconnect tells the client why the session ends (RFC 4511 section 4.4.1).
func (c *session) disconnect(r result) {
	c.send(resultMessage(0, opExtendedOK, r, oidDisconnection))
}

// abandon ends the search with a message ID, unanswered.
func (c *session) abandon(id int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cancel := c.searches[id]; cancel != nil {
		cancel()
	}
}

func (c *session) abandonAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cancel := range c.searches {
		cancel()
	}
}
