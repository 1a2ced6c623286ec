package discover

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"coredns-smimea/internal/testcert"
)

func user(t *testing.T, address string) []byte {
	return certificate(t, testcert.Template{Addresses: []string{address}})
}

// TestArticle is the way that the project is for: a TXT record, a download, and
// an SMIMEA record that vouches for it.
func TestArticle(t *testing.T) {
	w := newWorld(t)
	der := user(t, "firstname.lastname@example.test")
	w.files["/.well-known/smime/firstname_lastname.crt"] = der
	w.publish("firstname.lastname@example.test", der, []string{"3 1 1"}, w.url("example.test", "/.well-known/smime/firstname_lastname.crt"))
	r := w.expect(w.client(), "firstname.lastname@example.test", Verified)
	if len(r.Certificates) != 1 || !bytes.Equal(r.Certificates[0].Raw, der) || r.Certificates[0].Match != ByKey || r.Certificates[0].Untrusted != "" {
		t.Errorf("certificates %+v; want the one, by its key", r.Certificates)
	}
}

func TestForms(t *testing.T) {
	w := newWorld(t)
	issuer := testcert.Shared().Certificate
	forms := map[string]func(der []byte) []byte{
		"der":   func(der []byte) []byte { return der },
		"pem":   func(der []byte) []byte { return testcert.PEM(der) },
		"chain": func(der []byte) []byte { return testcert.PEM(issuer, der) },
		"p7c":   func(der []byte) []byte { return pkcs7(der, issuer) },
		"p7pem": func(der []byte) []byte {
			return pem.EncodeToMemory(&pem.Block{Type: "PKCS7", Bytes: pkcs7(der, issuer)})
		},
	}
	for form, make := range forms {
		address := form + "@example.test"
		der := user(t, address)
		w.files["/"+form] = make(der)
		w.publish(address, der, []string{"3 0 1"}, w.url("keys.example.test", "/"+form))
	}
	c := w.client()
	for form := range forms {
		r := w.expect(c, form+"@example.test", Verified)
		if len(r.Certificates) != 1 || r.Certificates[0].Match != ByCertificate {
			t.Errorf("%s: certificates %+v", form, r.Certificates)
		}
	}
}

// pkcs7 makes a bundle of certificates only.
func pkcs7(certs ...[]byte) []byte {
	tlv := func(tag byte, parts ...[]byte) []byte {
		b := cryptobyte.NewBuilder(nil)
		b.AddASN1(asn1.Tag(tag), func(b *cryptobyte.Builder) { b.AddBytes(bytes.Join(parts, nil)) })
		return b.BytesOrPanic()
	}
	oid := func(last byte) []byte {
		return []byte{6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, last}
	}
	return tlv(0x30, oid(2), tlv(0xa0, tlv(0x30, []byte{2, 1, 1}, tlv(0x31), tlv(0x30, oid(1)), tlv(0xa0, certs...), tlv(0x31))))
}

// TestAssociations holds all usages, selectors and matching types.
func TestAssociations(t *testing.T) {
	root, err := testcert.NewAuthority("Domain Root", nil)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	type test struct {
		address string
		issuer  *testcert.Authority
		records []string
		of      []byte // what the records are of, the user's certificate if nil
		want    Verdict
		match   Match
	}
	var tests []test
	for _, selector := range []string{"0", "1"} {
		for _, matching := range []string{"0", "1", "2"} {
			match := map[string]Match{"0": ByCertificate, "1": ByKey}[selector]
			name := "s" + selector + "m" + matching
			end := " " + selector + " " + matching
			tests = append(tests,
				test{"ta0" + name, nil, []string{"0" + end}, testcert.Shared().Certificate, Verified, ByAuthority},
				test{"ee1" + name, nil, []string{"1" + end}, nil, Verified, match},
				test{"ta2" + name, root, []string{"2" + end}, root.Certificate, Verified, ByAuthority},
				test{"ee3" + name, root, []string{"3" + end}, nil, Verified, match},
				test{"bad1" + name, root, []string{"1" + end}, nil, Wrong, Unmatched},
				test{"bad0" + name, root, []string{"0" + end}, root.Certificate, Wrong, Unmatched},
				test{"bad2" + name, root, []string{"2" + end}, testcert.Shared().Certificate, Wrong, Unmatched},
			)
		}
	}
	tests = append(tests,
		test{"both", nil, []string{"3 1 1", "3 0 1"}, nil, Verified, ByCertificate},
		test{"strong", nil, []string{"3 0 2"}, nil, Verified, ByCertificate},
	)
	for i := range tests {
		tests[i].address += "@example.test"
		der := certificate(t, testcert.Template{Addresses: []string{tests[i].address}, Issuer: tests[i].issuer})
		of := tests[i].of
		if of == nil {
			of = der
		}
		data := testcert.PEM(der)
		if tests[i].issuer != nil {
			data = testcert.PEM(der, tests[i].issuer.Certificate)
		}
		w.files["/"+tests[i].address] = data
		w.publish(tests[i].address, of, tests[i].records, w.url("example.test", "/"+tests[i].address))
	}
	c := w.client()
	for _, test := range tests {
		r := w.expect(c, test.address, test.want)
		if len(r.Certificates) != 1 || r.Certificates[0].Match != test.match {
			t.Errorf("%s: %d certificates, match %q; want %q\n%s", test.address, len(r.Certificates), r.Certificates[0].Match, test.match, strings.Join(r.Story, "\n"))
		}
		if (test.issuer == nil) != (r.Certificates[0].Untrusted == "") {
			t.Errorf("%s: chain %q", test.address, r.Certificates[0].Untrusted)
		}
	}
}

