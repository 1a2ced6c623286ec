package certhost

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"coredns-smimea/internal/pkcs7"
)

// FuzzPath sends whatever request line a client may send. A 200 may only ever
// hold what is published, under a path whose one decoding is its name, and
// Files may only be asked for clean paths.
func FuzzPath(f *testing.F) {
	for _, path := range []string{
		"alice.crt", "team/bob.crt", "%61lice.crt", "../alice.crt", "%2e%2e/alice.crt", "..%2falice.crt", "team%2fbob.crt",
		"team%5cbob.crt", "team\\bob.crt", "alice.crt%00", "%252e%252e%252falice.crt", "//alice.crt", "./alice.crt", "alice.crt/.",
		"%c0%ae%c0%ae/alice.crt", "ALICE.CRT", "policy", "key.pem", ".key.pem", label("alice") + ".crt", label("alice") + ".p7c",
		label("alice") + ".crt?domain=example.com", "?", "#", "alice.crt;x", "%", "%zz", strings.Repeat("a/", 2100),
	} {
		f.Add("/.well-known/smime/"+path, "example.com")
	}
	f.Add("http://example.com/.well-known/smime/alice.crt", "example.org")
	f.Add("HTTPS://EXAMPLE.com:443/.well-known/smime/alice.crt?a", "")
	f.Add("*", "example.com")
	f.Add("/.well-known/smime/../smime/alice.crt", "EXAMPLE.COM.:443")
	f.Add("//example.com/.well-known/smime/alice.crt", "example.com")
	files, alice := one(f, "example.com", "alice.crt", "alice")
	bob := mailCertificate(f, "bob@example.com")
	files.files["example.com/team/bob.crt"] = bob
	h := testHost(Config{Address: ":0", Domains: []string{"example.com"}, TLS: &TLS{Config: new(tls.Config)}}, guard{f, files})
	bodies := map[string][]string{string(policyBody.data): {"policy"}}
	for c, names := range map[*Certificate][]string{&alice: {"alice.crt", label("alice") + ".crt"}, &bob: {"team/bob.crt"}} {
		der, _ := c.DER()
		bodies[string(der)] = names
	}
	aliceDER, _ := alice.DER()
	p7c, err := pkcs7.CertsOnly([][]byte{aliceDER})
	if err != nil {
		f.Fatal(err)
	}
	bodies[string(p7c)] = []string{label("alice") + ".p7c"}
	f.Fuzz(func(t *testing.T, target, host string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n")))
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		switch w.Code {
		case http.StatusOK:
			names, known := bodies[w.Body.String()]
			if !known {
				t.Fatalf("%q at %q: a body that is not published", target, host)
			}
			path := r.RequestURI
			if _, rest, absolute := strings.Cut(path, "://"); absolute && path[0] != '/' { // RFC 9112 section 3.2.2
				_, path, _ = strings.Cut(rest, "/")
				path = "/" + path
			}
			path, _, _ = strings.Cut(path, "?")
			path, ok := strings.CutPrefix(path, Root)
			if !ok {
				t.Fatalf("%q at %q is served, outside %s", target, host, Root)
			}
			decoded, err := url.PathUnescape(path)
			named := false
			for _, name := range names {
				named = named || decoded == name
			}
			if err != nil || !named || strings.Count(decoded, "/") != strings.Count(path, "/") {
				t.Fatalf("%q at %q is served as one of %q", target, host, names)
			}
			if name, ok := hostName(r.Host); !ok || name != "example.com" {
				t.Fatalf("%q at %q is served", target, host)
			}
		case http.StatusNotFound:
			if !bytes.Equal(w.Body.Bytes(), missBody.data) || len(w.Header()) != 5 {
				t.Fatalf("%q at %q: another 404: %v %q", target, host, w.Header(), w.Body)
			}
		default:
			t.Fatalf("%q at %q: %d", target, host, w.Code)
		}
	})
}

