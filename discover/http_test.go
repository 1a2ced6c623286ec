package discover

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"coredns-smimea/internal/testcert"
)

func compressed(t *testing.T, data []byte, coding string) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zlib":
		w = zlib.NewWriter(&b)
	case "flate":
		w, _ = flate.NewWriter(&b, flate.BestSpeed)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestCodings has servers that compress, although they are asked not to.
func TestCodings(t *testing.T) {
	w := newWorld(t)
	var asked atomic.Value
	bomb := compressed(t, make([]byte, 64<<20), "gzip")
	type test struct {
		name, coding string
		body         func(der []byte) []byte
		want         Verdict
		code         Code
	}
	tests := []test{
		{"plain", "", func(der []byte) []byte { return der }, Verified, Matched},
		{"identity", "identity", func(der []byte) []byte { return der }, Verified, Matched},
		{"gzip", "gzip", func(der []byte) []byte { return compressed(t, der, "gzip") }, Verified, Matched},
		{"xgzip", "X-GZIP", func(der []byte) []byte { return compressed(t, der, "gzip") }, Verified, Matched},
		{"deflate", "deflate", func(der []byte) []byte { return compressed(t, der, "zlib") }, Verified, Matched},
		{"bare", "deflate", func(der []byte) []byte { return compressed(t, der, "flate") }, Verified, Matched},
		{"twice", "deflate, gzip", func(der []byte) []byte { return compressed(t, compressed(t, der, "zlib"), "gzip") }, Verified, Matched},
		{"thrice", "gzip, gzip, gzip", func(der []byte) []byte { return der }, Wrong, BadEncoding},
		{"brotli", "br", func(der []byte) []byte { return der }, Wrong, BadEncoding},
		{"lie", "gzip", func(der []byte) []byte { return der }, Wrong, BadEncoding},
		{"bomb", "gzip", func([]byte) []byte { return bomb }, Wrong, TooLarge},
		{"twicebomb", "gzip, gzip", func([]byte) []byte { return compressed(t, bomb, "gzip") }, Wrong, TooLarge},
		{"short", "gzip", func(der []byte) []byte { return compressed(t, der, "gzip")[:100] }, Unknown, Unreachable},
	}
	for _, test := range tests {
		address := test.name + "@example.test"
		der := user(t, address)
		body := test.body(der)
		w.pages.HandleFunc("/coded/"+test.name, func(rw http.ResponseWriter, r *http.Request) {
			asked.Store(r.Header.Get("Accept-Encoding"))
			if test.coding != "" {
				rw.Header().Set("Content-Encoding", test.coding)
			}
			for len(body) > 0 { // in chunks
				n := min(len(body), 500_000)
				if _, err := rw.Write(body[:n]); err != nil {
					return
				}
				rw.(http.Flusher).Flush()
				body = body[n:]
			}
		})
		w.pages.HandleFunc("/moved/"+test.name, func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Encoding", "gzip")
			http.Redirect(rw, r, "/coded/"+test.name, http.StatusMovedPermanently)
		})
		w.publish(address, der, []string{"3 1 1"}, w.url("example.test", "/moved/"+test.name))
	}
	c := w.client()
	for _, test := range tests {
		r := w.expect(c, test.name+"@example.test", test.want)
		if r.Why.Code != test.code || asked.Load() != "identity" {
			t.Errorf("%s: %s (%s), asked for %q; want %s", test.name, r.Why.Code, r.Why, asked.Load(), test.code)
		}
	}
}

// TestProxy has the way to the web lead over a proxy only.
func TestProxy(t *testing.T) {
	w := newWorld(t)
	w.files["/u"] = user(t, "u@example.test")
	w.publish("u@example.test", w.files["/u"], []string{"3 1 1"}, "https://keys.example.test:"+w.web.Port+"/u")
	var passed atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			rw.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		passed.Add(1)
		there, err := net.Dial("tcp", "127.0.0.1:"+w.web.Port)
		if err != nil {
			rw.WriteHeader(http.StatusBadGateway)
			return
		}
		defer there.Close()
		here, buffered, err := rw.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer here.Close()
		io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
		go io.Copy(there, bufio.NewReader(buffered))
		io.Copy(here, there)
	}))
	defer proxy.Close()
	t.Setenv("HTTPS_PROXY", proxy.URL)
	c := w.client()
	w.expect(c, "u@example.test", Verified)
	if passed.Load() != 1 {
		t.Errorf("the proxy was asked %d times", passed.Load())
	}
	t.Setenv("NO_PROXY", "example.test")
	w.expect(c, "u@example.test", Verified)
	if passed.Load() != 1 {
		t.Errorf("with NO_PROXY, the proxy was asked %d times", passed.Load())
	}
	t.Setenv("NO_PROXY", "")
	c.AllowPrivate = false
	if r := w.expect(c, "u@example.test", Unknown); r.Why.Code != PrivateAddress || passed.Load() != 1 {
		t.Errorf("a private address by a proxy: %s (%s), asked %d times", r.Why.Code, r.Why, passed.Load())
	}
	c.AllowPrivate = true
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	if r := w.expect(c, "u@example.test", Unknown); !strings.Contains(r.Why.Text, "refused") {
		t.Errorf("a proxy that is down: %s", r.Why)
	}
	refuses := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { rw.WriteHeader(http.StatusProxyAuthRequired) }))
	defer refuses.Close()
	t.Setenv("HTTPS_PROXY", refuses.URL)
	if r := w.expect(c, "u@example.test", Unknown); !strings.Contains(r.Why.Text, "the proxy "+strings.TrimPrefix(refuses.URL, "http://")+" says 407") {
		t.Errorf("a proxy that refuses: %s", r.Why)
	}
	t.Setenv("HTTPS_PROXY", "ht tp://x y")
	if r := w.expect(c, "u@example.test", Unknown); !strings.Contains(r.Why.Text, "HTTPS_PROXY is the URL of none") {
		t.Errorf("what is no proxy: %s", r.Why)
	}
	t.Setenv("NO_PROXY", "example.test")
	t.Setenv("HTTPS_PROXY", refuses.URL)
	w.expect(c, "u@example.test", Verified)
}

