package certhost

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
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

// Intervals of certificate management; tests shorten them.
var (
	renewCheckInterval = certmagic.DefaultRenewCheckInterval
	expiryInterval     = time.Minute // between two looks at the dates told to Metrics
	caRetryFirst       = time.Second // while the CA cannot be reached: doubled up to a minute
	caRetryLast        = time.Minute

	// A CA that can be reached and refuses counts failures by the hour (Let's
	// Encrypt: five), so these grow quickly.
	obtainRetryFirst = time.Minute
	obtainRetryLast  = 4 * time.Hour
)

// normalized checks what can be checked without network.
func (a ACME) normalized() (ACME, error) {
	if len(a.Domains) == 0 {
		return a, errors.New("ACME needs at least one domain")
	}
	domains := make([]string, 0, len(a.Domains))
	for _, domain := range a.Domains {
		name, wildcard := strings.CutPrefix(domain, "*.")
		name, ok := hostName(name)
		if !ok || net.ParseIP(name) != nil {
			return a, fmt.Errorf("ACME domain %q is not a host name", domain)
		}
		if wildcard {
			if a.Challenges == nil {
				return a, fmt.Errorf("ACME domain %q: a wildcard certificate needs the DNS challenge", domain)
			}
			name = "*." + name
		}
		domains = append(domains, name)
	}
	a.Domains = domains
	if a.CA == "" {
		a.CA = certmagic.LetsEncryptProductionCA
	}
	if u, err := url.Parse(a.CA); err != nil || u.Scheme != "https" || u.Host == "" {
		return a, fmt.Errorf("ACME CA %q must be the https URL of its directory", a.CA)
	}
	if a.Storage == "" {
		return a, errors.New("ACME needs a storage directory")
	}
	if (a.EABKeyID == "") != (a.EABKeyFile == "") {
		return a, errors.New("external account binding needs both a key identifier and a file with the HMAC key")
	}
	return a, nil
}

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

// attemptKey is the context key under which an attempt to obtain a certificate
// carries the function that ends it.
type attemptKey struct{}

func newManager(config *Config, addr net.Addr) (*manager, error) {
	a := config.TLS.ACME
	roots, err := trustedRoots(a.RootFile)
	if err != nil {
		return nil, err
	}
	account, err := externalAccount(a)
	if err != nil {
		return nil, err
	}
	storage := absolute(a.Storage)
	if err := os.MkdirAll(storage, 0o700); err != nil {
		return nil, fmt.Errorf("making ACME storage: %w", err)
	}
	host, portText, err := net.SplitHostPort(addr.String())
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, err
	}
	m := &manager{log: config.Log, metrics: config.Metrics, directory: a.CA, domains: map[string]*managed{}}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		Proxy:           http.ProxyFromEnvironment,
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		// One look at a time, minutes apart.
		DisableKeepAlives: true,
		ForceAttemptHTTP2: true,
	}}
	logger := zapLogger(config.Log)
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
		TrustedRoots:         roots,
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
	m.serve = serving(&tls.Config{GetCertificate: m.certificate})
	m.challenge = &tls.Config{GetCertificate: m.certificate, NextProtos: []string{acmeProtocol}, MinVersion: tls.VersionTLS12}
	m.done.Add(1)
	go m.tend()
	return m, nil
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

// load takes a certificate from the storage, even one that is due or has
// expired: the CA may be down, and it is better than nothing.
func (m *manager) load(ctx context.Context, domain string) (certmagic.Certificate, error) {
	return m.magic.CacheManagedCertificate(ctx, domain)
}

// manage goes on from the first load, whose results it is given, until the
// domain has a certificate. Renewal is then up to certmagic's cache.
func (m *manager) manage(ctx context.Context, domain string, certificate certmagic.Certificate, err error) {
	wait := obtainRetryFirst
	for err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			if !m.reach(ctx) {
				return
			}
			err = m.obtain(ctx, domain)
		}
		if err == nil {
			certificate, err = m.load(ctx, domain)
		}
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			m.log.Warningf("https: acme: no certificate for %s yet, next try in %s: %v", domain, wait, err)
			if !sleep(ctx, wait) {
				return
			}
			wait = min(4*wait, obtainRetryLast)
			// Another process may have obtained it, or the storage been mended.
			certificate, err = m.load(ctx, domain)
		}
	}
	registry.Lock()
	if m.domains[domain] == nil { // released since
		m.forget(domain)
	} else {
		m.tell(domain)
	}
	registry.Unlock()
	if err == nil && certificate.NeedsRenewal(m.magic) && m.reach(ctx) {
		m.cache.RenewManagedCertificates(ctx)
	}
}

// obtain makes one attempt. Certmagic would go on trying for a month with the
// storage's lock held, during which no other process could try, that perhaps
// can be reached from outside: the event of its failure ends it.
func (m *manager) obtain(ctx context.Context, domain string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := m.magic.ObtainCertAsync(context.WithValue(ctx, attemptKey{}, cancel), domain)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// event is called by certmagic, synchronously.
func (m *manager) event(ctx context.Context, name string, data map[string]any) error {
	renewal, _ := data["renewal"].(bool)
	which := map[bool][3]string{
		false: {"obtaining", "obtained", "failed"},
		true:  {"renewing", "renewed", "renewal_failed"},
	}[renewal]
	switch name {
	case "cert_obtaining":
		m.metrics.ACME(which[0])
	case "cert_obtained":
		m.metrics.ACME(which[1])
	case "cert_failed":
		m.metrics.ACME(which[2])
		if cancel, ok := ctx.Value(attemptKey{}).(context.CancelCauseFunc); ok {
			err, _ := data["error"].(error)
			cancel(err)
		}
	}
	return nil
}

// reach waits until the CA answers; false if ctx ended first. It keeps what is
// only an unreachable CA out of certmagic's much longer retries.
func (m *manager) reach(ctx context.Context) bool {
	wait := caRetryFirst
	for said := ""; ; {
		err := m.probe(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		m.metrics.ACME("ca_unreachable")
		if err.Error() != said {
			said = err.Error()
			m.log.Warningf("https: acme: the CA cannot be reached, trying on: %v", err)
		}
		if !sleep(ctx, wait) {
			return false
		}
		wait = min(2*wait, caRetryLast)
	}
}

func (m *manager) probe(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.directory, nil)
	if err != nil {
		return err
	}
	response, err := m.client.Do(request)
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("asking %s: %s", m.directory, response.Status)
	}
	return nil
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

// sleep reports whether the time passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func trustedRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading ACME root: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ACME root %q has no certificate in PEM", file)
	}
	return roots, nil
}

// externalAccount reads the HMAC key; acmez wants it in base64url, unpadded.
func externalAccount(a *ACME) (*acme.EAB, error) {
	if a.EABKeyFile == "" {
		return nil, nil
	}
	data, err := os.ReadFile(a.EABKeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading HMAC key: %w", err)
	}
	text := strings.TrimRight(strings.TrimSpace(string(data)), "=")
	key, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(key) == 0 {
		return nil, fmt.Errorf("HMAC key file %q is not one line of base64url", a.EABKeyFile)
	}
	return &acme.EAB{KeyID: a.EABKeyID, MACKey: text}, nil
}