// TestVerdicts holds what is found against what it means.
func TestVerdicts(t *testing.T) {
	w := newWorld(t)
	day := 24 * time.Hour
	put := func(address string, template testcert.Template) ([]byte, string) {
		if template.Addresses == nil {
			template.Addresses = []string{address}
		}
		der := certificate(t, template)
		w.files["/"+address] = der
		return der, w.url("example.test", "/"+address)
	}
	emailProtection := []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}

	der, url := put("expired@example.test", testcert.Template{NotBefore: time.Now().Add(-30 * day), NotAfter: time.Now().Add(-day)})
	w.publish("expired@example.test", der, []string{"3 1 1"}, url)
	der, url = put("early@example.test", testcert.Template{NotBefore: time.Now().Add(day)})
	w.publish("early@example.test", der, []string{"3 1 1"}, url)
	der, url = put("other@example.test", testcert.Template{Addresses: []string{"somebody@example.test"}})
	w.publish("other@example.test", der, []string{"3 1 1"}, url)
	der, url = put("tls@example.test", testcert.Template{EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	w.publish("tls@example.test", der, []string{"3 1 1"}, url)
	_, url = put("mismatch@example.test", testcert.Template{})
	w.publish("mismatch@example.test", user(t, "mismatch@example.test"), []string{"3 1 1"}, url)
	der, url = put("ok@example.test", testcert.Template{EKU: emailProtection, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement})
	w.publish("ok@example.test", der, []string{"3 1 1"}, url)
	der, url = put("sign@example.test", testcert.Template{EKU: emailProtection, KeyUsage: x509.KeyUsageDigitalSignature})
	w.publish("sign@example.test", der, []string{"3 1 1"}, url)
	der, url = put("Upper@example.test", testcert.Template{})
	w.publish("Upper@example.test", der, []string{"3 1 1"}, url)
	w.publish("upper.only@example.test", user(t, "Upper.Only@example.test"), []string{"3 0 0"})
	der, url = put("nosmimea@example.test", testcert.Template{})
	w.publish("nosmimea@example.test", der, nil, url)
	w.publish("full@example.test", user(t, "full@example.test"), []string{"3 0 0"})
	w.publish("digest@example.test", user(t, "digest@example.test"), []string{"3 1 1"})
	w.zone = append(w.zone, parse(t, "unknown@example.test").Owner()+" IN SMIMEA 9 9 9 00")
	der, url = put("unknown@example.test", testcert.Template{})
	w.publish("unknown@example.test", der, nil, url)
	w.zone = append(w.zone, "*._smime IN TXT \"v=spf1 -all\"")
	w.publish("plain@example.test", nil, nil, "http://example.test/x")

	der = user(t, "a@unsigned.test")
	w.files["/unsigned"] = der
	w.publish("a@unsigned.test", der, []string{"3 0 0"}, w.url("unsigned.test", "/unsigned"))
	w.publish("away@unsigned.test", nil, nil, w.url("elsewhere.test", "/unsigned"))
	w.publish("away@example.test", user(t, "away@example.test"), nil, w.url("elsewhere.test", "/away"))
	w.files["/away"] = user(t, "away@example.test")
	direct := user(t, "direct@example.test")
	w.files["/.well-known/smime/"+parse(t, "direct@example.test").Label()+".p7c"] = pkcs7(direct)
	w.publish("direct@example.test", direct, []string{"3 1 1"})

	c := w.client()
	for address, want := range map[string]Verdict{
		"ok@example.test":         Verified,
		"full@example.test":       Verified,
		"direct@example.test":     Verified,
		"Upper@example.test":      Verified,
		"upper.only@example.test": Verified, // the domain has it under both forms
		"nobody@example.test":     None,
		`"a b"@example.test`:      None,  // cannot have TXT records
		"plain@example.test":      Wrong, // a URL that is not of https
		"nosmimea@example.test":   Unverified,
		"unknown@example.test":    Unverified,
		"away@example.test":       Unverified, // a foreign host, but signed
		"a@unsigned.test":         Unverified,
		"nobody@unsigned.test":    Unverified,
		"expired@example.test":    Wrong,
		"early@example.test":      Wrong,
		"other@example.test":      Wrong,
		"tls@example.test":        Wrong,
		"mismatch@example.test":   Wrong,
		"away@unsigned.test":      Wrong,   // a foreign host, and not signed
		"digest@example.test":     Unknown, // there is one, but not to be had
		"u@nowhere.invalid":       Unknown, // no trust anchor, nobody to ask
	} {
		w.expect(c, address, want)
	}

	c.Purpose = Encrypt
	w.expect(c, "ok@example.test", Verified)
	w.expect(c, "sign@example.test", Wrong)
	c.Purpose = Sign
	w.expect(c, "sign@example.test", Verified)
	c.Purpose = Any
	w.expect(c, "sign@example.test", Verified)

	if r := w.expect(c, "FULL@example.test", None); r.Suggestion != "full@example.test" {
		t.Errorf("suggestion %q; want the lower-case address", r.Suggestion)
	}
	c.AllowPrivate = false
	w.expect(c, "ok@example.test", Unknown)
	w.expect(c, "full@example.test", Verified)
}

// TestServersThatFail holds that no failure is taken for an answer.
func TestServersThatFail(t *testing.T) {
	w := newWorld(t)
	der := user(t, "u@example.test")
	w.files["/u"] = der
	w.publish("u@example.test", der, []string{"3 1 1"}, w.url("example.test", "/u"))
	c := w.client()
	w.expect(c, "u@example.test", Verified)
	for what, lie := range map[string]func(*dns.Msg) *dns.Msg{
		"SERVFAIL": func(m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeServerFailure; return m },
		"REFUSED":  func(m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeRefused; return m },
		"denial": func(m *dns.Msg) *dns.Msg {
			if m.Question[0].Qtype == dns.TypeSMIMEA || m.Question[0].Qtype == dns.TypeTXT {
				m.Answer, m.Ns, m.Rcode = nil, nil, dns.RcodeNameError
			}
			return m
		},
		"stripped": func(m *dns.Msg) *dns.Msg {
			m.Answer = m.Answer[:min(1, len(m.Answer))]
			m.Ns = nil
			return m
		},
		"forged": func(m *dns.Msg) *dns.Msg {
			for _, rr := range m.Answer {
				if smimea, ok := rr.(*dns.SMIMEA); ok {
					smimea.Certificate = strings.Repeat("00", 32)
				}
			}
			return m
		},
	} {
		w.names.Lie(lie)
		r := w.expect(c, "u@example.test", Unknown)
		if len(r.Why.Text) == 0 {
			t.Errorf("%s: no reason", what)
		}
		w.expect(c, "nobody@example.test", map[bool]Verdict{true: None, false: Unknown}[what == "forged"])
	}
	w.names.Lie(nil)
	w.names.Expire("example.test")
	w.expect(c, "u@example.test", Unknown)
	w.expect(c, "nobody@example.test", Unknown)
}

// TestWebServers holds the limits of downloads.
func TestWebServers(t *testing.T) {
	w := newWorld(t)
	page := func(name string, handler http.HandlerFunc) {
		w.pages.HandleFunc("/page/"+name, handler)
		w.publish(name+"@example.test", user(t, name+"@example.test"), nil, w.url("example.test", "/page/"+name))
	}
	redirect := func(to string) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, to, http.StatusFound) }
	}
	page("html", func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, "<html>Hello</html>") })
	page("empty", func(http.ResponseWriter, *http.Request) {})
	page("endless", func(rw http.ResponseWriter, r *http.Request) {
		block := make([]byte, 64<<10)
		for {
			if _, err := rw.Write(block); err != nil {
				return
			}
		}
	})
	page("login", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("WWW-Authenticate", "Basic")
		rw.WriteHeader(http.StatusUnauthorized)
	})
	page("down", func(rw http.ResponseWriter, r *http.Request) { rw.WriteHeader(http.StatusBadGateway) })
	page("gone", func(rw http.ResponseWriter, r *http.Request) { rw.WriteHeader(http.StatusGone) })
	page("circle", redirect("/page/circle"))
	page("plain", redirect("http://example.test/"))
	page("file", redirect("file:///etc/passwd"))
	page("nohost", func(rw http.ResponseWriter, r *http.Request) {})
	w.publish("wronghost@example.test", nil, nil, w.url("ns.example.test", "/u"))
	w.publish("noaddress@example.test", nil, nil, w.url("nobody.example.test", "/u"))
	w.files["/moved-to"] = user(t, "moved@example.test")
	page("moved", redirect(w.url("keys.example.test", "/moved-to")))
	w.publish("foreign@unsigned.test", nil, nil, w.url("unsigned.test", "/page/foreign"))
	w.pages.HandleFunc("/page/foreign", redirect(w.url("elsewhere.test", "/u")))
	w.publish("key@example.test", nil, nil, w.url("example.test", "/key"))
	w.files["/key"] = append(testcert.PEM(user(t, "key@example.test")), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"...)

	c := w.client()
	for name, want := range map[string]Verdict{
		"html": Wrong, "empty": Wrong, "endless": Wrong, "circle": Wrong, "plain": Wrong, "file": Wrong,
		"login": Unknown, "down": Unknown, "gone": Wrong, "wronghost": Unknown, "noaddress": Unknown,
		"moved": Unverified,
	} {
		w.expect(c, name+"@example.test", want)
	}
	w.expect(c, "foreign@unsigned.test", Wrong)
	r := w.expect(c, "key@example.test", Unverified)
	if !strings.Contains(strings.Join(r.Story, "\n"), "private key") {
		t.Errorf("the story does not warn of the private key:\n%s", strings.Join(r.Story, "\n"))
	}
	c.WebRoots = x509.NewCertPool()
	w.expect(c, "moved@example.test", Unknown)
}

