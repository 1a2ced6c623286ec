package certhost

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
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
	h.table.Store(newTable([]*Lease{lease}))
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

func TestPaths(t *testing.T) {
	alice, bob, old, other := mailCertificate(t, "alice@example.com"), mailCertificate(t, "bob@example.com"), mailCertificate(t, "alice@example.com"), mailCertificate(t, "carol@xn--mnchen-3ya.example")
	expired := mailCertificate(t, "dave@example.com")
	expired.NotAfter = time.Now().Add(-time.Second)
	swapped := mailCertificate(t, "erin@example.com")
	swapped.DER = bob.DER
	gone := mailCertificate(t, "frank@example.com")
	gone.DER = func() ([]byte, error) { return nil, errors.New("gone") }
	const idn = "xn--mnchen-3ya.example"
	h := testHost(Config{Address: ":0", Domains: []string{"example.com", "münchen.example"}, Hosts: []string{"certs.example.net"}}, &directory{
		files: map[string]Certificate{
			"example.com/alice.crt": alice, "example.com/team/bob smith.crt": bob, "example.com/100%.crt": bob,
			idn + "/carol.cer": other, "example.com/dave.crt": expired, "example.com/erin.crt": swapped, "example.com/frank.crt": gone,
			"example.com/" + label("alice") + ".crt": bob,
			"example.com/" + label("bob") + ".crt":   bob,
		},
		labels: map[string][]Certificate{
			"example.com/" + label("alice"): {alice, old}, idn + "/" + label("carol"): {other},
			"example.com/" + label("dave"): {expired},
		},
	})
	der := func(c Certificate) string { b, _ := c.DER(); return string(b) }
	const root = "/.well-known/smime/"
	for _, test := range []struct {
		target, host string
		want         string // body; empty: 404
	}{
		{root + "alice.crt", "example.com", der(alice)},
		{root + "alice.crt", "EXAMPLE.com.", der(alice)},
		{root + "alice.crt", "example.com:8443", der(alice)},
		{root + "alice.crt?x=y", "example.com", der(alice)},
		{root + "%61lice.crt", "example.com", der(alice)},
		{root + "team/bob%20smith.crt", "example.com", der(bob)},
		{root + "100%25.crt", "example.com", der(bob)},
		{root + "carol.cer", "münchen.example", der(other)},
		{root + "carol.cer", "xn--mnchen-3ya.example", der(other)},
		{root + "carol.cer", "XN--MNCHEN-3YA.example.", der(other)},
		{root + label("alice") + ".crt", "example.com", der(alice)}, // not the file of that name
		{root + label("bob") + ".crt", "example.com", der(bob)},     // a file's name, no published label
		{root + label("carol") + ".crt?domain=m%C3%BCnchen.example", "example.com", der(other)},
		{root + label("carol") + ".crt?domain=XN--mnchen-3ya.example.", "example.com", der(other)},
		{root + label("alice") + ".crt?domain=example.com", "certs.example.net", der(alice)},
		{root + "alice.crt", "certs.example.net", der(alice)},
		{root + "carol.cer", "certs.example.net", der(other)},

		{root + "carol.cer", "example.com", ""}, // published under another domain
		{root + "alice.crt", "münchen.example", ""},
		{root + "alice.crt", "example.net", ""},
		{root + "alice.crt", "", ""},
		{root + "alice.crt", "127.0.0.1", ""},
		{root + "alice.crt", "[::1]:443", ""},
		{root + "alice.crt", "example.com:x", ""},
		{root + "alice.crt", "example.com..", ""},
		{root + "alice.crt", "*.example.com", ""},
		{root + label("carol") + ".crt", "certs.example.net", ""},
		{root + label("carol") + ".crt?domain=example.org", "example.com", ""},
		{root + label("carol") + ".crt?domain=", "example.com", ""},
		{root + label("carol") + ".crt?domain=münchen.example&domain=example.com", "example.com", ""},
		{root + label("carol") + ".crt?domain=%zz", "münchen.example", ""},
		{root + label("carol") + ".crt", "example.com", ""},
		{root + strings.ToUpper(label("alice")) + ".crt", "example.com", ""},
		{root + label("alice") + ".CRT", "example.com", ""},
		{root + label("alice") + ".pem", "example.com", ""},
		{root + label("alice"), "example.com", ""},
		{root + label("alice")[1:] + ".crt", "example.com", ""},
		{root + label("dave") + ".crt", "example.com", ""},
		{root + label("dave") + ".p7c", "example.com", ""},
		{root + "dave.crt", "example.com", ""},
		{root + "erin.crt", "example.com", ""},
		{root + "frank.crt", "example.com", ""},
		{root + "Alice.crt", "example.com", ""},
		{root + "alice.crt/", "example.com", ""},
		{root + "/alice.crt", "example.com", ""},
		{root + "./alice.crt", "example.com", ""},
		{root + "x/../alice.crt", "example.com", ""},
		{root + "%2e%2e/smime/alice.crt", "example.com", ""},
		{root + "..%2f..%2falice.crt", "example.com", ""},
		{root + "%252e%252e%252falice.crt", "example.com", ""},
		{root + "team%2fbob%20smith.crt", "example.com", ""},
		{root + "team%5cbob%20smith.crt", "example.com", ""},
		{root + "team//bob%20smith.crt", "example.com", ""},
		{root + "alice.crt%00", "example.com", ""},
		{root + "alice.crt%00.pem", "example.com", ""},
		{root + "%c0%ae%c0%ae%c0%afalice.crt", "example.com", ""},
		{root + strings.Repeat("a/", 3000) + "alice.crt", "example.com", ""},
		{root + ".alice.crt", "example.com", ""},
		{root, "example.com", ""},
		{"/.well-known/smime", "example.com", ""},
		{"/.WELL-KNOWN/smime/alice.crt", "example.com", ""},
		{"/.well-known%2fsmime/alice.crt", "example.com", ""},
		{"/.well-known/%73mime/alice.crt", "example.com", ""},
		{"//.well-known/smime/alice.crt", "example.com", ""},
		{"/", "example.com", ""},
		{"/alice.crt", "example.com", ""},
		{root + "policy/", "example.com", ""},
		{root + "policy", "example.org", ""},
	} {
		response := serve(h, "GET", test.target, test.host)
		code, want := 200, test.want
		if want == "" {
			code, want = 404, "not found\n"
		}
		if body := text(response); response.StatusCode != code || body != want {
			t.Errorf("GET %s at %s: %d, %d octets; want %d, %d octets", test.target, test.host, response.StatusCode, len(body), code, len(want))
		}
		head := serve(h, "HEAD", test.target, test.host)
		if body := text(head); body != "" || head.StatusCode != code || !reflect.DeepEqual(head.Header, response.Header) {
			t.Errorf("HEAD %s at %s: %d %v, body %q; GET had %v", test.target, test.host, head.StatusCode, head.Header, body, response.Header)
		}
	}
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

func TestNegotiate(t *testing.T) {
	for _, test := range []struct {
		accept []string
		want   string
	}{
		{nil, typeDER},
		{[]string{""}, typeDER},
		{[]string{"*/*"}, typeDER},
		{[]string{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, typeDER},
		{[]string{"application/x-pem-file"}, typePEM},
		{[]string{"APPLICATION/X-PEM-FILE"}, typePEM},
		{[]string{"application/pem-certificate-chain"}, typeChain},
		{[]string{"application/x-pem-file, */*;q=0.5"}, typePEM},
		{[]string{"application/x-pem-file, */*"}, typePEM},
		{[]string{"application/x-pem-file;q=0.2, */*"}, typeDER},
		{[]string{"application/x-pem-file, application/pkix-cert"}, typeDER},
		{[]string{"application/x-pem-file, application/pkix-cert;q=0.9"}, typePEM},
		{[]string{"application/x-pem-file;q=0"}, typeDER},
		{[]string{"application/x-pem-file; q=bad"}, typeDER},
		{[]string{"application/x-pem-file; a=b; Q=1"}, typePEM},
		{[]string{"text/html", "application/x-pem-file"}, typePEM},
		{[]string{"application/pem-certificate-chain;q=0.9, application/x-pem-file;q=0.8"}, typeChain},
	} {
		if got := negotiate(test.accept); got != test.want {
			t.Errorf("Accept %q: %s, want %s", test.accept, got, test.want)
		}
	}
}

func TestCertsOnly(t *testing.T) {
	var ders [][]byte
	for range 3 {
		der, _ := mailCertificate(t, "alice@example.com").DER()
		ders = append(ders, der)
	}
	p7, err := pkcs7.CertsOnly(ders)
	if err != nil {
		t.Fatal(err)
	}
	turned, err := pkcs7.CertsOnly([][]byte{ders[2], ders[0], ders[1]})
	if err != nil || !bytes.Equal(p7, turned) {
		t.Errorf("the order given changes the bytes (%v)", err)
	}
	rest := []byte(tool(t, p7, "openssl", "pkcs7", "-inform", "DER", "-print_certs"))
	found := map[string]bool{}
	for block, rest := pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
		found[string(block.Bytes)] = true
	}
	for i, der := range ders {
		if !found[string(der)] {
			t.Errorf("openssl does not find certificate %d", i)
		}
	}
	tool(t, p7, "openssl", "cms", "-cmsout", "-inform", "DER", "-print", "-noout")
	if sources([]Certificate{published(ders[0]), published(ders[1])}) != sources([]Certificate{published(ders[1]), published(ders[0])}) {
		t.Error("the order given makes another bundle")
	}
	if _, err := x509.ParseCertificate(ders[0]); err != nil {
		t.Error(err)
	}
}

// One file of an address that cannot be read takes nothing from the others.
func TestOneOfSeveralTorn(t *testing.T) {
	good, torn := mailCertificate(t, "alice@example.com"), mailCertificate(t, "alice@example.com")
	torn.DER = func() ([]byte, error) { return nil, errors.New("torn") }
	files := &directory{labels: map[string][]Certificate{"example.com/" + label("alice"): {torn, good}}}
	log := newRecorder()
	h := testHost(Config{Address: ":0", Domains: []string{"example.com"}, Log: log, Metrics: log}, files)
	der, _ := good.DER()
	response := serve(h, "GET", Root+label("alice")+".crt", "example.com")
	if body := text(response); response.StatusCode != 200 || body != string(der) || response.Header.Get("Etag") != entityTag(good.Digest, typeDER) {
		t.Errorf("HASH.crt: %d %v, %d octets", response.StatusCode, response.Header, len(body))
	}
	response = serve(h, "GET", Root+label("alice")+".p7c", "example.com")
	p7, _ := pkcs7.CertsOnly([][]byte{der})
	if body := text(response); response.StatusCode != 200 || body != string(p7) || response.Header.Get("Etag") != entityTag(digestOf([][]byte{der}), typeP7C) {
		t.Errorf("HASH.p7c: %d %v, %d octets", response.StatusCode, response.Header, len(body))
	}
	if len(log.lines) != 1 {
		t.Errorf("log: %q", log.lines)
	}
	files.labels["example.com/"+label("alice")] = []Certificate{torn}
	for _, extension := range []string{".crt", ".p7c"} {
		if response := serve(h, "GET", Root+label("alice")+extension, "example.com"); response.StatusCode != 404 {
			t.Errorf("with no other, HASH%s: %d", extension, response.StatusCode)
		}
	}
}

// A proxy that sends its own name for the listener in place of the one that it
// was asked for is understood where one mail domain only can be meant, and told.
func TestProxyHost(t *testing.T) {
	files, alice := one(t, "example.com", "alice.crt", "alice")
	der, _ := alice.DER()
	for _, test := range []struct {
		what   string
		config Config
		served bool
		said   string
	}{
		{"one domain", Config{Domains: []string{"example.com"}}, true, "taken for example.com"},
		{"two domains", Config{Domains: []string{"example.com", "example.org"}}, false, "several mail domains"},
		{"with TLS", Config{Domains: []string{"example.com"}, TLS: &TLS{Config: new(tls.Config)}}, false, ""},
	} {
		log := newRecorder()
		test.config.Address, test.config.Log, test.config.Metrics = ":0", log, log
		h := testHost(test.config, files)
		for _, host := range []string{"127.0.0.1:8080", "[::1]:8080", "localhost", "backend_smime", ""} {
			for _, path := range []string{"alice.crt", label("alice") + ".crt"} {
				response := serve(h, "GET", Root+path, host)
				if body := text(response); (response.StatusCode == 200 && body == string(der)) != test.served {
					t.Errorf("%s, Host %q: %d for %s", test.what, host, response.StatusCode, path)
				}
			}
		}
		if test.said == "" && len(log.lines) > 0 || test.said != "" && (len(log.lines) != 1 || !strings.Contains(log.lines[0], test.said) || !strings.Contains(log.lines[0], "proxy_set_header Host")) {
			t.Errorf("%s: the log has %q", test.what, log.lines)
		}
	}
}

// An address with very many certificates costs the making of its bundle once.
func TestLargeBundle(t *testing.T) {
	reads := 0
	var all []Certificate
	for range 1390 {
		der := make([]byte, 500)
		rand.Read(der)
		c := published(der)
		c.DER = func() ([]byte, error) { reads++; return der, nil }
		all = append(all, c)
	}
	h := testHost(Config{Address: ":0", Domains: []string{"example.com"}}, &directory{labels: map[string][]Certificate{"example.com/" + label("alice"): all}})
	for range 3 {
		if response := serve(h, "GET", Root+label("alice")+".p7c", "example.com"); response.StatusCode != 200 || response.ContentLength < 1390*500 {
			t.Fatalf("%d, %d octets", response.StatusCode, response.ContentLength)
		}
	}
	if reads != len(all) {
		t.Errorf("%d files were read", reads)
	}
}

// Issuers go out with the chain forms only: the leaf first, then those, each once in
// a bundle; and the entity tag changes when they do.
func TestChain(t *testing.T) {
	alice, old := mailCertificate(t, "alice@example.com"), mailCertificate(t, "alice@example.com")
	upper, lower, renewed := mailCertificate(t, "upper"), mailCertificate(t, "lower"), mailCertificate(t, "lower")
	der := func(c Certificate) []byte { b, _ := c.DER(); return b }
	issuers, read := [][]byte{der(lower), der(upper)}, 0
	chain := func(leaf []byte) [][]byte { read++; return issuers }
	alice.Chain, old.Chain = chain, chain
	files := &directory{files: map[string]Certificate{}, labels: map[string][]Certificate{}}
	publish := func(version uint64) {
		alice.Version, old.Version = version, version
		files.files["example.com/alice.crt"] = alice
		files.labels["example.com/"+label("alice")] = []Certificate{alice, old}
	}
	h := testHost(Config{Address: ":0", Domains: []string{"example.com"}}, files)
	inPEM := func(certs ...[]byte) (text string) {
		for _, c := range certs {
			text += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c}))
		}
		return text
	}
	bundle := func(certs ...[]byte) string { b, _ := pkcs7.CertsOnly(certs); return string(b) }
	tags := map[string]string{}
	for version := range uint64(3) { // of the first nothing can be kept
		publish(version)
		for _, test := range []struct{ path, accept, want string }{
			{"alice.crt", typeChain, inPEM(append([][]byte{der(alice)}, issuers...)...)},
			{label("alice") + ".crt", typeChain, inPEM(append([][]byte{der(alice)}, issuers...)...)},
			{"alice.crt", typePEM, inPEM(der(alice))},
			{"alice.crt", "", string(der(alice))},
			{label("alice") + ".p7c", "", bundle(append([][]byte{der(alice), der(old)}, issuers...)...)},
		} {
			r := serve(h, "GET", Root+test.path, "example.com", "Accept", test.accept)
			if body := text(r); r.StatusCode != 200 || body != test.want {
				t.Errorf("version %d, %s as %q: %d, %d octets, want %d", version, test.path, test.accept, r.StatusCode, len(body), len(test.want))
			}
			tag := r.Header.Get("Etag")
			if r := serve(h, "GET", Root+test.path, "example.com", "Accept", test.accept, "If-None-Match", tag); r.StatusCode != 304 {
				t.Errorf("version %d, %s as %q with its entity tag: %d", version, test.path, test.accept, r.StatusCode)
			}
			last, had := tags[test.path+test.accept]
			withIssuers := test.accept == typeChain || strings.HasSuffix(test.path, ".p7c")
			if had && version != 1 && (last != tag) != withIssuers {
				t.Errorf("version %d, %s as %q: entity tag %s after %s", version, test.path, test.accept, tag, last)
			}
			if version == 1 && last != tag {
				t.Errorf("%s as %q: entity tag %s of the same octets, after %s", test.path, test.accept, tag, last)
			}
			tags[test.path+test.accept] = tag
		}
		if version == 1 {
			before := read
			serve(h, "GET", Root+"alice.crt", "example.com", "Accept", typeChain)
			if read != before {
				t.Error("the issuers are read again, where nothing has changed")
			}
			issuers = [][]byte{der(renewed), der(upper)}
		}
	}
}
