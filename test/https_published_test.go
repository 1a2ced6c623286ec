package test

import (
	"crypto/sha256"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/internal/harness"
)

// TestHostDecides serves two mail domains from one directory: under each are its own
// certificates, and the names of the other's are not found.
func TestHostDecides(t *testing.T) {
	dir := t.TempDir()
	cert{addresses: []string{"a@one.test"}}.write(t, filepath.Join(dir, "one.pem"))
	cert{addresses: []string{"a@TWO.test"}}.write(t, filepath.Join(dir, "two.pem"))
	cert{addresses: []string{"b@one.test", "b@two.test"}}.write(t, filepath.Join(dir, "both.pem"))
	cert{addresses: []string{"c@three.test"}}.write(t, filepath.Join(dir, "three.pem"))
	w, options := newWeb(t, "one.test", "two.test", "three.test")
	startServer(t, block("one.test _smimecert.two.test _smime.two.test", smimea(dir, options)))
	for _, c := range []struct {
		url  string
		file string // "" is a 404
	}{
		{fileURL("one.test", "one.pem"), "one.pem"},
		{fileURL("two.test", "one.pem"), ""},
		{fileURL("two.test", "two.pem"), "two.pem"},
		{fileURL("TWO.test", "two.pem"), "two.pem"},
		{fileURL("one.test", "two.pem"), ""},
		{fileURL("one.test", "both.pem"), "both.pem"},
		{fileURL("two.test", "both.pem"), "both.pem"},
		{fileURL("three.test", "three.pem"), ""},
		{fileURL("one.test", "three.pem"), ""},
		{hashURL("one.test", "a", ".crt"), "one.pem"},
		{hashURL("two.test", "a", ".crt"), "two.pem"},
		{hashURL("two.test", "a", ".crt") + "?domain=one.test", "one.pem"},
		{hashURL("one.test", "a", ".crt") + "?domain=three.test", ""},
		{hashURL("one.test", "c", ".crt"), ""},
		{hashURL("one.test", "c", ".p7c"), ""},
	} {
		switch code := w.status(t, c.url); {
		case c.file == "" && code != "404":
			t.Errorf("%s: %s, want 404", c.url, code)
		case c.file != "" && w.curl(t, c.url) != string(derOf(t, filepath.Join(dir, c.file))):
			t.Errorf("%s: %s, not %s", c.url, code, c.file)
		}
	}
	// The name in the handshake decides nothing but the TLS certificate.
	if code := w.status(t, fileURL("one.test", "two.pem"), "-H", "Host: two.test"); code != "200" {
		t.Errorf("Host two.test in a connection to one.test: %s", code)
	}
}

// TestURLHost has a template name one host for all mail domains: there the names of
// files are found, whosever they are, and a hash where the URL says whose it is.
func TestURLHost(t *testing.T) {
	dir := t.TempDir()
	cert{addresses: []string{"a@one.test"}}.write(t, filepath.Join(dir, "one.pem"))
	cert{addresses: []string{"a@two.test"}}.write(t, filepath.Join(dir, "two.pem"))
	for _, template := range []string{
		"https://certs.example.net/.well-known/smime/{file}",
		"https://certs.example.net/.well-known/smime/{hash}.crt?domain={domain}",
		"https://certs.{domain}/.well-known/smime/{hash}.crt?domain={domain}",
	} {
		w, options := newWeb(t, "certs.example.net", "certs.one.test", "certs.two.test", "one.test")
		s := startServer(t, block("one.test two.test", smimea(dir, options+"\nurl "+template)))
		for domain, file := range map[string]string{"one.test": "one.pem", "two.test": "two.pem"} {
			m, _ := ask(t, s.addr, question{name: "a._smime." + domain + ".", qtype: dns.TypeTXT})
			if len(m.Answer) != 1 {
				t.Errorf("%s:\n%s", template, m)
				continue
			}
			if u := m.Answer[0].(*dns.TXT).Txt[0]; w.curl(t, u) != string(derOf(t, filepath.Join(dir, file))) {
				t.Errorf("%s is not %s", u, file)
			}
		}
		if code := w.status(t, hashURL("certs.example.net", "a", ".crt")); code != "404" {
			t.Errorf("%s: a hash of no domain: %s", template, code)
		}
		if code := w.status(t, hashURL("one.test", "a", ".crt")); code != "200" {
			t.Errorf("%s: under the mail domain: %s", template, code)
		}
	}
}

