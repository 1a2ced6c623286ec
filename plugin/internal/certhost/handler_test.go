package certhost

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"coredns-smimea/internal/pkcs7"
)

// testHost is a host without a listener, for what a request alone decides.
func testHost(config Config, files Files) *host {
	config, err := config.normalized()
	if err != nil {
		panic(err)
	}
	lease := &Lease{config: config, domains: map[string]bool{}}
	for _, domain := range config.Domains {
		lease.domains[domain] = true
	}
	lease.published.Store(&files)
	h := &host{cache: newCache()}
	h.routes.Store(newRoutes([]*Lease{lease}))
	return h
}

func serve(h http.Handler, method, target, host string, header ...string) *http.Response {
	r := httptest.NewRequest(method, target, nil)
	r.Host = host
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func text(r *http.Response) string {
	var b bytes.Buffer
	b.ReadFrom(r.Body)
	return b.String()
}

func TestHeaders(t *testing.T) {
	files, c := one(t, "example.com", "alice.crt", "alice")
	h := testHost(Config{Address: ":0", Domains: []string{"example.com"}}, files)
	der, _ := c.DER()
	tag := fmt.Sprintf("%x", c.Digest)
	common := func(more ...string) http.Header {
		header := http.Header{"Access-Control-Allow-Origin": {"*"}, "X-Content-Type-Options": {"nosniff"}}
		for i := 0; i < len(more); i += 2 {
			header[more[i]] = []string{more[i+1]}
		}
		return header
	}
	found := func(kind, etag string, length int) http.Header {
		return common("Content-Type", kind, "Content-Length", fmt.Sprint(length), "Etag", `"`+etag+`"`, "Vary", "Accept",
			"Cache-Control", "public, max-age=3600", "Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT")
	}
	pemLength := len(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	p7c, err := pkcs7.CertsOnly([][]byte{der})
	if err != nil {
		t.Fatal(err)
	}
	const path = "/.well-known/smime/"
	for _, test := range []struct {
		method, path, accept string
		code                 int
		want                 http.Header
	}{
		{"GET", "alice.crt", "", 200, found("application/pkix-cert", tag, len(der))},
		{"GET", "alice.crt", "application/x-pem-file", 200, found("application/x-pem-file", tag+"-pem", pemLength)},
		{"GET", "alice.crt", "application/pem-certificate-chain", 200, found("application/pem-certificate-chain", tag+"-chain", pemLength)},
		{"GET", label("alice") + ".crt", "", 200, found("application/pkix-cert", tag, len(der))},
		{"GET", label("alice") + ".p7c", "application/x-pem-file", 200, found("application/pkcs7-mime; smime-type=certs-only", fmt.Sprintf("%x", digestOf([][]byte{der})), len(p7c))},
		{"GET", "policy", "", 200, common("Content-Type", "text/plain; charset=utf-8", "Content-Length", fmt.Sprint(len(policyBody.data)), "Etag", policyBody.etag[0], "Cache-Control", "public, max-age=86400")},
		{"GET", "nobody.crt", "", 404, common("Content-Type", "text/plain; charset=utf-8", "Content-Length", "10", "Cache-Control", "no-cache")},
		{"POST", "alice.crt", "", 405, common("Content-Type", "text/plain; charset=utf-8", "Content-Length", "18", "Allow", "GET, HEAD")},
		{"OPTIONS", "nobody.crt", "", 405, common("Content-Type", "text/plain; charset=utf-8", "Content-Length", "18", "Allow", "GET, HEAD")},
		{"BREW", "alice.crt", "", 405, common("Content-Type", "text/plain; charset=utf-8", "Content-Length", "18", "Allow", "GET, HEAD")},
	} {
		var header []string
		if test.accept != "" {
			header = []string{"Accept", test.accept}
		}
		response := serve(h, test.method, path+test.path, "example.com", header...)
		if response.StatusCode != test.code || !reflect.DeepEqual(response.Header, test.want) {
			t.Errorf("%s %s (Accept %q): %d\n got %v\nwant %v", test.method, test.path, test.accept, response.StatusCode, response.Header, test.want)
		}
	}
}

func TestConditions(t *testing.T) {
	files, c := one(t, "example.com", "alice.crt", "alice")
	der, _ := c.DER()
	reads := 0
	c.DER = func() ([]byte, error) { reads++; return der, nil }
	files.files["example.com/alice.crt"] = c
	h := testHost(Config{Address: ":0", Domains: []string{"example.com"}}, files)
	tag := fmt.Sprintf(`"%x"`, c.Digest)
	const date, before, after = "Fri, 02 Jan 2026 03:04:05 GMT", "Fri, 02 Jan 2026 03:04:04 GMT", "Fri, 02 Jan 2026 03:04:06 GMT"
	for _, test := range []struct {
		header []string
		code   int
	}{
		{[]string{"If-None-Match", tag}, 304},
		{[]string{"If-None-Match", "W/" + tag}, 304},
		{[]string{"If-None-Match", `"x", ` + tag}, 304},
		{[]string{"If-None-Match", `"x"`, "If-None-Match", tag}, 304},
		{[]string{"If-None-Match", "*"}, 304},
		{[]string{"If-Modified-Since", date}, 304},
		{[]string{"If-Match", `"x"`}, 412},
		{[]string{"If-Match", "W/" + tag}, 412},
		{[]string{"If-Unmodified-Since", before}, 412},
		{[]string{"If-None-Match", `"x"`}, 200},
		{[]string{"If-None-Match", `"x"`, "If-Modified-Since", date}, 200},
		{[]string{"If-None-Match", strings.Trim(tag, `"`)}, 200},
		{[]string{"If-None-Match", tag, "Accept", typePEM}, 200},
		{[]string{"If-Modified-Since", before}, 200},
		{[]string{"If-Modified-Since", after}, 200}, // an older certificate may have taken over
		{[]string{"If-Modified-Since", "yesterday"}, 200},
		{[]string{"If-Match", tag}, 200},
		{[]string{"If-Match", "*"}, 200},
		{[]string{"If-Unmodified-Since", date}, 200},
		{[]string{"Range", "bytes=0-3"}, 200},
	} {
		reads = 0
		response := serve(h, "GET", "/.well-known/smime/alice.crt", "example.com", test.header...)
		if response.StatusCode != test.code {
			t.Errorf("%q: %d, want %d", test.header, response.StatusCode, test.code)
		}
		if response.StatusCode == 200 {
			continue
		}
		if reads > 0 {
			t.Errorf("%q: the file was read for a %d", test.header, test.code)
		}
		if body := text(response); body != "" || response.Header.Get("Etag") != tag || response.Header.Get("Cache-Control") == "" || response.Header.Get("Vary") != "Accept" {
			t.Errorf("%q: %v, body %q", test.header, response.Header, body)
		}
	}
}

// No answer may be kept beyond the end of a certificate that it holds.
func TestMaxAge(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		ttl, left time.Duration
		want      time.Duration
	}{
		{time.Hour, 2 * time.Hour, time.Hour},
		{time.Hour, 90 * time.Second, 90 * time.Second},
		{time.Hour, time.Nanosecond, time.Nanosecond},
		{time.Hour, 0, -1},
		{time.Hour, -time.Second, -1},
		{-time.Hour, time.Hour, 0},
	} {
		c := Certificate{TTL: test.ttl, NotAfter: now.Add(test.left)}
		if got := c.maxAge(now); got != test.want {
			t.Errorf("TTL %s, %s left: %s, want %s", test.ttl, test.left, got, test.want)
		}
	}
	a, b := mailCertificate(t, "a@example.com"), mailCertificate(t, "b@example.com")
	b.TTL = 7 * time.Second
	h := &host{cache: newCache()}
	if all, ok := h.allOf([]Certificate{a, b}); !ok || all.maxAge != 7*time.Second {
		t.Errorf("of several: %v, %v", all.maxAge, ok)
	}
	b.NotAfter = now.Add(-time.Second)
	if _, ok := h.allOf([]Certificate{a, b}); ok {
		t.Error("an expired one among several is given out")
	}
}

// A file changed under a published certificate must not be sent, whether its
// bytes were sent before or not; what was sent before may be.
func TestSwappedFile(t *testing.T) {
	files, c := one(t, "example.com", "alice.crt", "alice")
	right, _ := c.DER()
	wrong, _ := mailCertificate(t, "mallory@example.com").DER()
	now := wrong
	c.DER = func() ([]byte, error) { return now, nil }
	files.files["example.com/alice.crt"] = c
	log := newRecorder()
	h := testHost(Config{Address: ":0", Domains: []string{"example.com"}, Log: log, Metrics: log}, files)
	ask := func() (int, string) {
		response := serve(h, "GET", "/.well-known/smime/alice.crt", "example.com")
		return response.StatusCode, text(response)
	}
	if code, _ := ask(); code != 404 {
		t.Errorf("swapped before: %d", code)
	}
	now = right
	if code, body := ask(); code != 200 || body != string(right) {
		t.Errorf("right: %d", code)
	}
	now = wrong
	if code, body := ask(); code != 200 || body != string(right) {
		t.Errorf("swapped after: %d, right %v", code, body == string(right))
	}
	if len(log.lines) != 1 || strings.Contains(log.lines[0], "alice") {
		t.Errorf("log: %q", log.lines)
	}
	if log.requests[200] != 2 || log.requests[404] != 1 {
		t.Errorf("counted: %v", log.requests)
	}
}
