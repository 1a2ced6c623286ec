package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"coredns-smimea/internal/harness"
)

// TestTLSFiles has the host's own certificate replaced while it serves.
func TestTLSFiles(t *testing.T) {
	dir := t.TempDir()
	cert{addresses: []string{"alice@example.com"}}.write(t, filepath.Join(dir, "alice.pem"))
	w, options := newWeb(t, "example.com")
	s := startServer(t, block("example.com", smimea(dir, options)))
	url := fileURL("example.com", "alice.pem")
	key := strings.TrimSuffix(w.trust, ".pem") + ".key"
	first := serialOf(t, w.trust)
	if got := w.shown("example.com"); got != first {
		t.Fatalf("shown: %s, want %s", got, first)
	}
	newCert, newKey := tlsPair(t, t.TempDir(), "example.com")
	if err := os.Rename(newCert, w.trust); err != nil { // half a renewal
		t.Fatal(err)
	}
	for range 3 { // whatever the reloads, too
		s.reload(t, block("example.com", smimea(dir, options+"\nttl 30m")))
		s.reload(t, block("example.com", smimea(dir, options)))
		if got := w.shown("example.com"); got != first {
			t.Fatalf("with a key that does not fit: %s, want the old one", got)
		}
	}
	if err := os.Rename(newKey, key); err != nil {
		t.Fatal(err)
	}
	second := serialOf(t, w.trust)
	waitFor(t, "the new certificate", func() bool { return w.shown("example.com") == second })
	if code := w.status(t, url); code != "200" {
		t.Errorf("after the renewal: %s", code)
	}
}

// TestTLSDirective takes CoreDNS's own TLS configuration, for a plain block and for one
// that serves DNS over TLS with it.
func TestTLSDirective(t *testing.T) {
	dir := t.TempDir()
	cert{addresses: []string{"alice@example.com"}}.write(t, filepath.Join(dir, "alice.pem"))
	certFile, keyFile := tlsPair(t, t.TempDir(), "example.com")
	for _, scheme := range []string{"", "tls://"} {
		w := &web{harness.Loopback(freePort(t)), certFile}
		corefile := block("example.com", "tls "+certFile+" "+keyFile, smimea(dir, "https "+w.addr))
		if scheme != "" { // the tests ask over plain DNS
			corefile = strings.Replace(corefile, "example.com:PORT", scheme+"example.com:"+portOf(harness.Loopback(freePort(t))), 1) + block("example.org", "smimea "+dir)
		}
		startServer(t, corefile)
		if got := w.curl(t, "--http2", fileURL("example.com", "alice.pem")); got != string(derOf(t, filepath.Join(dir, "alice.pem"))) {
			t.Errorf("%q: another certificate", scheme)
		}
		if got := w.shown("example.com"); got != serialOf(t, certFile) {
			t.Errorf("%q: shown %s", scheme, got)
		}
	}
	if _, err := tryServer(t, block("example.com", smimea(dir, "https "+harness.Loopback(freePort(t))))); err == nil || !strings.Contains(err.Error(), "tls CERT KEY") {
		t.Errorf("https without a certificate: %v", err)
	}
}

// TestSharedAddress has two blocks with one address and a certificate each.
func TestSharedAddress(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	cert{addresses: []string{"a@one.test"}}.write(t, filepath.Join(one, "a.pem"))
	cert{addresses: []string{"a@two.test"}}.write(t, filepath.Join(two, "a.pem"))
	w, options := newWeb(t, "one.test")
	certFile, keyFile := tlsPair(t, t.TempDir(), "two.test")
	corefile := block("one.test", smimea(one, options)) +
		block("two.test", "tls "+certFile+" "+keyFile, smimea(two, "https "+w.addr))
	s := startServer(t, corefile)
	check := func() {
		t.Helper()
		for domain, trust := range map[string]string{"one.test": w.trust, "two.test": certFile} {
			dir := map[string]string{"one.test": one, "two.test": two}[domain]
			if got := (&web{w.addr, trust}).curl(t, fileURL(domain, "a.pem")); got != string(derOf(t, filepath.Join(dir, "a.pem"))) {
				t.Errorf("%s: another certificate", domain)
			}
		}
	}
	check()
	s.reload(t, corefile)
	check()
	s.reload(t, block("two.test", "tls "+certFile+" "+keyFile, smimea(two, "https "+w.addr)))
	if code := w.status(t, fileURL("one.test", "a.pem"), "-k"); code != "404" {
		t.Errorf("a domain whose block is gone: %s", code)
	}
	s.reload(t, corefile)
	check()
	// HTTP beside HTTPS, for a proxy in front.
	plain := &web{addr: harness.Loopback(freePort(t))}
	s.reload(t, block("one.test", smimea(one, options+"\nhttp "+portOf(plain.addr)))) // a port alone is loopback
	if got := command(t, "curl", "-sS", "--noproxy", "*", "-H", "Host: one.test", "http://"+plain.addr+wellKnown+"a.pem"); got != string(derOf(t, filepath.Join(one, "a.pem"))) {
		t.Error("over plain HTTP: another certificate")
	}
	if code := w.status(t, fileURL("one.test", "a.pem")); code != "200" {
		t.Errorf("over HTTPS beside: %s", code)
	}
}