// TestNeverServed asks for everything in the directory, and outside it, that is not a
// published certificate.
func TestNeverServed(t *testing.T) {
	above := t.TempDir()
	dir := filepath.Join(above, "certs")
	users(t, dir, "example.com")
	cert{addresses: []string{"outside@example.com"}}.write(t, filepath.Join(above, "outside.pem"))
	_, key := cert{addresses: []string{"alice@example.com"}}.make(t)
	writePEM(t, filepath.Join(dir, "alice.key"), "PRIVATE KEY", key)
	writePEM(t, filepath.Join(dir, "alice-key.pem"), "PRIVATE KEY", key)
	for link, to := range map[string]string{
		"link.pem": "../outside.pem", "absolute.pem": filepath.Join(above, "outside.pem"), "up": "..", "passwd.pem": "/etc/passwd", "self.pem": "self.pem",
	} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	w, options := newWeb(t, "example.com")
	s := startServer(t, block("example.com", smimea(dir, options)))
	root := "https://example.com" + wellKnown
	paths := []string{
		"", ".", "..", "/", "//", "alice.crt/", "/alice.crt", "./alice.crt", "x/../alice.crt", "%2e/alice.crt", "x/%2e%2e/alice.crt",
		"../smime/alice.crt", "..%2fsmime%2falice.crt", "%2e%2e%2fsmime/alice.crt", "sales/../alice.crt", "sales%2fBob.Jones.pem", "sales%5cBob.Jones.pem", `sales\Bob.Jones.pem`,
		"sales", "sales/", "sales//Bob.Jones.pem", "alice.crt%00", "alice.crt%00.pem", "%00", "alice.crt%0a", "alice.crt%20", "alice.crt.", "alice.crt;x", "ALICE.CRT", "Alice.crt", "alice.CRT",
		"%61lice.crt%", "%6", "%zz", "alice%252ecrt", "%c0%ae%c0%ae/alice.crt", "%c0%af", strings.Repeat("a/", 4000) + "x.pem", strings.Repeat("x", 5000), "sales/../../../../../../etc/passwd", "etc/passwd",
		"alice.key", "alice-key.pem", "secret.pem", "expired.pem", "ends-within-ttl.pem", "authority.pem", "server.pem", "no-address.pem", ".hidden.pem", ".git/hidden.pem", "text.txt", "rubbish.pem",
		"link.pem", "absolute.pem", "up/outside.pem", "up/certs/alice.crt", "passwd.pem", "self.pem", "outside.pem",
		hashOwner("alice", "")[:56], strings.ToUpper(hashOwner("alice", "")[:56]) + ".crt", hashOwner("alice", "")[:56] + ".pem", hashOwner("alice", "")[:55] + ".crt", hashOwner("", "")[:56] + ".crt",
		hashOwner("alice", "")[:56] + ".crt?domain=", hashOwner("alice", "")[:56] + ".crt?domain=example.org", hashOwner("alice", "")[:56] + ".crt?domain=example.com&domain=example.org",
	}
	for _, local := range append([]string{"outside", "expired", "authority", "server"}, unpublished...) {
		paths = append(paths, hashOwner(local, "")[:56]+".crt", hashOwner(local, "")[:56]+".p7c")
	}
	for _, path := range paths {
		if code := w.status(t, root+path, "--http1.1"); code != "404" && code != "400" {
			t.Errorf("%.80q: %s", path, code)
		}
	}
	for _, url := range []string{
		"https://example.com/", "https://example.com/.well-known/smime", "https://example.com/.WELL-KNOWN/smime/alice.crt", "https://example.com/.well-known%2fsmime/alice.crt",
		"https://example.com//.well-known/smime/alice.crt", "https://example.org/.well-known/smime/alice.crt", "https://127.0.0.1/.well-known/smime/alice.crt", "https://www.example.com/.well-known/smime/alice.crt",
	} {
		if code := w.status(t, url, "-k"); code != "404" {
			t.Errorf("%s: %s", url, code)
		}
	}
	// It is not that nothing is found.
	if code := w.status(t, root+"%61lice.crt"); code != "200" {
		t.Errorf("a letter percent-encoded: %s", code)
	}
	m, _ := ask(t, s.addr, question{name: hashOwner("outside", "example.com."), qtype: dns.TypeSMIMEA})
	if m.Rcode != dns.RcodeNameError {
		t.Errorf("what a link leads out to is in the DNS:\n%s", m)
	}
}

