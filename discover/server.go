package discover

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/discover/dnssec"
)

// A Server is a resolver or name server to ask.
type Server struct {
	text      string
	address   string // host:port; empty for DNS over HTTPS
	url       string // of DNS over HTTPS
	tlsName   string // of DNS over TLS
	encrypted bool
	roots     *x509.CertPool // for tests; the system's if nil
}

// ParseServer reads where to ask: ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT for
// plain DNS, tls://HOST[:PORT] for DNS over TLS (RFC 7858), https://HOST/PATH
// for DNS over HTTPS (RFC 8484).
func ParseServer(s string) (*Server, error) {
	if host, ok := strings.CutPrefix(s, "tls://"); ok {
		address, err := withPort(host, "853")
		if err != nil {
			return nil, fmt.Errorf("the server %q: %w", s, err)
		}
		name, _, _ := net.SplitHostPort(address)
		return &Server{text: s, address: address, tlsName: name, encrypted: true}, nil
	}
	if strings.HasPrefix(s, "https://") {
		if u, err := url.Parse(s); err != nil || u.Host == "" {
			return nil, fmt.Errorf("the server %q is not a URL", s)
		}
		return &Server{text: s, url: s, encrypted: true}, nil
	}
	address, err := withPort(s, "53")
	if err != nil {
		return nil, fmt.Errorf("the server %q: %w", s, err)
	}
	return &Server{text: s, address: address}, nil
}

func withPort(s, port string) (string, error) {
	if strings.ContainsAny(s, "/ ") || s == "" {
		return "", errors.New("want ADDRESS, ADDRESS:PORT, tls://HOST or https://HOST/PATH")
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return net.JoinHostPort(s, port), nil
	}
	if _, _, err := net.SplitHostPort(s); err == nil {
		return s, nil
	}
	if strings.Contains(s, ":") {
		return "", errors.New("the port is missing or wrong")
	}
	return net.JoinHostPort(s, port), nil
}

// SystemServer is the first resolver of /etc/resolv.conf.
func SystemServer() (*Server, error) {
	config, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	if err != nil {
		return nil, fmt.Errorf("finding the system's resolver: %w", err)
	}
	if len(config.Servers) == 0 {
		return nil, errors.New("/etc/resolv.conf names no resolver")
	}
	return ParseServer(net.JoinHostPort(config.Servers[0], config.Port))
}

func (s *Server) String() string { return s.text }

// Private reports whether nobody between us and the server can change what it
// says: it is on this machine, or asked over TLS.
func (s *Server) Private() bool {
	if s.encrypted {
		return true
	}
	host, _, _ := net.SplitHostPort(s.address)
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}

const (
	questionTime = 5 * time.Second // for one answer
	datagramTime = 2 * time.Second // for one by UDP
)

// Exchange asks one question. SMIMEA goes by TCP, and by UDP only if there is
// no TCP (RFC 8162 section 7); anything else by UDP, and by TCP if the answer is
// cut short or lost.
func (s *Server) Exchange(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	switch {
	case s.url != "":
		return s.exchangeHTTPS(ctx, q)
	case s.encrypted:
		return s.exchange(ctx, q, "tcp-tls", questionTime)
	case q.Question[0].Qtype == dns.TypeSMIMEA:
		m, err := s.exchange(ctx, q, "tcp", questionTime)
		if err != nil && ctx.Err() == nil {
			if datagram, udpErr := s.exchange(ctx, q, "udp", datagramTime); udpErr == nil && !datagram.Truncated {
				return datagram, nil
			}
		}
		return m, err
	}
	m, err := s.exchange(ctx, q, "udp", datagramTime)
	if err != nil || m.Truncated {
		return s.exchange(ctx, q, "tcp", questionTime)
	}
	return m, nil
}

func (s *Server) exchange(ctx context.Context, q *dns.Msg, network string, limit time.Duration) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c := &dns.Client{Net: network, Timeout: limit}
	if network == "tcp-tls" {
		c.TLSConfig = &tls.Config{ServerName: s.tlsName, RootCAs: s.roots, MinVersion: tls.VersionTLS12}
	}
	m, _, err := c.ExchangeContext(ctx, q, s.address)
	if err != nil {
		return nil, err
	}
	return m, nil
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
	m.Id = id
	return m, nil
}

// TrustAD returns a Resolver that takes the server's word for what is signed
// (the AD flag), which is only worth something if the server is [Server.Private]:
// for others it is an error.
func TrustAD(s *Server) (Resolver, error) {
	if !s.Private() {
		return nil, fmt.Errorf("anybody on the way to %s could set its AD flag: use a resolver on this machine, or tls:// or https://", s)
	}
	return &trusting{s}, nil
}

type trusting struct{ server *Server }

func (t *trusting) Lookup(ctx context.Context, name string, qtype uint16) (*dnssec.Answer, error) {
	name = dns.CanonicalName(name)
	q := new(dns.Msg)
	q.SetQuestion(name, qtype)
	q.AuthenticatedData = true
	q.SetEdns0(1232, true)
	m, err := t.server.Exchange(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("asking for %s %s: %w", name, dns.Type(qtype), err)
	}
	if len(m.Question) != 1 || !strings.EqualFold(m.Question[0].Name, name) || m.Question[0].Qtype != qtype || m.Truncated {
		return nil, fmt.Errorf("asking for %s %s: the answer is to another question, or cut short", name, dns.Type(qtype))
	}
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return nil, &dnssec.ServerError{Name: name, Type: qtype, Rcode: m.Rcode}
	}
	a := &dnssec.Answer{Security: dnssec.Secure, Name: name, NameError: m.Rcode == dns.RcodeNameError}
	if !m.AuthenticatedData {
		a.Security, a.Why = dnssec.Insecure, "the resolver does not say that it is signed"
	}
	// The resolver has followed the aliases, in order.
	for range len(m.Answer) {
		next := ""
		for _, rr := range m.Answer {
			if cname, ok := rr.(*dns.CNAME); ok && dns.CanonicalName(cname.Hdr.Name) == a.Name {
				next = dns.CanonicalName(cname.Target)
			}
		}
		if next == "" || qtype == dns.TypeCNAME {
			break
		}
		a.Aliases, a.Name = append(a.Aliases, a.Name), next
	}
	for _, rr := range m.Answer {
		if h := rr.Header(); h.Rrtype == qtype && dns.CanonicalName(h.Name) == a.Name {
			a.Records = append(a.Records, rr)
		}
	}
	return a, nil
}
