package certhost

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// Config is what one lease wants of a listener.
type Config struct {
	// Address is where to listen, host:port or :port (TCP). Leases whose
	// addresses are equal after resolution share one listener.
	Address string

	// Domains are the mail domains whose certificates are given out. A request
	// is for the one that its Host header names.
	Domains []string

	// Hosts are further names of this host, that are not mail domains, for URLs
	// such as https://certs.example.net/.well-known/smime/FILE. Under these a
	// file of any of Domains is found, and HASH.crt needs ?domain=. The domains
	// of ACME are added by themselves.
	Hosts []string

	// Owner tells apart the instances of a reload; it must be comparable.
	// Leases of one owner must not contradict each other (the same domain
	// twice, TLS and plain on one address): that is an error of the Corefile.
	// Between owners the newer lease wins.
	Owner any

	// TLS says how TLS is done; nil is plain HTTP.
	TLS *TLS

	// MaxConnections is how many connections the listener holds at a time;
	// 0 is DefaultMaxConnections. When it is full, the connection that has
	// waited longest without a request in progress makes room. The lease that
	// opens the listener decides.
	MaxConnections int

	Log     Logger  // nil: silent
	Metrics Metrics // nil: none
}

// TLS is one of three ways; exactly one is set.
type TLS struct {
	// Config is a configuration made elsewhere, as by CoreDNS's tls directive.
	// It is cloned, offers h2 and http/1.1, and never less than TLS 1.2.
	Config *tls.Config

	// CertFile and KeyFile are PEM files, read every few seconds and
	// taken when they have changed. While the new ones are bad or half written, the
	// last good pair serves.
	CertFile, KeyFile string

	// ACME obtains and renews the certificate.
	ACME *ACME
}

// ACME are the options of certificate management (RFC 8555).
type ACME struct {
	Domains []string // the names to get certificates for, one certificate each
	Email   string   // contact; may be empty
	CA      string   // directory URL; empty is Let's Encrypt
	Storage string   // directory; processes that share it share certificates and challenges

	// Roots are trusted for the CA's own HTTPS; nil is the system's. RootsFrom says
	// which they are: options are the same if that is.
	Roots     *x509.CertPool
	RootsFrom string

	// EABKeyID and EABKeyFile are external account binding: the key's
	// identifier, and a file with its HMAC key in base64url.
	EABKeyID, EABKeyFile string

	// Challenges selects DNS-01: it is where the TXT values appear that the
	// name server must answer. Nil is TLS-ALPN-01 on the listener.
	Challenges *Challenges
}

// DefaultMaxConnections bounds a listener's connections and with them memory:
// about 20 KiB each with TLS.
const DefaultMaxConnections = 4096

// A Logger takes what operators should see. CoreDNS's log.P is one.
type Logger interface {
	Debugf(format string, v ...any)
	Infof(format string, v ...any)
	Warningf(format string, v ...any)
	Errorf(format string, v ...any)
}

// Events are those of certificate management by ACME. A challenge is a CA's TLS-ALPN-01
// handshake that was answered; there are several for one.
var Events = []string{"obtaining", "obtained", "renewing", "renewed", "failed", "renewal_failed", "challenge", "ca_unreachable"}

// Metrics counts. Its methods are called concurrently and must be quick.
type Metrics interface {
	// Request counts an answered request by its status code.
	Request(code int)

	// HandshakeError counts a failed TLS handshake. Reason is one of aborted,
	// timeout, client_alert, no_certificate, protocol. A connection closed
	// before its first byte is not counted.
	HandshakeError(reason string)

	// TLSCertificate tells until when the certificate served for name is
	// valid. The zero time: it is no longer served.
	TLSCertificate(name string, notAfter time.Time)

	// ACME counts events of certificate management, one of Events.
	ACME(event string)

	// Connections tells how many connections the listener at address holds.
	Connections(address string, n int)
}

type silent struct{}

func (silent) Debugf(string, ...any)            {}
func (silent) Infof(string, ...any)             {}
func (silent) Warningf(string, ...any)          {}
func (silent) Errorf(string, ...any)            {}
func (silent) Request(int)                      {}
func (silent) HandshakeError(string)            {}
func (silent) TLSCertificate(string, time.Time) {}
func (silent) ACME(string)                      {}
func (silent) Connections(string, int)          {}

// normalized returns a checked copy with names in the form they are compared
// in, and with nothing nil that is called later.
func (c Config) normalized() (Config, error) {
	if c.Log == nil {
		c.Log = silent{}
	}
	if c.Metrics == nil {
		c.Metrics = silent{}
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = DefaultMaxConnections
	}
	if c.MaxConnections < 0 {
		return c, fmt.Errorf("connection limit %d is negative", c.MaxConnections)
	}
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return c, fmt.Errorf("listen address %q must be host:port or :port: %w", c.Address, err)
	}
	if len(c.Domains) == 0 {
		return c, errors.New("no mail domain to serve")
	}
	var err error
	if c.Domains, err = hostNames(c.Domains); err != nil {
		return c, err
	}
	if c.Hosts, err = hostNames(c.Hosts); err != nil {
		return c, err
	}
	if c.TLS == nil {
		return c, nil
	}
	ways := 0
	for _, set := range []bool{c.TLS.Config != nil, c.TLS.CertFile != "" || c.TLS.KeyFile != "", c.TLS.ACME != nil} {
		if set {
			ways++
		}
	}
	if ways != 1 {
		return c, fmt.Errorf("TLS needs exactly one of a configuration, certificate files and ACME; %d are given", ways)
	}
	if c.TLS.ACME == nil {
		return c, nil
	}
	acme := *c.TLS.ACME
	if acme, err = acme.normalized(); err != nil {
		return c, err
	}
	c.TLS = &TLS{ACME: &acme}
	for _, domain := range acme.Domains {
		if !strings.HasPrefix(domain, "*.") {
			c.Hosts = append(c.Hosts, domain)
		}
	}
	return c, nil
}

func hostNames(names []string) ([]string, error) {
	out := make([]string, 0, len(names))
	for _, name := range names {
		host, ok := hostName(name)
		if !ok {
			return nil, fmt.Errorf("%q is not a host name", name)
		}
		out = append(out, host)
	}
	return out, nil
}
