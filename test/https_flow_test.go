package test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestArticle goes the way that the README describes, with the standard tools: the
// TXT record says where the certificate is, curl fetches it, openssl computes what
// the SMIMEA record has to be, and dig finds just that.
func TestArticle(t *testing.T) {
	dir := t.TempDir()
	pubs := users(t, dir, "example.com")
	w, options := newWeb(t, "example.com")
	k := newKeys(t, "example.com.", signing{dns.ECDSAP256SHA256, false})
	s := startProcess(t, "", block("_smimecert.example.com _smime.example.com", k.directive, smimea(dir, options)))
	dig := func(name, rtype string) []string {
		t.Helper()
		return strings.Split(strings.TrimSpace(command(t, "dig", "@127.0.0.1", "-p", portOf(s.addr), "+short", "+nosplit", name, rtype)), "\n")
	}
	out := filepath.Join(t.TempDir(), "got")
	for _, p := range pubs {
		if p.text == nil {
			continue
		}
		found := false
		for _, text := range dig(textOwner(p.text, "example.com"), "TXT") {
			url := strings.Trim(text, `"`)
			if url != fileURL("example.com", p.file) {
				continue // dave has two
			}
			found = true
			if said := w.curl(t, "-o", out, "-w", "%{http_code} %{content_type}", url); said != "200 application/pkix-cert" {
				t.Errorf("%s: %s", url, said)
				continue
			}
			want := strings.ToLower(strings.TrimSpace(command(t, "sh", "-c",
				"openssl x509 -inform der -in "+out+" -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -r | cut -d' ' -f1")))
			same := false
			for _, record := range dig(hashOwner(p.local, "example.com"), "SMIMEA") {
				same = same || strings.ToLower(record) == "3 1 1 "+want
			}
			if !same {
				t.Errorf("%s: the record is not %s", p.local, want)
			}
		}
		if !found {
			t.Errorf("%s: no TXT record leads to %s", p.local, p.file)
		}
	}
}

// TestForms fetches each form in which a certificate is given out.
func TestForms(t *testing.T) {
	dir := t.TempDir()
	pubs := users(t, dir, "example.com")
	w, options := newWeb(t, "example.com")
	startServer(t, block("example.com", smimea(dir, options)))
	der := func(file string) string { return string(derOf(t, filepath.Join(dir, file))) }
	openssl := func(data string, args ...string) string {
		t.Helper()
		file := filepath.Join(t.TempDir(), "data")
		writeFile(t, file, data)
		return command(t, "openssl", append(args, "-in", file)...)
	}
	for _, p := range pubs {
		url := fileURL("example.com", p.file)
		if got := w.curl(t, url); got != der(p.file) {
			t.Errorf("%s: other octets", url)
		}
	}
	// The direct way, which needs no TXT record: the one to encrypt to, the longest.
	for local, file := range map[string]string{
		"alice": "alice.crt", "carol.m.smith": "two addresses.pem", "Bob.Jones": "sales/Bob.Jones.pem", "bob.jones": "sales/Bob.Jones.pem",
		"erin": "erin-signs-only.PEM", "jörg": "jörg.pem", "grace": "grace.der",
	} {
		if got := w.curl(t, hashURL("example.com", local, ".crt")); got != der(file) {
			t.Errorf("%s: HASH.crt is not %s", local, file)
		}
	}
	for _, accept := range []string{"application/x-pem-file", "application/pem-certificate-chain"} {
		armored := w.curl(t, "-H", "Accept: "+accept, fileURL("example.com", "grace.der"))
		if got := openssl(armored, "x509", "-outform", "der"); got != der("grace.der") {
			t.Errorf("Accept %s: another certificate", accept)
		}
	}
	// All of an address.
	bundle := w.curl(t, "-w", "%{stderr}%{content_type}", hashURL("example.com", "dave", ".p7c"))
	listed := openssl(bundle, "pkcs7", "-inform", "der", "-print_certs")
	if n := strings.Count(listed, "BEGIN CERTIFICATE"); n != 2 {
		t.Errorf("%d certificates of dave, want 2:\n%s", n, listed)
	}
	for _, file := range []string{"dave-2026.cer", "dave-2025.cer"} {
		if text := openssl(der(file), "x509", "-inform", "der"); !strings.Contains(listed, strings.TrimSpace(text)) {
			t.Errorf("HASH.p7c is without %s", file)
		}
	}
	if said := w.curl(t, "https://example.com"+wellKnown+"policy"); !strings.Contains(said, "version: 1") || !strings.Contains(said, "HASH.crt") {
		t.Errorf("policy: %s", said)
	}
	// What goes with it.
	head := strings.ToLower(w.curl(t, "-I", fileURL("example.com", "alice.crt")))
	tag := fmt.Sprintf(`"%x"`, sha256.Sum256([]byte(der("alice.crt"))))
	for _, want := range []string{"http/2 200", "etag: " + tag, "cache-control: public, max-age=3600", "access-control-allow-origin: *", "x-content-type-options: nosniff", "last-modified: "} {
		if !strings.Contains(head, want) {
			t.Errorf("no %q in\n%s", want, head)
		}
	}
	if code := w.status(t, fileURL("example.com", "alice.crt"), "-H", "If-None-Match: "+tag); code != "304" {
		t.Errorf("If-None-Match: %s", code)
	}
	if code := w.status(t, fileURL("example.com", "alice.crt"), "-X", "DELETE"); code != "405" {
		t.Errorf("DELETE: %s", code)
	}
}

