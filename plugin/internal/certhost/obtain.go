package certhost

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"github.com/caddyserver/certmagic"
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

// attemptKey is the context key under which an attempt to obtain a certificate
// carries the function that ends it.
type attemptKey struct{}

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
