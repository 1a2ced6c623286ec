package discover

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

// A Server is a resolver or name server to ask, or several resolvers of which
// any will do ([SystemServer]).
type Server struct {
	text      string
	address   string // host:port; empty for DNS over HTTPS
	url       string // of DNS over HTTPS
	tlsName   string // of DNS over TLS
	encrypted bool
	roots     *x509.CertPool // for tests; the system's if nil

	// noDatagrams is set while answers come by TCP only.
	noDatagrams atomic.Bool

	several []*Server     // to ask in turn, in place of all of the above
	turn    atomic.Uint32 // which of them answered last, and is asked first
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
		u, err := url.Parse(s)
		if err != nil || u.Hostname() == "" || u.Port() != "" && !isPort(u.Port()) {
			return nil, fmt.Errorf("the server %q is no URL of https with a host", s)
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
	switch host, given, err := net.SplitHostPort(s); {
	case err == nil && host == "":
		return "", errors.New("the host before the port is missing")
	case err == nil && isPort(given):
		return s, nil
	case strings.Contains(s, ":"):
		return "", errors.New("the port is missing or wrong: want a number from 1 to 65535")
	}
	return net.JoinHostPort(s, port), nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

func (s *Server) String() string { return s.text }

// Private reports whether nobody between us and the server can change what it
// says: it is on this machine, or asked over TLS.
func (s *Server) Private() bool {
	if len(s.several) > 0 {
		return !slices.ContainsFunc(s.several, func(one *Server) bool { return !one.Private() })
	}
	if s.encrypted {
		return true
	}
	host, _, _ := net.SplitHostPort(s.address)
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}
