package certhost

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

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
	dawdle := func(i int) {
		c := dial()
		switch i % 4 {
		case 0: // nothing at all
		case 1: // half a handshake
			c.Write([]byte{22, 3, 1, 1, 0, 1})
		default: // half a header
			if i > 100 { // handshakes are dear; a hundred will do
				return
			}
			s := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
			if _, err := io.WriteString(s, "GET /.well-known/smime/alice.crt HTTP/1.1\r\nHost: exa"); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range slow {
		dawdle(i)
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
	eventually(t, "slow connections", func() bool {
		if lease.host.conns.count() < slow { // on a slow machine the first are cut by now
			dawdle(0)
		}
		return log.see(func() bool { return log.open >= slow })
	})
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
			c.SetReadDeadline(time.Now().Add(10 * limit))
			if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: not cut within ten times %s", what, limit)
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
	eventually(t, "the failed handshake to be counted", func() bool { return log.see(func() bool { return log.failures["timeout"] == 1 }) })
}
