package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// TestCorefileErrors holds that a wrong Corefile stops the start with a message that
// says where (file and line), what, and what to do.
func TestCorefileErrors(t *testing.T) {
	dir := t.TempDir()
	cert{addresses: []string{"a@example.com"}}.write(t, filepath.Join(dir, "a.pem"))
	writeFile(t, filepath.Join(dir, "empty"), "# none yet\n")
	writeFile(t, filepath.Join(dir, "zones"), "example.com\nexample.org\n")
	writeFile(t, filepath.Join(dir, "none.key"), "something else\n")
	writeFile(t, filepath.Join(dir, "none.private"), "something else\n")
	_, key := newKey(t, dir, "example.com.", 257, dns.ECDSAP256SHA256)
	_, half := newKey(t, dir, "example.com.", 257, dns.ECDSAP256SHA256)
	writeFile(t, half+".private", "Private-key-format: v1.3\nPrivateKey: secret\n")
	_, mixed := newKey(t, dir, "example.com.", 257, dns.ECDSAP256SHA256)
	other, err := os.ReadFile(key + ".private")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, mixed+".private", string(other))
	for _, c := range []struct {
		what      string
		directive string // smimea's; its first line is line 2 of the Corefile
		line      string
		words     []string
	}{
		{"no DIR", "smimea", ":2", []string{"smimea", "directory"}},
		{"DIR that is not there", "smimea " + dir + "/absent", ":2", []string{dir + "/absent", "exist"}},
		{"DIR that is a file", "smimea " + dir + "/a.pem", ":2", []string{dir + "/a.pem", "directory"}},
		{"unknown option", "smimea " + dir + " {\nrecrod 3 1 1\n}", ":3", []string{"recrod", "record"}},
		{"second smimea", "smimea " + dir + "\nsmimea " + dir, ":3", []string{"second smimea", "block"}},
		{"record with two numbers", "smimea " + dir + " {\nrecord 3 1\n}", ":3", []string{"record"}},
		{"record with usage 4", "smimea " + dir + " {\nrecord 4 1 1\n}", ":3", []string{"record", "4"}},
		{"record with selector 2", "smimea " + dir + " {\nrecord 3 2 1\n}", ":3", []string{"record", "2"}},
		{"record with matching type 3", "smimea " + dir + " {\nrecord 3 1 3\n}", ":3", []string{"record", "3"}},
		{"record with words", "smimea " + dir + " {\nrecord a b c\n}", ":3", []string{"record", `"a"`}},
		{"http URL", "smimea " + dir + " {\nurl http://{domain}/{file}\n}", ":3", []string{"url", "https"}},
		{"URL without a host", "smimea " + dir + " {\nurl https:///{file}\n}", ":3", []string{"url", "host"}},
		{"unknown word in the URL", "smimea " + dir + " {\nurl https://{domain}/{user}\n}", ":3", []string{"url", "{user}", "{file}"}},
		{"ttl above an hour", "smimea " + dir + " {\nttl 2h\n}", ":3", []string{"ttl", "1h", "dnssec", "3600"}},
		{"ttl of a day in seconds", "smimea " + dir + " {\nttl 86400\n}", ":3", []string{"ttl", "1h", "dnssec", "3600"}},
		{"negative ttl", "smimea " + dir + " {\nttl -1s\n}", ":3", []string{"ttl"}},
		{"ttl in parts of a second", "smimea " + dir + " {\nttl 1500ms\n}", ":3", []string{"ttl", "second"}},
		{"ttl that is no duration", "smimea " + dir + " {\nttl soon\n}", ":3", []string{"ttl", "soon", "1h"}},
		{"two ttl", "smimea " + dir + " {\nttl 1h 2h\n}", ":3", []string{"ttl"}},
		{"negative_ttl above an hour", "smimea " + dir + " {\nnegative_ttl 2h\n}", ":3", []string{"negative_ttl"}},
		{"unknown case", "smimea " + dir + " {\ncase upper\n}", ":3", []string{"case", "exact", "lower"}},
		{"ns without a name", "smimea " + dir + " {\nns\n}", ":3", []string{"ns"}},
		{"ns that is no name", "smimea " + dir + " {\nns a..b\n}", ":3", []string{"ns", "a..b"}},
		{"mbox that is no name", "smimea " + dir + " {\nmbox a..b\n}", ":3", []string{"mbox", "a..b"}},
		{"ns twice", "smimea " + dir + " {\nns a.example\nns b.example A.example.\n}", ":4", []string{"ns", "a.example.", "twice"}},
		{"ns with a hyphen in front", "smimea " + dir + " {\nns -a.example\n}", ":3", []string{"ns", "-a.example", "hyphen"}},
		{"ns with no address", "smimea " + dir + " {\nns ns.example.com 0.0.0.0\n}", ":3", []string{"ns", "0.0.0.0"}},
		{"ns with an address of a link", "smimea " + dir + " {\nns ns.example.com fe80::1%eth0\n}", ":3", []string{"ns", "fe80::1"}},
		{"ns with an IPv4 address in IPv6", "smimea " + dir + " {\nns ns.example.com ::ffff:192.0.2.1\n}", ":3", []string{"ns", "::ffff:192.0.2.1"}},
		{"mbox that is a wildcard", "smimea " + dir + " {\nmbox *\n}", ":3", []string{"mbox", "*"}},
		{"mbox of nobody", "smimea " + dir + " {\nmbox .\n}", ":3", []string{"mbox"}},
		{"mbox with a space", "smimea " + dir + " {\nmbox \"a b@example.com\"\n}", ":3", []string{"mbox", "a b@example.com"}},
		{"mbox with two dots", "smimea " + dir + " {\nmbox a..b@example.com\n}", ":3", []string{"mbox", "a..b@example.com"}},
		{"mbox that is not ASCII", "smimea " + dir + " {\nmbox ä@example.com\n}", ":3", []string{"mbox", "ä@example.com"}},
		{"roots without a file", "smimea " + dir + " {\nroots\n}", ":3", []string{"roots"}},
		{"roots that are not there", "smimea " + dir + " {\nroots " + dir + "/absent.pem\n}", ":3", []string{dir + "/absent.pem"}},
		{"reload of nothing", "smimea " + dir + " {\nreload\n}", ":3", []string{"reload"}},
		{"ns that begins with an address", "smimea " + dir + " {\nns 192.0.2.1\n}", ":3", []string{"ns", "192.0.2.1"}},
		{"the same record twice", "smimea " + dir + " {\nrecord 3 1 1\nrecord 3 1 1\n}", ":4", []string{"record", "twice"}},
		{"max_withdraw above 100", "smimea " + dir + " {\nmax_withdraw 101\n}", ":3", []string{"max_withdraw", "101", "100"}},
		{"udp_limit below 512", "smimea " + dir + " {\nudp_limit 100\n}", ":3", []string{"udp_limit", "512"}},
		{"negative reload", "smimea " + dir + " {\nreload -1s\n}", ":3", []string{"reload"}},
		{"zones that are not there", "smimea " + dir + " {\nttl 1h\nzones " + dir + "/absent\n}", ":4", []string{"zones", dir + "/absent", "create it"}},
		{"zones without one", "smimea " + dir + " {\nzones " + dir + "/empty\nttl 1h\n}", ":3", []string{"zones", dir + "/empty", "one a line"}},
		{"zones that are something else", "smimea " + dir + " {\nzones " + dir + "/a.pem\nttl 1h\n}", ":3", []string{"zones", dir + "/a.pem", "line 1", "one a line"}},
		{"zones of which queries do not come here", "smimea " + dir + " {\nzones " + dir + "/zones\nttl 1h\n}", ":3", []string{"zones", dir + "/zones", "line 2", "before the block"}},
		{"zones twice", "smimea " + dir + " {\nzones " + dir + "/zones\nzones " + dir + "/zones\n}", ":4", []string{"zones", "twice", "one file"}},
		{"key without zones", "smimea " + dir + " {\nkey file " + key + "\nttl 1h\n}", ":3", []string{"key", "zones FILE", "leave out"}},
		{"key that is not there", "smimea " + dir + " {\nkey file " + key + ".none\n}", ":3", []string{"key", key + ".none.key", "create it"}},
		{"key that is none", "smimea " + dir + " {\nkey file " + dir + "/none\n}", ":3", []string{"key", dir + "/none.key", "line 1", "dnssec-keygen"}},
		{"key whose private part is none", "smimea " + dir + " {\nkey file " + half + "\n}", ":3", []string{"key", half + ".private", "dnssec-keygen"}},
		{"key of two keys", "smimea " + dir + " {\nzones " + dir + "/zones\nkey file " + mixed + "\n}", ":4", []string{"key", mixed + ".private", "not the private key"}},
		{"acme_root that is not there", "smimea " + dir + " {\nacme_root " + dir + "/absent\n}", ":3", []string{"acme_root", dir + "/absent", "create it"}},
		{"acme_root without a certificate", "smimea " + dir + " {\nacme_root " + key + ".key\n}", ":3", []string{"acme_root", key, "authorities"}},
		{"acme_root without acme", "smimea " + dir + " {\nacme_root " + dir + "/a.pem\nttl 1h\n}", ":3", []string{"acme_root", "add acme"}},
		{"chain without a certificate", "smimea " + dir + " {\nchain " + key + ".key\n}", ":3", []string{"chain", key, "intermediate"}},
		{"tls without https", "smimea " + dir + " {\ntls a b\nttl 1h\n}", ":3", []string{"tls", "https"}},
		{"https without a certificate", "smimea " + dir + " {\nhttps 127.0.0.1:0\nttl 1h\n}", ":3", []string{"https", "TLS certificate", "acme"}},
		{"catalog without transfer", "smimea " + dir + " {\ncatalog catalog.example.com\nttl 1h\n}", ":3", []string{"catalog", "*transfer*"}},
		{"transfer_signed without a key", "smimea " + dir + " {\ntransfer_signed\nttl 1h\n}", ":3", []string{"transfer_signed", "*dnssec*"}},
		{"state in a directory that is not there", "smimea " + dir + " {\nstate " + dir + "/absent/state\nttl 1h\n}", ":3", []string{"state", dir + "/absent/state"}},
		{"empty DIR", `smimea ""`, ":2", []string{"empty"}},
		{"empty zone", "smimea " + dir + ` ""`, ":2", []string{"empty"}},
		{"empty state", "smimea " + dir + " {\nstate \"\"\n}", ":3", []string{"state", "empty"}},
		{"zone that is no name", "smimea " + dir + " a..b", ":2", []string{"a..b"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			corefile := "example.com:PORT {\n" + c.directive + "\n}\n"
			_, err := tryServer(t, corefile)
			if err == nil {
				t.Fatalf("this starts:\n%s", corefile)
			}
			t.Log(err)
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the message has what the private key has: %v", err)
			}
			words := c.words
			if c.line != "" {
				words = append([]string{"Corefile" + c.line}, words...)
			}
			for _, word := range words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("message without %q: %v", word, err)
				}
			}
		})
	}
}

// TestCorefileValues starts what the syntax allows.
func TestCorefileValues(t *testing.T) {
	dir := t.TempDir()
	cert{addresses: []string{"a@example.com"}}.write(t, filepath.Join(dir, "certs", "a.pem"))
	for _, directives := range [][]string{
		{"root " + dir, "smimea certs"},
		{"smimea " + dir + " {\nrecord 3 0 0\nrecord 3 1 1\nrecord 2 1 2\n}"},
		{"smimea " + dir + " {\nurl off\n}"},
		{"smimea " + dir + " {\nurl https://certs.example.net/{domain}/{hash}.crt\n}"},
		{"smimea " + dir + " {\nttl 3600\nnegative_ttl 60\nreload 5s\n}"},
		{"smimea " + dir + " {\nttl 1h\nnegative_ttl 5m\nreload 1m30s\n}"},
		{"smimea " + dir + " {\ncase exact\nns ns1.example.net ns2.example.net.\nmbox admin.example.net\n}"},
		{"smimea " + dir + " example.com"},
	} {
		startServer(t, block("example.com", directives...))
	}
}
