package certhost

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"path/filepath"
)

// acmeProtocol is the ALPN name of a TLS-ALPN-01 challenge (RFC 8737).
const acmeProtocol = "acme-tls/1"

// A source provides the TLS configuration for the names of a lease.
type source interface {
	// config is called for each handshake, without a lock. Challenge says that
	// an ACME server is asking, and wants a challenge's certificate.
	config(challenge bool) (*tls.Config, error)

	// activate and deactivate tell that a lease with this configuration is
	// published, and is no longer.
	activate(*Config)
	deactivate(*Config)

	close()
}

// A sourceKey says which sources are the same, so that a reload keeps what it
// does not change. Fields that a kind of source does not have are empty.
type sourceKey struct {
	certFile, keyFile string

	email, ca, rootsFrom, storage, eabKeyID, eabKeyFile string
	challenges                                          *Challenges
	address                                             string // of the listener that answers challenges
}

type shared struct {
	source
	users int
}

// acquireSource returns the source that config asks for and a function to give
// it back. Both are called with the registry's lock held.
func acquireSource(config *Config, addr net.Addr) (source, func(), error) {
	if config.TLS.Config != nil {
		return newGiven(config.TLS.Config), func() {}, nil
	}
	key := sourceKey{certFile: absolute(config.TLS.CertFile), keyFile: absolute(config.TLS.KeyFile)}
	if a := config.TLS.ACME; a != nil {
		key = sourceKey{
			email: a.Email, ca: a.CA, rootsFrom: a.RootsFrom, storage: absolute(a.Storage),
			eabKeyID: a.EABKeyID, eabKeyFile: absolute(a.EABKeyFile),
			challenges: a.Challenges, address: addr.String(),
		}
	}
	s := registry.sources[key]
	if s == nil {
		made, err := newSource(config, addr)
		if err != nil {
			return nil, nil, err
		}
		s = &shared{source: made}
		registry.sources[key] = s
	}
	s.users++
	return s.source, func() {
		if s.users--; s.users == 0 {
			delete(registry.sources, key)
			s.close()
		}
	}, nil
}

func newSource(config *Config, addr net.Addr) (source, error) {
	if config.TLS.ACME != nil {
		return newManager(config, addr)
	}
	return newFilePair(config)
}

func absolute(path string) string {
	if path == "" {
		return ""
	}
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// serving makes a configuration one that HTTP is served with.
func serving(c *tls.Config) *tls.Config {
	c.NextProtos = []string{"h2", "http/1.1"}
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	return c
}

// given is a configuration made elsewhere.
type given struct {
	tls   *tls.Config
	names map[string]*x509.Certificate // of the certificates that can be seen
}

func newGiven(c *tls.Config) *given {
	g := &given{tls: serving(c.Clone()), names: map[string]*x509.Certificate{}}
	// CoreDNS never asks the configuration per client; one that did would not
	// know our protocols.
	g.tls.GetConfigForClient = nil
	for _, certificate := range c.Certificates {
		if leaf, name := leafName(&certificate); leaf != nil {
			g.names[name] = leaf
		}
	}
	return g
}

func (g *given) config(bool) (*tls.Config, error) { return g.tls, nil }

func (g *given) activate(c *Config) {
	for name, leaf := range g.names {
		c.Metrics.TLSCertificate(name, leaf.NotAfter)
	}
}

func (g *given) deactivate(*Config) {}
func (g *given) close()             {}

// leafName returns a certificate's leaf and what to call it: its first name.
func leafName(certificate *tls.Certificate) (*x509.Certificate, string) {
	leaf := certificate.Leaf
	if leaf == nil && len(certificate.Certificate) > 0 {
		leaf, _ = x509.ParseCertificate(certificate.Certificate[0])
	}
	switch {
	case leaf == nil:
		return nil, ""
	case len(leaf.DNSNames) > 0:
		return leaf, leaf.DNSNames[0]
	case len(leaf.IPAddresses) > 0:
		return leaf, leaf.IPAddresses[0].String()
	}
	return leaf, leaf.Subject.CommonName
}
