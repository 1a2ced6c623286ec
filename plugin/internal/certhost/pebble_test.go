package certhost

import (
	"crypto/tls"
	"crypto/x509"
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
	"github.com/miekg/dns"
)

// A pebble is Let's Encrypt's test CA, in this process.
type pebble struct {
	t        testing.TB
	server   *httptest.Server
	rootFile string // of its own HTTPS
	store    *db.MemoryStore
	ca       *ca.CAImpl
	handler  atomic.Pointer[http.Handler]
	issued   atomic.Int64 // orders finalized
	eab      bool
}

// newPebble starts a CA that is up, and answers 503 until validate is called.
// It listens on l, or where it likes.
func newPebble(t testing.TB, l net.Listener, validity time.Duration) *pebble {
	t.Helper()
	for name, value := range map[string]string{"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"} {
		os.Setenv(name, value)
	}
	p := &pebble{t: t, store: db.NewMemoryStore()}
	p.ca = ca.New(quiet(), p.store, "", "ecdsa", 0, 1, map[string]ca.Profile{
		"default": {Description: "default", ValidityPeriod: uint64(validity / time.Second)},
	})
	p.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := p.handler.Load()
		if h == nil {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/finalize-order/") {
			p.issued.Add(1)
		}
		(*h).ServeHTTP(w, r)
	}))
	p.server.Config.ErrorLog = quiet()
	if l != nil {
		p.server.Listener.Close()
		p.server.Listener = l
	}
	p.server.StartTLS()
	t.Cleanup(p.server.Close)
	p.rootFile = filepath.Join(t.TempDir(), "pebble.pem")
	write(t, p.rootFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw}))
	return p
}

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// validate brings it up, validating TLS-ALPN-01 at the address's port and
// everything by the resolver at another address.
func (p *pebble) validate(tlsAddr, resolver string) {
	port := 1
	if tlsAddr != "" {
		a, err := net.ResolveTCPAddr("tcp", tlsAddr)
		if err != nil {
			p.t.Fatal(err)
		}
		port = a.Port
	}
	v := va.New(quiet(), 1, port, false, resolver, p.store)
	front := wfe.New(quiet(), p.store, v, p.ca, []string{"pebble"}, false, p.eab, 0, 0)
	handler := front.Handler()
	p.handler.Store(&handler)
}

func (p *pebble) options(storage string, domains ...string) *ACME {
	return &ACME{Domains: domains, Email: "hostmaster@example.com", CA: p.server.URL + wfe.DirectoryPath, RootFile: p.rootFile, Storage: storage}
}

// verify reports whether a chain leads to the CA and is for the name.
func (p *pebble) verify(state tls.ConnectionState, name string) error {
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(p.ca.GetRootCert(0).PEM())
	for _, c := range state.PeerCertificates[1:] {
		intermediates.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: intermediates})
	return err
}

// nameServer says that every name is 127.0.0.1, and answers TXT from c.
func nameServer(t testing.TB, c *Challenges) (addr string) {
	t.Helper()
	var packets net.PacketConn
	var streams net.Listener
	for streams == nil { // the kernel picks a port for UDP; for TCP it may be taken
		var err error
		if packets, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if streams, err = net.Listen("tcp", packets.LocalAddr().String()); err != nil {
			packets.Close()
		}
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		m := new(dns.Msg).SetReply(r)
		m.Authoritative = true
		q := r.Question[0]
		header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET}
		switch q.Qtype {
		case dns.TypeA:
			m.Answer = append(m.Answer, &dns.A{Hdr: header, A: net.IPv4(127, 0, 0, 1)})
		case dns.TypeTXT:
			for _, value := range c.Values(strings.TrimSuffix(strings.ToLower(q.Name), ".")) {
				m.Answer = append(m.Answer, &dns.TXT{Hdr: header, Txt: []string{value}})
			}
		}
		w.WriteMsg(m)
	})
	for _, s := range []*dns.Server{{PacketConn: packets, Handler: handler}, {Listener: streams, Handler: handler}} {
		go s.ActivateAndServe()
		t.Cleanup(func() { s.Shutdown() })
	}
	return packets.LocalAddr().String()
}
