// Package pebble runs Let's Encrypt's test CA in this process, for tests, and a
// resolver for it. Only tests may import it.
package pebble

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
)

// A CA is a running CA.
type CA struct {
	// RootFile has the certificate of its own HTTPS. It is the same for all.
	RootFile string

	t       testing.TB
	server  *httptest.Server
	store   *db.MemoryStore
	ca      *ca.CAImpl
	handler atomic.Pointer[http.Handler]
	orders  atomic.Int64
	paused  atomic.Bool
	eab     bool
}

// New starts a CA that listens on l, or where it likes if that is nil, whose
// certificates are valid that long. It answers 503 until Validate is called.
func New(t testing.TB, l net.Listener, validity time.Duration) *CA {
	t.Helper()
	for name, value := range map[string]string{"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"} {
		if err := os.Setenv(name, value); err != nil {
			t.Fatal(err)
		}
	}
	c := &CA{t: t, store: db.NewMemoryStore()}
	c.ca = ca.New(quiet(), c.store, "", "ecdsa", 0, 1, map[string]ca.Profile{
		"default": {Description: "default", ValidityPeriod: uint64(validity / time.Second)},
	})
	c.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := c.handler.Load()
		if h == nil || c.paused.Load() {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/finalize-order/") {
			c.orders.Add(1)
		}
		(*h).ServeHTTP(w, r)
	}))
	c.server.Config.ErrorLog = quiet()
	if l != nil {
		c.server.Listener.Close()
		c.server.Listener = l
	}
	c.server.StartTLS()
	t.Cleanup(c.server.Close)
	c.RootFile = filepath.Join(t.TempDir(), "pebble.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.server.Certificate().Raw})
	if err := os.WriteFile(c.RootFile, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// Validate brings the CA up. It connects to the address's port for TLS-ALPN-01,
// and asks the name server at resolver for everything.
func (c *CA) Validate(tlsAddr, resolver string) {
	c.t.Helper()
	port := 1
	if tlsAddr != "" {
		a, err := net.ResolveTCPAddr("tcp", tlsAddr)
		if err != nil {
			c.t.Fatal(err)
		}
		port = a.Port
	}
	v := va.New(quiet(), 1, port, false, resolver, c.store)
	front := wfe.New(quiet(), c.store, v, c.ca, []string{"pebble"}, false, c.eab, 0, 0)
	handler := front.Handler()
	c.handler.Store(&handler)
}

// RequireAccount lets only those in who have this key (RFC 8555 section 7.3.4).
// It is for before Validate.
func (c *CA) RequireAccount(id string, key []byte) {
	c.t.Helper()
	c.eab = true
	if err := c.store.AddExternalAccountKeyByID(id, base64.RawURLEncoding.EncodeToString(key)); err != nil {
		c.t.Fatal(err)
	}
}

// Pause has it answer 503 to everything, or no longer.
func (c *CA) Pause(down bool) { c.paused.Store(down) }

// Close takes the CA down.
func (c *CA) Close() { c.server.Close() }

// Addr is where it listens.
func (c *CA) Addr() string { return c.server.Listener.Addr().String() }

// URL is that of its directory.
func (c *CA) URL() string { return c.server.URL + wfe.DirectoryPath }

// Orders returns how many certificates were asked for.
func (c *CA) Orders() int64 { return c.orders.Load() }

// Root is the certificate that all that it issues lead to, PEM.
func (c *CA) Root() []byte { return c.ca.GetRootCert(0).PEM() }

// Verify reports whether the chain of a connection leads to the CA and is for name.
func (c *CA) Verify(state tls.ConnectionState, name string) error {
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(c.Root())
	for _, certificate := range state.PeerCertificates[1:] {
		intermediates.AddCert(certificate)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: intermediates})
	return err
}
