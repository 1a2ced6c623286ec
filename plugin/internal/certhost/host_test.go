package certhost

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
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
	eventually(t, "metrics", 5*time.Second, func() bool {
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
	eventually(t, "both in the log", 5*time.Second, func() bool {
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

// Two blocks share one address; the Host header decides, the name in the
// handshake whose TLS certificate is shown, however each came by it.
func TestShared(t *testing.T) {
	dir := t.TempDir()
	certA, keyA := serverPair(t, dir, "a.example")
	certB, keyB := serverPair(t, dir, "b.example")
	pairB, err := tls.LoadX509KeyPair(certB, keyB)
	if err != nil {
		t.Fatal(err)
	}
	filesA, a := one(t, "a.example", "x.crt", "x")
	filesB, b := one(t, "b.example", "x.crt", "x")
	owner := new(int)
	leaseA := start(t, Config{Owner: owner, Domains: []string{"a.example"}, Hosts: []string{"certs.example"}, TLS: &TLS{CertFile: certA, KeyFile: keyA}}, filesA)
	leaseB := start(t, Config{Owner: owner, Address: "127.0.0.1:0", Domains: []string{"b.example"}, Hosts: []string{"certs.example"}, TLS: &TLS{Config: &tls.Config{Certificates: []tls.Certificate{pairB}}}}, filesB)
	if leaseA.Addr() != leaseB.Addr() {
		t.Fatalf("%s and %s", leaseA.Addr(), leaseB.Addr())
	}
	if got := shownName(t, leaseA, "a.example") + " " + shownName(t, leaseA, "b.example"); got != "a.example b.example" {
		t.Errorf("shown: %s", got)
	}
	if state, err := handshake(leaseA, "b.example", "h2"); err != nil || state.NegotiatedProtocol != "h2" {
		t.Errorf("a given configuration: %q, %v", state.NegotiatedProtocol, err)
	}
	c := client(leaseA, true)
	derA, _ := a.DER()
	derB, _ := b.DER()
	for url, want := range map[string][]byte{
		"https://a.example/.well-known/smime/x.crt":                                            derA,
		"https://b.example/.well-known/smime/x.crt":                                            derB,
		"https://certs.example/.well-known/smime/" + label("x") + ".crt?domain=a.example":      derA,
		"https://certs.example/.well-known/smime/" + label("x") + ".crt?domain=b.example":      derB,
		"https://a.example/.well-known/smime/" + label("x") + ".crt?domain=b.example":          nil,
		"https://b.example/.well-known/smime/" + label("nobody") + ".crt?domain=a.example&x=y": nil,
		"https://certs.example/.well-known/smime/" + label("x") + ".crt?domain=certs.example":  nil,
		"https://c.example/.well-known/smime/x.crt":                                            nil,
	} {
		response, body := get(t, c, url)
		if want == nil && response.StatusCode != 404 || want != nil && !bytes.Equal(body, want) {
			t.Errorf("%s: %d", url, response.StatusCode)
		}
	}
	// What contradicts the Corefile's other blocks is refused, and leaves no lease.
	for _, config := range []Config{
		{Domains: []string{"c.example"}},
		{Domains: []string{"A.example."}, TLS: &TLS{CertFile: certA, KeyFile: keyA}},
		{Domains: []string{"c.example"}, TLS: &TLS{CertFile: certA, KeyFile: keyB}},
		{Domains: []string{"c.example"}, TLS: &TLS{CertFile: certA}},
		{Domains: []string{"c.example"}, TLS: &TLS{}},
		{TLS: &TLS{CertFile: certA, KeyFile: keyA}},
		{Domains: []string{"c example"}, TLS: &TLS{CertFile: certA, KeyFile: keyA}},
	} {
		config.Owner, config.Address = owner, "127.0.0.1:0"
		if lease, err := Acquire(config); err == nil {
			lease.Release()
			t.Errorf("%+v: no error", config)
		} else {
			t.Log(err)
		}
	}
	if n := len(leaseA.host.leases); n != 2 {
		t.Errorf("%d leases", n)
	}
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

func TestAddressKey(t *testing.T) {
	for _, pair := range [][2]string{{":8443", "[::]:8443"}, {"localhost:8443", "127.0.0.1:8443"}} {
		a, errA := addressKey(pair[0])
		b, errB := addressKey(pair[1])
		if a != b || errA != nil || errB != nil {
			t.Errorf("%q: %q %v, %q: %q %v", pair[0], a, errA, pair[1], b, errB)
		}
	}
	if _, err := addressKey("127.0.0.1:https:x"); err == nil {
		t.Error("no error")
	}
}

// The life of a reload, of one that fails, and of the listener.
func TestLeases(t *testing.T) {
	goroutines := runtime.NumGoroutine()
	dir := t.TempDir()
	certFile, keyFile := serverPair(t, dir, "example.com")
	pair := &TLS{CertFile: certFile, KeyFile: keyFile}
	oldFiles, _ := one(t, "example.com", "old.crt", "old")
	newFiles, _ := one(t, "example.com", "new.crt", "new")
	acquire := func(owner any, config Config) *Lease {
		t.Helper()
		config.Address, config.Owner, config.Domains = "127.0.0.1:0", owner, []string{"example.com"}
		lease, err := Acquire(config)
		if err != nil {
			t.Fatal(err)
		}
		return lease
	}
	old := acquire("old", Config{TLS: pair})
	c := client(old, true)
	status := func(name string) int {
		t.Helper()
		response, _ := get(t, c, "https://example.com/.well-known/smime/"+name)
		return response.StatusCode
	}
	expect := func(when string, oldCode, newCode int) {
		t.Helper()
		if a, b := status("old.crt"), status("new.crt"); a != oldCode || b != newCode {
			t.Errorf("%s: old.crt %d, new.crt %d; want %d, %d", when, a, b, oldCode, newCode)
		}
	}
	if _, err := handshake(old, "example.com"); err == nil {
		t.Error("a handshake succeeds before anything is published")
	}
	old.Publish(oldFiles)
	expect("first", 200, 404)

	failed := acquire("failed", Config{TLS: pair})
	expect("staged", 200, 404)
	failed.Publish(newFiles)
	expect("published", 404, 200)
	ReleaseOthers("old") // the reload has failed later on
	expect("back", 200, 404)
	failed.Publish(newFiles)
	failed.Release()
	expect("a released lease publishes", 200, 404)

	next := acquire("next", Config{TLS: pair})
	next.Publish(newFiles)
	old.Publish(oldFiles) // the old instance's watcher has not stopped yet
	expect("the newer wins", 404, 200)
	old.Release()
	old.Release()
	expect("reloaded", 404, 200)
	if next.Addr() != old.Addr() {
		t.Error("the listener has moved")
	}

	// TLS and plain may change places at a reload.
	plain := acquire("plain", Config{})
	plain.Publish(oldFiles)
	next.Release()
	response, _ := get(t, client(plain, false), "http://example.com/.well-known/smime/old.crt")
	if response.StatusCode != 200 {
		t.Errorf("plain after TLS: %d", response.StatusCode)
	}
	addr := plain.Addr().String()
	plain.Release()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatalf("the port is not free after the last release: %v", err)
	}
	l.Close()
	if len(registry.hosts) != 0 || len(registry.sources) != 0 {
		t.Errorf("left: %d listeners, %d sources", len(registry.hosts), len(registry.sources))
	}
	c.CloseIdleConnections()
	eventually(t, "goroutines end", 10*time.Second, func() bool { return runtime.NumGoroutine() <= goroutines })
}

// 10,000 requests over old and new connections while the configuration is
// reloaded all the time: every one is answered rightly.
func TestReloadUnderLoad(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := serverPair(t, dir, "example.com")
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	files, c := one(t, "example.com", "alice.crt", "alice")
	der, _ := c.DER()
	config := Config{Address: "127.0.0.1:0", Domains: []string{"example.com"}, TLS: &TLS{CertFile: certFile, KeyFile: keyFile}}
	config.Owner = new(int)
	lease := start(t, config, files)
	const requests, clients = 10_000, 8
	var done, failed atomic.Int64
	var wait sync.WaitGroup
	ticks := make(chan struct{}) // one each ten requests
	for i := range clients {
		wait.Go(func() {
			c := client(lease, i%2 == 0)
			for n := range requests / clients {
				response, err := c.Get("https://example.com/.well-known/smime/alice.crt")
				if err != nil {
					failed.Add(1)
					t.Error(err)
					continue
				}
				body, err := io.ReadAll(response.Body)
				response.Body.Close()
				if err != nil || response.StatusCode != 200 || !bytes.Equal(body, der) {
					failed.Add(1)
					t.Errorf("%d, %v", response.StatusCode, err)
				}
				done.Add(1)
				if n%20 == 0 {
					c.CloseIdleConnections() // new handshakes, too
				}
				if n%10 == 0 {
					ticks <- struct{}{}
				}
			}
		})
	}
	go func() {
		wait.Wait()
		close(ticks)
	}()
	reloads, current := 0, lease
	for range ticks {
		reloads++
		config.Owner = new(int)
		config.TLS = &TLS{CertFile: certFile, KeyFile: keyFile}
		if reloads%2 == 0 {
			config.TLS = &TLS{Config: &tls.Config{Certificates: []tls.Certificate{pair}}}
		}
		next, err := Acquire(config)
		if err != nil {
			t.Fatal(err)
		}
		next.Publish(files)
		if reloads%3 == 0 { // this one fails
			ReleaseOthers(current.config.Owner)
			continue
		}
		current.Release()
		current = next
		t.Cleanup(next.Release)
	}
	t.Logf("%d requests, %d failed, %d reloads", done.Load(), failed.Load(), reloads)
}

// Clients that connect and dawdle, in each phase, do not keep others out, not
// even when they are as many as the listener holds.
func TestSlowClients(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := serverPair(t, dir, "example.com")
	files, c := one(t, "example.com", "alice.crt", "alice")
	der, _ := c.DER()
	log := newRecorder()
	const limit, slow = 1050, 1000
	lease := start(t, Config{Domains: []string{"example.com"}, TLS: &TLS{CertFile: certFile, KeyFile: keyFile}, MaxConnections: limit, Metrics: log}, files)
	dial := func() net.Conn {
		c, err := net.Dial("tcp", lease.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	for i := range slow {
		c := dial()
		switch i % 4 {
		case 0: // nothing at all
		case 1: // half a handshake
			c.Write([]byte{22, 3, 1, 1, 0, 1})
		default: // half a header
			if i > 100 { // handshakes are dear; a hundred will do
				continue
			}
			s := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
			if _, err := io.WriteString(s, "GET /.well-known/smime/alice.crt HTTP/1.1\r\nHost: exa"); err != nil {
				t.Fatal(err)
			}
		}
	}
	ask := func(n int) {
		t.Helper()
		begin := time.Now()
		for range n {
			client := client(lease, true)
			response, body := get(t, client, "https://example.com/.well-known/smime/alice.crt")
			if response.StatusCode != 200 || !bytes.Equal(body, der) {
				t.Fatalf("%d", response.StatusCode)
			}
			client.CloseIdleConnections()
		}
		t.Logf("%d connections with a request each beside the slow ones: %s", n, time.Since(begin))
	}
	eventually(t, "slow connections", 5*time.Second, func() bool { return log.see(func() bool { return log.open == slow }) })
	ask(50)
	for range 2 * limit { // far more than there is room for
		dial()
	}
	ask(50)
	if open := lease.host.conns.count(); open > limit {
		t.Errorf("%d connections are open, more than %d", open, limit)
	}
}

// Each phase ends by itself.
func TestTimeouts(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := serverPair(t, dir, "example.com")
	files, _ := one(t, "example.com", "alice.crt", "alice")
	log := newRecorder()
	lease := start(t, Config{Domains: []string{"example.com"}, TLS: &TLS{CertFile: certFile, KeyFile: keyFile}, Metrics: log}, files)
	var wait sync.WaitGroup
	cut := func(what string, c net.Conn, limit time.Duration) {
		wait.Go(func() {
			defer c.Close()
			begin := time.Now()
			c.SetReadDeadline(begin.Add(limit + 5*time.Second))
			io.Copy(io.Discard, c)
			if took := time.Since(begin); took > limit+4*time.Second {
				t.Errorf("%s: not cut within %s", what, took)
			}
		})
	}
	c, err := net.Dial("tcp", lease.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	cut("no handshake", c, handshakeTimeout)
	s, err := tls.Dial("tcp", lease.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(s, "GET / HTTP/1.1\r\n")
	cut("half a header", s, headerTimeout)
	wait.Go(func() {
		s, err := tls.Dial("tcp", lease.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Error(err)
			return
		}
		defer s.Close()
		fmt.Fprintf(s, "GET / HTTP/1.1\r\nHost: example.com\r\nX: %s\r\n\r\n", strings.Repeat("x", 2*maxHeader))
		response, err := http.ReadResponse(bufio.NewReader(s), nil)
		if err == nil && response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("a header of %d: %s", 2*maxHeader, response.Status)
		}
	})
	wait.Wait()
	if !log.see(func() bool { return log.failures["timeout"] == 1 }) {
		t.Errorf("handshake failures: %v", log.failures)
	}
}
