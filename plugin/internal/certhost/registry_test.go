package certhost

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

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
	eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= goroutines })
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