// FuzzHeaders sends any header that is looked at. Whatever they are, the answer
// is one of four, and its tag names its bytes.
func FuzzHeaders(f *testing.F) {
	files, alice := one(f, "example.com", "alice.crt", "alice")
	h := testHost(Config{Address: ":0", Domains: []string{"example.com"}}, files)
	der, _ := alice.DER()
	armored := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	tag := fmt.Sprintf("%x", alice.Digest)
	bodies := map[string][]byte{`"` + tag + `"`: der, `"` + tag + `-pem"`: armored, `"` + tag + `-chain"`: armored}
	f.Add("application/x-pem-file;q=0.5, */*", `"`+tag+`-pem"`, "", "Fri, 02 Jan 2026 03:04:05 GMT")
	f.Add("*/*;q=,;,,", `W/"x", *`, `"x"`, "Fri, 02 Jan 2026 03:04:05 GMT")
	f.Fuzz(func(t *testing.T, accept, noneMatch, match, since string) {
		r := httptest.NewRequest("GET", Root+"alice.crt", nil)
		r.Host = "example.com"
		for name, value := range map[string]string{"Accept": accept, "If-None-Match": noneMatch, "If-Match": match, "If-Modified-Since": since, "If-Unmodified-Since": since} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		body, known := bodies[w.Header().Get("Etag")]
		switch w.Code {
		case http.StatusOK:
			if !bytes.Equal(w.Body.Bytes(), body) {
				t.Fatalf("%v: the tag does not name the body", w.Header())
			}
		case http.StatusNotModified, http.StatusPreconditionFailed:
			if !known || w.Body.Len() > 0 {
				t.Fatalf("%d %v", w.Code, w.Header())
			}
		default:
			t.Fatal(w.Code)
		}
	})
}

// guard is a Files that insists on what CleanPath promises.
type guard struct {
	t testing.TB
	Files
}

func (g guard) File(domain, path string) (Certificate, error) {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment[0] == '.' || strings.ContainsAny(segment, "\\\x00\n\r\x7f") {
			g.t.Errorf("Files was asked for %q", path)
		}
	}
	if domain != "example.com" {
		g.t.Errorf("Files was asked for the domain %q", domain)
	}
	return g.Files.File(domain, path)
}

func TestCleanPath(t *testing.T) {
	for _, test := range []struct{ raw, want string }{
		{"a.crt", "a.crt"}, {"a/b.crt", "a/b.crt"}, {"a%20b.crt", "a b.crt"}, {"a%2Bb+c.crt", "a+b+c.crt"}, {"%E2%82%AC.crt", "€.crt"},
		{"%FF.crt", "\xff.crt"}, {"a%25b", "a%b"}, {"a..b", "a..b"}, {"a.", "a."},
		{"", ""}, {"/", ""}, {"/a", ""}, {"a/", ""}, {"a//b", ""}, {".", ""}, {"..", ""}, {".a", ""}, {"a/.b", ""}, {"a/..", ""},
		{"%2e", ""}, {"%2E%2e/a", ""}, {"a%2fb", ""}, {"a%2Fb", ""}, {"a%5cb", ""}, {`a\b`, ""}, {"a%00", ""}, {"a%0ab", ""}, {"a%7f", ""},
		{"%", ""}, {"%2", ""}, {"%zz", ""}, {strings.Repeat("a", maxPath+1), ""},
	} {
		got, ok := CleanPath(test.raw)
		if ok != (test.want != "") || ok && got != test.want {
			t.Errorf("%q: %q, %v; want %q", test.raw, got, ok, test.want)
		}
	}
}

func TestHostName(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"example.com", "example.com"}, {"Example.COM", "example.com"}, {"example.com.", "example.com"}, {"example.com:443", "example.com"},
		{"example.com.:443", "example.com"}, {"example.com:", "example.com"}, {"MÜNCHEN.example", "xn--mnchen-3ya.example"}, {"a_b.example", "a_b.example"},
		{"127.0.0.1:80", "127.0.0.1"},
		{"", ""}, {".", ""}, {":443", ""}, {"example.com:x", ""}, {"a..b", ""}, {".a", ""}, {"a..", ""}, {"a b", ""}, {"[::1]:1", ""}, {"::1", ""},
		{"a\x00b", ""}, {"*.a", ""}, {"a/b", ""}, {"\xff.example", ""}, {strings.Repeat("a.", 127) + "aa", ""},
	} {
		got, ok := hostName(test.in)
		if ok != (test.want != "") || got != test.want {
			t.Errorf("%q: %q, %v; want %q", test.in, got, ok, test.want)
		}
	}
}
