package certhost

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
)

// A manager obtains, renews and serves the certificates of one set of ACME
// options. It outlives reloads that do not change these.
type manager struct {
	log       Logger
	metrics   Metrics
	directory string       // the CA's
	client    *http.Client // to see whether the CA can be reached
	cache     *certmagic.Cache
	magic     *certmagic.Config
	present   *presenter // nil with TLS-ALPN-01

	serve, challenge *tls.Config

	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup

	// unnamed is the domain for handshakes without a name: the first of the
	// lease published last.
	unnamed atomic.Value // string

	// domains is guarded by the registry's lock.
	domains map[string]*managed
}

// managed is one domain, and how many published leases want it.
type managed struct {
	users  int
	cancel context.CancelFunc
}

func newManager(config *Config, addr net.Addr) (*manager, error) {
	a := config.TLS.ACME
	account, err := externalAccount(a)
	if err != nil {
		return nil, err
	}
	storage := absolute(a.Storage)
	if err := os.MkdirAll(storage, 0o700); err != nil {
		return nil, fmt.Errorf("making ACME storage: %w", err)
	}
	m := &manager{log: config.Log, metrics: config.Metrics, directory: a.CA, domains: map[string]*managed{}}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		Proxy:           http.ProxyFromEnvironment,
		TLSClientConfig: &tls.Config{RootCAs: a.Roots, MinVersion: tls.VersionTLS12},
		// One look at a time, minutes apart.
		DisableKeepAlives: true,
		ForceAttemptHTTP2: true,
	}}
	if err := m.makeMagic(a, storage, account, addr); err != nil {
		m.cancel()
		return nil, err
	}
	m.serve = serving(&tls.Config{GetCertificate: m.certificate})
	m.challenge = &tls.Config{GetCertificate: m.certificate, NextProtos: []string{acmeProtocol}, MinVersion: tls.VersionTLS12}
	m.done.Add(1)
	go m.tend()
	return m, nil
}

// makeMagic makes the certmagic configuration, which answers TLS-ALPN-01 challenges on
// the listener at addr, or has DNS-01 challenges presented.
func (m *manager) makeMagic(a *ACME, storage string, account *acme.EAB, addr net.Addr) error {
	host, portText, err := net.SplitHostPort(addr.String())
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return err
	}
	logger := zapLogger(m.log)
	m.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return m.magic, nil },
		RenewCheckInterval: renewCheckInterval,
		Logger:             logger,
	})
	m.magic = certmagic.New(m.cache, certmagic.Config{
		Storage:        &certmagic.FileStorage{Path: storage},
		OnEvent:        m.event,
		ShouldEmitFunc: func(name string) bool { return strings.HasPrefix(name, "cert_") },
		// Loading must not need the network: it is done on the way to a start.
		OCSP:   certmagic.OCSPConfig{DisableStapling: true},
		Logger: logger,
	})
	issuer := certmagic.ACMEIssuer{
		CA:                   a.CA,
		Email:                a.Email,
		Agreed:               true,
		ExternalAccount:      account,
		TrustedRoots:         a.Roots,
		DisableHTTPChallenge: true,
		// Where our own listener already is, so that certmagic finds the port
		// taken, and leaves the challenge to GetCertificate below.
		ListenHost:     host,
		AltTLSALPNPort: port,
		Logger:         logger,
	}
	if a.Challenges == nil && port != 443 {
		m.log.Warningf("https: acme: a CA sends its TLS-ALPN-01 challenges to port 443: forward that to %s", addr)
	}
	if a.Challenges != nil {
		m.present = &presenter{challenges: a.Challenges, directory: filepath.Join(storage, "dns-01")}
		issuer.DNS01Solver = m.present
	}
	m.magic.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(m.magic, issuer)}
	return nil
}

func (m *manager) config(challenge bool) (*tls.Config, error) {
	if challenge {
		return m.challenge, nil
	}
	return m.serve, nil
}

func (m *manager) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if hello.ServerName == "" {
		named := *hello
		named.ServerName, _ = m.unnamed.Load().(string)
		hello = &named
	}
	certificate, err := m.magic.GetCertificate(hello)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoCertificate, err)
	}
	return certificate, nil
}

// activate begins to manage the domains of a lease. What the storage has is
// loaded now, so that a lease that takes over from another finds it; the CA is
// talked to in the background, and neither the DNS nor the listener waits.
func (m *manager) activate(c *Config) {
	m.unnamed.Store(c.TLS.ACME.Domains[0])
	for _, domain := range c.TLS.ACME.Domains {
		d := m.domains[domain]
		if d == nil {
			ctx, cancel := context.WithCancel(m.ctx)
			d = &managed{cancel: cancel}
			m.domains[domain] = d
			certificate, err := m.load(ctx, domain)
			if err == nil {
				m.tell(domain)
			}
			m.done.Add(1)
			go func() {
				defer m.done.Done()
				defer recovered(m.log, "managing a certificate", func() {})
				m.manage(ctx, domain, certificate, err)
			}()
		}
		d.users++
	}
}

func (m *manager) deactivate(c *Config) {
	for _, domain := range c.TLS.ACME.Domains {
		d := m.domains[domain]
		if d == nil {
			continue
		}
		if d.users--; d.users == 0 {
			d.cancel()
			delete(m.domains, domain)
			m.forget(domain)
		}
	}
}

// close does not wait: certmagic may be in the middle of a conversation.
func (m *manager) close() {
	m.cancel()
	go func() {
		m.cache.Stop()
		m.done.Wait()
		if m.present != nil {
			m.present.challenges.setOther(m.present, nil)
		}
	}()
}

// tend looks at what changes by itself: the certificates' dates after a
// renewal, and the challenges of other processes.
func (m *manager) tend() {
	defer m.done.Done()
	defer recovered(m.log, "tending certificates", func() {})
	expiry := time.NewTicker(expiryInterval)
	defer expiry.Stop()
	var share <-chan time.Time
	if m.present != nil {
		ticker := time.NewTicker(shareInterval)
		defer ticker.Stop()
		share = ticker.C
	}
	for {
		select {
		case now := <-share:
			m.present.look(now)
		case <-expiry.C:
			registry.Lock()
			for domain := range m.domains {
				m.tell(domain)
			}
			registry.Unlock()
		case <-m.ctx.Done():
			return
		}
	}
}

// forget and tell are called with the registry's lock held.

func (m *manager) forget(domain string) {
	m.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: domain}})
	m.metrics.TLSCertificate(domain, time.Time{})
}

func (m *manager) tell(domain string) {
	var latest time.Time
	for _, certificate := range m.cache.AllMatchingCertificates(domain) {
		if leaf := certificate.Leaf; leaf != nil && leaf.NotAfter.After(latest) {
			latest = leaf.NotAfter
		}
	}
	if !latest.IsZero() {
		m.metrics.TLSCertificate(domain, latest)
	}
}