// TestEncryptTo holds which of an address's certificates HASH.crt is, and how long it
// may be kept.
func TestEncryptTo(t *testing.T) {
	dir := t.TempDir()
	at := []string{"alice@example.com"}
	year := time.Now().AddDate(1, 0, 0)
	write := func(file string, c cert) {
		c.addresses = at
		c.write(t, filepath.Join(dir, file))
	}
	w, options := newWeb(t, "example.com")
	write("signs.pem", cert{usage: 1 /* digitalSignature */, notAfter: year.AddDate(5, 0, 0)})
	s := startServer(t, block("example.com", smimea(dir, options+"\nreload 100ms")))
	c := w.client(t)
	is := func(file string) {
		t.Helper()
		want := string(derOf(t, filepath.Join(dir, file)))
		waitFor(t, file+" to be what one encrypts to", func() bool {
			response, body := fetch(t, c, hashURL("example.com", "alice", ".crt"))
			return response.StatusCode == 200 && string(body) == want
		})
	}
	is("signs.pem") // better than none: a signature can be verified
	write("short.pem", cert{notAfter: time.Now().Add(2 * time.Hour)})
	is("short.pem")
	response, _ := fetch(t, c, hashURL("example.com", "alice", ".crt"))
	if got := response.Header.Get("Cache-Control"); got != "public, max-age=3600" {
		t.Errorf("Cache-Control: %s", got)
	}
	write("long.pem", cert{notAfter: year})
	is("long.pem")
	m, _ := ask(t, s.addr, question{name: "alice._smime.example.com.", qtype: dns.TypeTXT})
	if len(m.Answer) != 2 {
		t.Errorf("want the URLs of the two to encrypt to:\n%s", m)
	}
	if err := os.Remove(filepath.Join(dir, "long.pem")); err != nil {
		t.Fatal(err)
	}
	is("short.pem")
}

// TestHTTPSWithState restarts with what an earlier server, without a host, has kept.
func TestHTTPSWithState(t *testing.T) {
	dir := t.TempDir()
	users(t, dir, "example.com")
	state := "\nstate " + filepath.Join(t.TempDir(), "state")
	t.Run("first", func(t *testing.T) { startServer(t, block("example.com", smimea(dir, state))) })
	for _, name := range []string{"second", "third"} {
		t.Run(name, func(t *testing.T) {
			w, options := newWeb(t, "example.com")
			startServer(t, block("example.com", smimea(dir, options+state)))
			for _, url := range []string{fileURL("example.com", "grace.der"), hashURL("example.com", "grace", ".crt")} {
				if got := w.curl(t, url); got != string(derOf(t, filepath.Join(dir, "grace.der"))) {
					t.Errorf("%s: another certificate", url)
				}
			}
			for _, local := range unpublished {
				if code := w.status(t, hashURL("example.com", local, ".crt")); code != "404" {
					t.Errorf("%s: %s", local, code)
				}
			}
		})
	}
}