// TestNoWebNeeded holds that a verdict that the records give is not waited for.
func TestNoWebNeeded(t *testing.T) {
	w := newWorld(t)
	var guesses atomic.Int32
	w.pages.HandleFunc("/.well-known/smime/", func(rw http.ResponseWriter, r *http.Request) {
		guesses.Add(1)
		<-r.Context().Done()
	})
	w.pages.HandleFunc("/silent", func(rw http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	w.pages.HandleFunc("/drip", func(rw http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			rw.Write([]byte("-"))
			rw.(http.Flusher).Flush()
			<-time.After(50 * time.Millisecond)
		}
	})
	sign := certificate(t, testcert.Template{Addresses: []string{"sign@example.test"}, KeyUsage: x509.KeyUsageDigitalSignature})
	w.publish("full@example.test", user(t, "full@example.test"), []string{"3 0 0"})
	w.publish("known@example.test", user(t, "known@example.test"), []string{"1 0 0"})
	w.publish("sign@example.test", sign, []string{"3 0 0"})
	w.publish("silent@example.test", user(t, "silent@example.test"), []string{"3 0 0"}, w.url("example.test", "/silent"), w.url("example.test", "/drip"))
	c := w.client()
	for _, name := range []string{"full", "known", "sign"} {
		w.expect(c, name+"@example.test", Verified)
	}
	if guesses.Load() > 0 {
		t.Errorf("the web server was asked %d times", guesses.Load())
	}
	r := w.expect(c, "silent@example.test", Verified)
	for _, d := range r.Downloads {
		if problemOf(d.Err, "").Code != NotWaitedFor {
			t.Errorf("%s: %v", d.URL, d.Err)
		}
	}
}

// TestSlowServers holds that one slow URL takes nothing from another.
func TestSlowServers(t *testing.T) {
	w := newWorld(t)
	w.pages.HandleFunc("/a-silent", func(rw http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	w.files["/b"] = user(t, "u@example.test")
	w.publish("u@example.test", w.files["/b"], []string{"3 1 1"}, w.url("example.test", "/a-silent"), w.url("example.test", "/b"))
	r := w.expect(w.client(), "u@example.test", Verified)
	for _, d := range r.Downloads {
		if strings.HasSuffix(d.URL, "/a-silent") && problemOf(d.Err, "").Code != NotWaitedFor {
			t.Errorf("%s: %v", d.URL, d.Err)
		}
	}
}

// TestInterruptedDownload holds that a download that the context ends is said to have
// ended so, whatever the connection was doing.
func TestInterruptedDownload(t *testing.T) {
	w := newWorld(t)
	asked := make(chan bool, 2)
	w.pages.HandleFunc("/silent", func(rw http.ResponseWriter, r *http.Request) {
		asked <- true
		<-r.Context().Done()
	})
	w.pages.HandleFunc("/drip", func(rw http.ResponseWriter, r *http.Request) {
		for asked <- true; r.Context().Err() == nil; <-time.After(time.Millisecond) {
			rw.Write([]byte("-"))
			rw.(http.Flusher).Flush()
		}
	})
	for _, path := range []string{"/silent", "/drip"} {
		name := path[1:] + "@example.test"
		w.publish(name, user(t, name), []string{"3 1 1"}, w.url("example.test", path))
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			<-asked
			cancel(errors.New("the user has gone"))
		}()
		r := w.client().Lookup(ctx, parse(t, name))
		if r.Verdict != Unknown || r.Why.Code != Interrupted || !strings.Contains(r.Why.Text, "the user has gone") {
			t.Errorf("%s: %s: %s (%s)", path, r.Verdict, r.Why, r.Why.Code)
		}
	}
}
