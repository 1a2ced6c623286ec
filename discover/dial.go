package discover

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/internal/download"
)

// Times and limits of connecting to a host with several addresses (RFC 8305).
const (
	attemptDelay    = 250 * time.Millisecond // section 5
	resolutionDelay = 50 * time.Millisecond  // section 3
	maxAttempts     = 8
)

// dial connects to a host by the addresses that the resolver knows, if they are
// public ones. With a TLS configuration the connection counts once TLS is set up, so
// that a server that accepts and is then silent does not keep another from it.
func (c *Client) dial(ctx context.Context, hostPort string, config *tls.Config) (net.Conn, error) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, err
	}
	r := &race{host: host, waiting: 2}
	return r.run(ctx, c.Resolver, func(ctx context.Context, address netip.Addr) (net.Conn, error) {
		if !c.AllowPrivate && !download.Public(address) {
			return nil, Problem{PrivateAddress, fmt.Sprintf("the address %s of %s is not a public one", address, host)}
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(address.String(), port))
		if err != nil || config == nil {
			return conn, err
		}
		secured := tls.Client(conn, config)
		if err := secured.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, fmt.Errorf("TLS with %s: %w", net.JoinHostPort(address.String(), port), err)
		}
		return secured, nil
	})
}

// A race is one connection under way to a host: attempts are begun one after the
// other, families in turn, each a short time after the one before or once that has
// failed, and the first to succeed wins.
type race struct {
	host     string
	waiting  int             // families that have not answered yet
	queue    [2][]netip.Addr // IPv6 and IPv4
	last     int             // family of the last attempt, IPv4 at first
	attempts int
	running  int
	results  chan attempt
	failed   error // the first error that is worth telling
}

type attempt struct {
	conn net.Conn
	err  error
}

// run leaves no goroutine behind: the losers have ended when it returns.
func (r *race) run(ctx context.Context, resolver Resolver, connect func(context.Context, netip.Addr) (net.Conn, error)) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	r.results, r.last = make(chan attempt), 1
	answers := resolve(ctx, resolver, r.host)
	defer func() {
		cancel()
		for ; r.running > 0; r.running-- {
			if lost := <-r.results; lost.conn != nil {
				lost.conn.Close()
			}
		}
		for range answers {
		}
	}()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	timer.Stop()
	due := false // an attempt, should there come an address
	begin := func() {
		address, ok := r.next()
		if due = !ok; due {
			return
		}
		timer.Reset(attemptDelay)
		r.attempts++
		r.running++
		go func() {
			conn, err := connect(ctx, address)
			r.results <- attempt{conn, err}
		}()
	}
	incoming := answers
	for {
		if r.waiting == 0 && r.running == 0 && (len(r.queue[0])+len(r.queue[1]) == 0 || r.attempts == maxAttempts) {
			return nil, r.failure()
		}
		select {
		case answer, ok := <-incoming:
			if !ok {
				incoming, r.waiting = nil, 0
			} else {
				r.take(answer)
			}
			switch {
			case r.running > 0 && !due:
			case r.running == 0 && r.waiting > 0 && len(r.queue[0]) == 0:
				timer.Reset(resolutionDelay) // IPv6 may still come
			default:
				begin()
			}
		case done := <-r.results:
			r.running--
			if done.err == nil {
				return done.conn, nil
			}
			r.fail(done.err)
			begin()
		case <-timer.C:
			begin()
		case <-ctx.Done():
			if r.failed != nil {
				return nil, r.failed
			}
			return nil, ctx.Err()
		}
	}
}

func (r *race) take(answer resolved) {
	r.waiting--
	if answer.err != nil {
		r.fail(answer.err)
	}
	family := 0
	if answer.qtype == dns.TypeA {
		family = 1
	}
	r.queue[family] = append(r.queue[family], answer.list...)
}

// next returns an address of the other family than the last one, if there is one.
func (r *race) next() (netip.Addr, bool) {
	if r.attempts == maxAttempts {
		return netip.Addr{}, false
	}
	for _, family := range []int{1 - r.last, r.last} {
		if len(r.queue[family]) > 0 {
			address := r.queue[family][0]
			r.queue[family], r.last = r.queue[family][1:], family
			return address, true
		}
	}
	return netip.Addr{}, false
}

// fail keeps the first error: but one of a server rather than that an address is
// not a public one.
func (r *race) fail(err error) {
	var p Problem
	if r.failed == nil || errors.As(r.failed, &p) && p.Code == PrivateAddress {
		r.failed = err
	}
}

func (r *race) failure() error {
	if r.failed == nil {
		return Problem{Unreachable, r.host + " has no address"}
	}
	return r.failed
}
