package certhost

import (
	"crypto/tls"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

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
