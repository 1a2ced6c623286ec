package plugin

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"coredns-smimea/internal/testcert"
	"coredns-smimea/smimea/zone"
)

// TestOptionParts holds that an option is where its entry says it is: what is read,
// what becomes of it and how it is followed are in the key by which a reload finds
// the publisher to take over, and how questions are answered is not. An option
// that is forgotten in a key would keep the old publisher in silence.
func TestOptionParts(t *testing.T) {
	dir := t.TempDir()
	examples := map[string]string{
		"record": "3 0 1", "url": "https://certs.example.net/{hash}", "ttl": "30m", "negative_ttl": "1m", "case": "exact",
		"ns": "ns1.example.net", "mbox": "a@example.net", "refresh": "2h", "retry": "2m", "expire": "3h",
		"reload": "1h", "watch": "off", "revocation": "ca.crl", "max_withdraw": "10", "state": filepath.Join(dir, "state"), "transfer_signed": "",
		"cds": "off", "transfers": "3", "udp_limit": "512", "tcp_only": "", "lane": "off", "denials_per_second": "1", "catalog": "catalog.example.",
		"https": ":8443", "http": ":8080", "tls": "cert key", "acme": "example.com", "acme_email": "a@example.com", "acme_ca": "https://ca.example/",
		"acme_storage": "dir", "acme_eab": "id file", "acme_challenge": "dns",
	}
	// They need files, and are tested with them.
	elsewhere := []string{"roots", "zones", "key", "chain", "acme_root"}
	for name := range options {
		if _, ok := examples[name]; !ok && !slices.Contains(elsewhere, name) {
			t.Errorf("option %s has no example here", name)
		}
	}
	key := func(c *config) string {
		t.Helper()
		c.setDir(dir)
		for _, name := range []string{"record", "expire", "state"} {
			if err := options[name].check(c); err != nil {
				t.Fatal(err)
			}
		}
		published := c.published
		for _, origin := range []string{"_smimecert.example.com.", "_smime.example.com."} {
			p, err := c.place(origin, zone.Whole)
			if err != nil {
				t.Fatal(err)
			}
			published.Places = append(published.Places, p)
		}
		return published.Key()
	}
	same := key(defaults())
	for name, text := range examples {
		c := defaults()
		if err := options[name].set(c, arguments{strings.Fields(text), func(p string) string { return p }}); err != nil {
			t.Errorf("option %s: %v", name, err)
			continue
		}
		publishes := options[name].part <= followed
		if other := key(c) != same; other != publishes {
			t.Errorf("option %s: another publisher %v, want %v", name, other, publishes)
		}
	}
}

// TestOptionsRefused holds what is no host name, and no mailbox.
func TestOptionsRefused(t *testing.T) {
	for name, bad := range map[string][]string{
		"ns":      {"300.1.1.1", "*", "a b@", "192.0.2.1", "*.example.net", "ns1.example.net 1.2.3", "."},
		"mbox":    {"a@b@c", "@example.com", "a@", "a@*"},
		"catalog": {"*", "a@b", "1.2.3.4"},
	} {
		for _, text := range bad {
			if err := options[name].set(defaults(), arguments{strings.Fields(text), nil}); err == nil {
				t.Errorf("%s %s is taken", name, text)
			}
		}
	}
	for name, text := range map[string]string{"ns": "NS1.example.net 192.0.2.1 2001:db8::1 _x.example.", "mbox": "first.last@example.com", "catalog": "_catalog.example"} {
		if err := options[name].set(defaults(), arguments{strings.Fields(text), nil}); err != nil {
			t.Errorf("%s %s: %v", name, text, err)
		}
	}
}

// TestSecretFiles gives options that read files such that hold secrets: nothing of
// them may be in the error, which goes to the log.
func TestSecretFiles(t *testing.T) {
	const secret = "c2VjcmV0IGtleSBtYXRlcmlhbA=="
	dir := t.TempDir()
	for name, text := range map[string]string{"K.key": secret + "\n", "K.private": "Private-key-format: v1.3\nPrivateKey: " + secret + "\n", "zones": "example.com\nroot:" + secret + ":19000\n", "long": strings.Repeat(secret, 5000)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := func(p string) string { return filepath.Join(dir, p) }
	_, zonesErr := (&zonesFile{path: path("zones")}).read()
	_, longErr := (&zonesFile{path: path("long")}).read()
	for what, err := range map[string]error{
		"key":       options["key"].set(defaults(), arguments{[]string{"file", "K"}, path}),
		"roots":     options["roots"].set(defaults(), arguments{[]string{"K.private"}, path}),
		"chain":     options["chain"].set(defaults(), arguments{[]string{"K.private"}, path}),
		"acme_root": options["acme_root"].set(defaults(), arguments{[]string{"K.private"}, path}),
		"zones":     zonesErr,
		"long":      longErr,
	} {
		if err == nil || strings.Contains(err.Error(), secret[:8]) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v, want an error that names the file, and nothing of it", what, err)
		}
	}
	if zonesErr != nil && !strings.Contains(zonesErr.Error(), "line 2") {
		t.Errorf("zones: %v, want the line", zonesErr)
	}
}

// TestACMERoot holds that of a file all certificates are trusted that are whole, also in
// forms other than PEM, and that another file, or another content, is another CA.
func TestACMERoot(t *testing.T) {
	file := filepath.Join(t.TempDir(), "roots")
	trust := func(text ...[]byte) *config {
		t.Helper()
		if err := os.WriteFile(file, slices.Concat(text...), 0o600); err != nil {
			t.Fatal(err)
		}
		c := defaults()
		if err := options["acme_root"].set(c, arguments{[]string{file}, func(p string) string { return p }}); err != nil {
			t.Fatal(err)
		}
		return c
	}
	one, err := testcert.NewAuthority("One", nil)
	if err != nil {
		t.Fatal(err)
	}
	two, err := testcert.NewAuthority("Two", nil)
	if err != nil {
		t.Fatal(err)
	}
	torn := testcert.PEM(one.Certificate)[:200]
	first := trust(testcert.PEM(one.Certificate), torn, []byte("\n"), testcert.PEM(two.Certificate))
	for _, der := range [][]byte{one.Certificate, two.Certificate} {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cert.Verify(x509.VerifyOptions{Roots: first.host.acme.Roots}); err != nil {
			t.Errorf("%s: %v", cert.Subject, err)
		}
	}
	if other := trust(two.Certificate); other.host.acme.RootsFrom == first.host.acme.RootsFrom {
		t.Error("a file that has changed passes for the same")
	}
}