// TestOddFileNames holds that what the TXT record says is what can be fetched,
// whatever a file is called; and where no URL can be fetched there is none.
func TestOddFileNames(t *testing.T) {
	dir := t.TempDir()
	names := []string{
		"a b.pem", " lead.pem", "100%.pem", "%41.pem", "a+b.pem", "a&b=c.pem", "q?x.pem", "f#x.pem", "ä€😀.pem", "a;b,c.pem", "(x)[y]{z}.pem", "'\"<>.pem",
		"\xff\xfe.pem", "a:b@c.pem", "~x!$*.pem", "policy/policy.pem", "..x.d.pem/..x", "x..pem", "sub dir/ä/%2f.pem", strings.Repeat("ü", 120) + ".pem",
		hashOwner("nobody", "")[:56] + ".crt", "tab\t.pem", "new\nline.pem", `back\slash.pem`, "del\x7f.pem", "d\n/x.pem",
	}
	unreachable := map[string]bool{"tab\t.pem": true, "new\nline.pem": true, `back\slash.pem`: true, "del\x7f.pem": true, "d\n/x.pem": true}
	skip := map[string]bool{"..x.d.pem/..x": true} // no certificate's name
	for i, name := range names {
		cert{addresses: []string{fmt.Sprintf("u%d@example.com", i)}}.write(t, filepath.Join(dir, name))
	}
	w, options := newWeb(t, "example.com")
	s := startServer(t, block("example.com", smimea(dir, options)))
	c := w.client(t)
	for i, name := range names {
		if skip[name] {
			continue
		}
		local := fmt.Sprintf("u%d", i)
		want := string(derOf(t, filepath.Join(dir, name)))
		if response, body := fetch(t, c, hashURL("example.com", local, ".crt")); response.StatusCode != 200 || string(body) != want {
			t.Errorf("%q by its hash: %d", name, response.StatusCode)
		}
		m, _ := ask(t, s.addr, question{name: local + "._smime.example.com.", qtype: dns.TypeTXT, tcp: true})
		if unreachable[name] {
			if len(m.Answer) != 0 {
				t.Errorf("%q has a URL that is not served: %s", name, m.Answer)
			}
			continue
		}
		if len(m.Answer) != 1 {
			t.Errorf("%q has no URL:\n%s", name, m)
			continue
		}
		text := strings.Join(m.Answer[0].(*dns.TXT).Txt, "")
		if _, err := url.Parse(text); err != nil || text != fileURL("example.com", name) {
			t.Errorf("%q: URL %s (%v)", name, text, err)
		}
		if got := w.curl(t, text); got != want {
			t.Errorf("%q: %s is another certificate or none", name, text)
		}
	}
}

// TestWithdrawn removes and exchanges files while both sides are asked: what the DNS
// does not have any more is not given out, and no certificate under another's name.
func TestWithdrawn(t *testing.T) {
	dir := t.TempDir()
	const rounds = 20
	for i := range rounds {
		cert{addresses: []string{fmt.Sprintf("u%d@example.com", i)}}.write(t, filepath.Join(dir, fmt.Sprintf("%d.pem", i)))
	}
	w, options := newWeb(t, "example.com")
	s := startServer(t, block("example.com", smimea(dir, options+"\nreload 100ms\nmax_withdraw 100")))
	c := w.client(t)
	published := func(local string) string {
		m, _ := ask(t, s.addr, question{name: hashOwner(local, "example.com."), qtype: dns.TypeSMIMEA})
		if len(m.Answer) == 0 {
			return ""
		}
		return m.Answer[0].(*dns.SMIMEA).Certificate
	}
	for i := range rounds {
		local, file := fmt.Sprintf("u%d", i), filepath.Join(dir, fmt.Sprintf("%d.pem", i))
		urls := []string{fileURL("example.com", filepath.Base(file)), hashURL("example.com", local, ".crt"), hashURL("example.com", local, ".p7c")}
		if i%2 == 0 { // sent before, so that it may be in a cache
			for _, url := range urls {
				if response, _ := fetch(t, c, url); response.StatusCode != 200 {
					t.Fatalf("%s: %d", url, response.StatusCode)
				}
			}
		}
		before := published(local)
		old := derOf(t, file)
		other := ""
		if i%4 < 2 {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		} else { // another's certificate under the old name, by renaming
			temporary := filepath.Join(dir, "new.tmp")
			cert{addresses: []string{"mallory@example.com"}}.write(t, temporary)
			other = string(derOf(t, temporary))
			if err := os.Rename(temporary, file); err != nil {
				t.Fatal(err)
			}
		}
		deadline := time.Now().Add(harness.Patience)
		for gone := false; !gone; {
			gone = published(local) == ""
			for n, url := range urls {
				response, body := fetch(t, c, url)
				switch {
				case response.StatusCode == 200 && gone && (n > 0 || other == "" || string(body) != other):
					t.Errorf("%s: 200 after the DNS has withdrawn it", url)
				case response.StatusCode == 200 && !gone && n < 2 && string(body) != string(old) && (n > 0 || string(body) != other):
					t.Errorf("%s: an octet string of nobody's", url)
				case response.StatusCode != 200 && response.StatusCode != 404:
					t.Errorf("%s: %d", url, response.StatusCode)
				}
				if n == 0 && response.StatusCode == 200 && string(body) == other {
					// Given out under the file's name as the new one only: by now it
					// has to be in the DNS under its own address.
					if now := published("mallory"); now == "" {
						t.Errorf("%s is another certificate, which the DNS does not have yet", url)
					}
				}
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s stays published (%s)", local, before)
			}
		}
		if other != "" {
			if sum := fmt.Sprintf("%x", sha256.Sum256([]byte(other))); sum == before {
				t.Fatal("the two are one")
			}
		}
	}
}
