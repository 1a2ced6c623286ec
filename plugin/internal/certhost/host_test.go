package certhost

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The standard tools as clients: curl over both HTTP versions, openssl for the
// handshake and for what was fetched.
func TestTools(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := serverPair(t, dir, "example.com")
	files, c := one(t, "example.com", "alice.crt", "alice")
	der, _ := c.DER()
	log := newRecorder()
	lease := start(t, Config{Domains: []string{"example.com"}, TLS: &TLS{CertFile: certFile, KeyFile: keyFile}, Log: log, Metrics: log}, files)
	_, port, _ := net.SplitHostPort(lease.Addr().String())
	url := "https://example.com:" + port + "/.well-known/smime/"
	curl := func(args ...string) string {
		return tool(t, nil, "curl", append([]string{"-sS", "--cacert", certFile, "--resolve", "example.com:" + port + ":127.0.0.1"}, args...)...)
	}

	for _, version := range []struct{ flag, want string }{{"--http1.1", "1.1"}, {"--http2", "2"}} {
		out := filepath.Join(dir, "out.der")
		said := curl(version.flag, "-o", out, "-w", "%{http_version} %{http_code} %{content_type}", url+"alice.crt")
		if said != version.want+" 200 application/pkix-cert" {
			t.Errorf("curl %s: %s", version.flag, said)
		}
		if got, _ := os.ReadFile(out); !bytes.Equal(got, der) {
			t.Errorf("curl %s: other bytes", version.flag)
		}
		subject := tool(t, nil, "openssl", "x509", "-inform", "DER", "-in", out, "-noout", "-email", "-checkend", "60")
		if !strings.HasPrefix(subject, "alice@example.com\n") {
			t.Errorf("openssl x509: %s", subject)
		}
	}
	armored := curl("-H", "Accept: application/x-pem-file", url+label("alice")+".crt")
	if got := tool(t, []byte(armored), "openssl", "x509", "-outform", "DER"); got != string(der) {
		t.Error("PEM: other certificate")
	}
	bundle := curl(url + label("alice") + ".p7c")
	if got := tool(t, []byte(bundle), "openssl", "pkcs7", "-inform", "DER", "-print_certs"); !strings.Contains(got, "alice@example.com") {
		t.Errorf("PKCS#7: %s", got)
	}
	for _, args := range [][]string{
		{"--path-as-is", url + "../smime/alice.crt"}, {"--path-as-is", url + "%2e%2e/alice.crt"}, {url + "key.pem"}, {url},
		{"--path-as-is", url + "/alice.crt"}, {url + "alice.crt%00"}, {"-H", "Host: example.org", url + "alice.crt"},
	} {
		if said := curl(append([]string{"-w", " %{http_code}"}, args...)...); said != "not found\n 404" {
			t.Errorf("curl %q: %q", args, said)
		}
	}
	if said := curl("-I", url+"alice.crt"); !strings.Contains(strings.ToLower(said), fmt.Sprintf("etag: \"%x\"", c.Digest)) {
		t.Errorf("curl -I: %s", said)
	}
	if said := curl("-o", "/dev/null", "-w", "%{http_code}", "-H", fmt.Sprintf("If-None-Match: \"%x\"", c.Digest), url+"alice.crt"); said != "304" {
		t.Errorf("curl If-None-Match: %s", said)
	}
	if said := curl("-X", "PUT", "-o", "/dev/null", "-w", "%{http_code}", url+"alice.crt"); said != "405" {
		t.Errorf("curl -X PUT: %s", said)
	}

	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		said := tool(t, nil, "openssl", "s_client", "-connect", lease.Addr().String(), "-servername", "example.com", "-CAfile", certFile, "-alpn", "h2", version, "-verify_return_error")
		if !strings.Contains(said, "Verify return code: 0 (ok)") || !strings.Contains(said, "ALPN protocol: h2") {
			t.Errorf("openssl s_client %s:\n%s", version, said)
		}
	}
	for _, old := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		if c, err := tls.Dial("tcp", lease.Addr().String(), &tls.Config{InsecureSkipVerify: true, MinVersion: old, MaxVersion: old}); err == nil {
			c.Close()
			t.Errorf("TLS %x is spoken", old)
		}
	}
	// The expiry of the TLS certificate and the failed handshakes are told.
	eventually(t, "metrics", func() bool {
		return log.see(func() bool {
			return log.expiry["example.com"].After(time.Now()) && log.failures["protocol"] == 2 && log.requests[200] > 4 && log.requests[404] == 7 && log.requests[405] == 1 && log.requests[304] == 1
		})
	})
}

func TestPlain(t *testing.T) {
	files, c := one(t, "example.com", "alice.crt", "alice")
	lease := start(t, Config{Domains: []string{"example.com"}}, files)
	der, _ := c.DER()
	response, body := get(t, client(lease, false), "http://example.com/.well-known/smime/alice.crt")
	if response.StatusCode != 200 || !bytes.Equal(body, der) {
		t.Errorf("%d", response.StatusCode)
	}
}

// A panic ends a connection and not the process, and is seen.
func TestPanic(t *testing.T) {
	log := newRecorder()
	lease := start(t, Config{Domains: []string{"example.com"}, TLS: &TLS{Config: &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { panic("in a callback") },
	}}, Log: log}, nil)
	if _, err := handshake(lease, "example.com"); err == nil {
		t.Error("the handshake succeeds")
	}
	lease.Release()
	lease = start(t, Config{Domains: []string{"example.com"}, Log: log}, nil) // no files: a call of nil
	if r, err := client(lease, false).Get("http://example.com" + Root + "a.crt"); err == nil {
		t.Errorf("%s", r.Status)
	}
	eventually(t, "both in the log", func() bool {
		return log.see(func() bool {
			n := 0
			for _, line := range log.lines {
				if strings.HasPrefix(line, "error https: ") && strings.Contains(line, "panic") {
					n++
				}
			}
			return n == 2
		})
	})
}

// A port that somebody has is an error and not a shared one, also where the
// other set SO_REUSEPORT as CoreDNS's servers do.
func TestPortTaken(t *testing.T) {
	reuse := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			const reusePort = 15 // SO_REUSEPORT on Linux
			if err := syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, reusePort, 1); err != nil {
				t.Error(err)
			}
		})
	}}
	taken, err := reuse.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = Acquire(Config{Address: taken.Addr().String(), Domains: []string{"example.com"}})
	if err == nil || !strings.Contains(err.Error(), "DNS over HTTPS") {
		t.Errorf("error: %v", err)
	}
	// And the other way round.
	files, _ := one(t, "example.com", "a.crt", "a")
	lease := start(t, Config{Domains: []string{"example.com"}}, files)
	if l, err := reuse.Listen(context.Background(), "tcp", lease.Addr().String()); err == nil {
		l.Close()
		t.Error("another listener could share the port")
	}
	if len(registry.hosts) != 1 {
		t.Errorf("%d listeners", len(registry.hosts))
	}
}
