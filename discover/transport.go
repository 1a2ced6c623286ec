package discover

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/discover/dnssec"
)

const (
	questionTime = 5 * time.Second // for one answer
	datagramTime = 2 * time.Second // for one by UDP
)

// Exchange asks one question. SMIMEA goes by TCP, and by UDP only if there is
// no TCP (RFC 8162 section 7); anything else by UDP, and by TCP if the answer is
// cut short or lost. Neither gets more than half of the context's time as long
// as there is the other, and where datagrams are lost the next question goes by
// TCP. The answer is to the question, or it is an error.
func (s *Server) Exchange(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	switch {
	case len(s.several) > 0:
		return s.exchangeInTurn(ctx, q)
	case s.url != "":
		return s.exchangeHTTPS(ctx, q)
	case s.encrypted:
		return s.exchange(ctx, q, "tcp-tls", questionTime)
	case q.Question[0].Qtype == dns.TypeSMIMEA:
		m, err := s.exchange(ctx, q, "tcp", share(ctx, 2, questionTime))
		if err != nil && ctx.Err() == nil {
			if datagram, udpErr := s.exchange(ctx, q, "udp", datagramTime); udpErr == nil && !datagram.Truncated {
				return datagram, nil
			}
		}
		return m, err
	}
	lost := s.noDatagrams.Load()
	if !lost {
		m, err := s.exchange(ctx, q, "udp", share(ctx, 2, datagramTime))
		if err == nil && !m.Truncated || ctx.Err() != nil {
			return m, err
		}
		lost = err != nil
	}
	m, err := s.exchange(ctx, q, "tcp", questionTime)
	s.noDatagrams.Store(lost && err == nil)
	return m, err
}

// share returns the time for one of several ways to an answer: no more than
// limit, and than its part of the time that the context leaves.
func share(ctx context.Context, ways int, limit time.Duration) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(limit, time.Until(deadline)/time.Duration(ways))
	}
	return limit
}

func (s *Server) exchange(ctx context.Context, q *dns.Msg, network string, limit time.Duration) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c := &dns.Client{Net: network, Timeout: limit}
	if network == "tcp-tls" {
		c.TLSConfig = &tls.Config{ServerName: s.tlsName, RootCAs: s.roots, MinVersion: tls.VersionTLS12}
	}
	conn, err := c.DialContext(ctx, s.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// The client looks at the context's deadline, but not whether it is cancelled.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	m, _, err := c.ExchangeWithConnContext(ctx, q, conn)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%s: %w", s, dnssec.Ended(ctx))
		}
		return nil, err
	}
	return answering(q, m)
}

// answering returns a message if it is an answer to a question.
func answering(q, m *dns.Msg) (*dns.Msg, error) {
	// Servers that do not understand a question may leave it out.
	failed := m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError
	if m.Response && m.Id == q.Id && (failed && len(m.Question) == 0 ||
		len(m.Question) == 1 && m.Question[0].Qtype == q.Question[0].Qtype && strings.EqualFold(m.Question[0].Name, q.Question[0].Name)) {
		return m, nil
	}
	return nil, errors.New("the answer is to another question")
}

func (s *Server) exchangeHTTPS(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	// RFC 8484 section 4.1: so that equal questions are equal requests.
	q = q.Copy()
	id := q.Id
	q.Id = 0
	wire, err := q.Pack()
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(wire))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/dns-message")
	request.Header.Set("Accept", "application/dns-message")
	// A transport of its own follows no redirects: this server was named, and
	// no other.
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server says %s", response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, dns.MaxMsgSize))
	if err != nil {
		return nil, err
	}
	m := new(dns.Msg)
	if err := m.Unpack(body); err != nil {
		return nil, err
	}
	q.Id, m.Id = id, id
	return answering(q, m)
}