// TestTextOf holds that the octets of a TXT record count, and not how a zone file has them.
func TestTextOf(t *testing.T) {
	for written, want := range map[string]string{
		`"https://example.test/u"`:               "https://example.test/u",
		`"https://example.test/" "u;v"`:          "https://example.test/u;v",
		`"https://example.test/b\195\188cher"`:   "https://example.test/bücher",
		`"https://example.test/bücher"`:          "https://example.test/bücher",
		`"https://example.test/a\"b\\c\027\255"`: "https://example.test/a\"b\\c\x1b\xff",
		`""`:                                     "",
	} {
		rr, err := dns.NewRR("u._smime.example.test. IN TXT " + written)
		if err != nil {
			t.Fatal(err)
		}
		if got := textOf(rr.(*dns.TXT)); got != want {
			t.Errorf("%s: %q, want %q", written, got, want)
		}
	}
	w := newWorld(t)
	w.files["/bücher"] = user(t, "u@example.test")
	w.publish("u@example.test", nil, nil, w.url("example.test", "/bücher"))
	w.expect(w.client(), "u@example.test", Unverified)
}

// TestSeveral holds which of several certificates comes first.
func TestSeveral(t *testing.T) {
	w := newWorld(t)
	const address = "u@example.test"
	old := certificate(t, testcert.Template{Addresses: []string{address}, NotBefore: time.Now().Add(-48 * time.Hour)})
	renewed := certificate(t, testcert.Template{Addresses: []string{address}})
	signing := certificate(t, testcert.Template{Addresses: []string{address}, KeyUsage: x509.KeyUsageDigitalSignature, NotBefore: time.Now().Add(-time.Minute)})
	expired := certificate(t, testcert.Template{Addresses: []string{address}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
	for _, der := range [][]byte{expired, signing, old, renewed} {
		w.publish(address, der, []string{"3 0 0"})
	}
	c := w.client()
	if r := w.expect(c, address, Verified); len(r.Certificates) != 4 || !bytes.Equal(r.Certificates[0].Raw, renewed) {
		t.Errorf("the first of %d is not the renewed one", len(r.Certificates))
	}
	c.Purpose = Sign
	if r := w.expect(c, address, Verified); len(r.Certificates) != 4 || r.Certificates[0].Problems != nil {
		t.Errorf("no certificate to check signatures with: %+v", r.Certificates[0])
	}
}

func ExampleParseServer() {
	for _, text := range []string{"192.0.2.1", "[2001:db8::1]:5353", "tls://dns.example.net"} {
		server, err := ParseServer(text)
		fmt.Println(server, server.Private(), err)
	}
	// Output:
	// 192.0.2.1 false <nil>
	// [2001:db8::1]:5353 false <nil>
	// tls://dns.example.net true <nil>
}
