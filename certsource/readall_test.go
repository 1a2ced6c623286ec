package certsource_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/internal/testcert"
)

func authority(t testing.TB, name string) []byte {
	t.Helper()
	a, err := testcert.NewAuthority(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	return a.Certificate
}

// TestReadAll holds that however two certificates are written both are read, or what
// is not is named.
func TestReadAll(t *testing.T) {
	a, b := authority(t, "A"), authority(t, "B")
	p, q := string(testcert.PEM(a)), string(testcert.PEM(b))
	label := func(name string) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: name, Bytes: a}))
	}
	bad := bytes.Clone(a)
	bad[len(bad)/2] ^= 0xff
	for name, test := range map[string]struct {
		text   string
		certs  int
		unused string
	}{
		"plain":    {p + q, 2, ""},
		"DER":      {string(a), 1, ""},
		"two DER":  {string(a) + string(b), 2, ""},
		"PKCS7":    {string(testcert.PKCS7BER(a, b)), 2, ""},
		"twice":    {p + q + p, 2, ""},
		"CRLF":     {strings.ReplaceAll(p+q, "\n", "\r\n"), 2, ""},
		"CR":       {strings.ReplaceAll(p+q, "\n", "\r"), 2, ""},
		"mark":     {"\xef\xbb\xbf" + p + q, 2, ""},
		"joined":   {strings.TrimSpace(p) + q, 2, ""},
		"dashes":   {strings.TrimSuffix(p, "-----\n") + q, 2, ""},
		"inline":   {p + "cert: " + q, 1, "a PEM block does not begin its line"},
		"quoted":   {p + "> " + strings.ReplaceAll(q, "\n", "\n> "), 1, "a PEM block does not begin its line"},
		"prose":    {"between -----BEGIN CERTIFICATE----- and the end\n" + p + q, 2, ""},
		"indented": {"  " + strings.ReplaceAll(p+q, "\n", "\n  "), 2, ""},
		"trusted":  {label("TRUSTED CERTIFICATE") + q, 2, ""},
		"old":      {label("X509 CERTIFICATE") + q, 2, ""},
		"header":   {strings.Replace(p, "CERTIFICATE-----\n", "CERTIFICATE-----\nComment: today\n\n", 1) + q, 2, ""},
		"torn":     {p[:300] + "\n" + q, 1, "line 1: a PEM block does not end as it begins"},
		"torn end": {q + p[:300], 1, "a PEM block has no END line"},
		"base64":   {p + strings.Replace(q, "MII", "M!I", 1), 1, "the base64 of a PEM block is broken"},
		"request":  {p + label("CERTIFICATE REQUEST"), 1, "a PEM block CERTIFICATE REQUEST"},
		"key":      {p + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", 1, "a private key"},
		"half key": {"-----BEGIN PRIVATE KEY-----\nAAAA\n" + p, 1, "a private key"},
		"html":     {"<html>", 0, "an HTML or XML page"},
		"empty":    {"", 0, "the file is empty"},
	} {
		certs, unused := certsource.ReadAll([]byte(test.text))
		var said []string
		for _, u := range unused {
			said = append(said, u.String())
		}
		if text := strings.Join(said, "; "); len(certs) != test.certs || (test.unused == "") != (text == "") || !strings.Contains(text, test.unused) {
			t.Errorf("%s: %d certificates, unused %q; want %d, %q", name, len(certs), text, test.certs, test.unused)
		}
	}
}

// TestReadRoots holds that an authority that Go refuses is named.
func TestReadRoots(t *testing.T) {
	odd, err := testcert.Template{Authority: true, Serial: []byte{0x80, 1}}.DER()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x509.ParseCertificate(odd); err == nil {
		t.Fatal("crypto/x509 reads the odd one")
	}
	pool, unused := certsource.ReadRoots(testcert.PEM(odd, authority(t, "A")))
	if pool == nil || len(unused) != 1 || !strings.Contains(unused[0].String(), "crypto/x509 cannot read") {
		t.Errorf("pool %v, unused %v", pool, unused)
	}
	if pool, _ := certsource.ReadRoots(testcert.PEM(odd)); pool != nil {
		t.Error("a pool without an authority")
	}
	// Who is issued by it is not told that its issuer is missing.
	user, err := testcert.Template{Addresses: []string{"a@example.com"}}.DER()
	if err != nil {
		t.Fatal(err)
	}
	shared, err := testcert.Unreadable(testcert.Shared())
	if err != nil {
		t.Fatal(err)
	}
	var roots certsource.Roots
	roots.Read(testcert.PEM(shared))
	cert, err := certsource.Parse(testcert.PEM(user))
	if err != nil {
		t.Fatal(err)
	}
	if err := cert.Chains(&roots, time.Now()); err == nil || !strings.Contains(err.Error(), "cannot read its certificate (negative serial number)") {
		t.Errorf("chains: %v", err)
	}
}

// FuzzReadAll holds that what comes out is a SEQUENCE, each once, and that something
// comes out or is said.
func FuzzReadAll(f *testing.F) {
	a := authority(f, "A")
	f.Add(a)
	f.Add(testcert.PEM(a, a))
	f.Add(testcert.PKCS7BER(a))
	f.Add([]byte("-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n"))
	f.Add([]byte("-----BEGIN -----BEGIN \n-----BEGIN X-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		certs, unused := certsource.ReadAll(data)
		seen := map[string]bool{}
		for _, cert := range certs {
			if len(cert) < 2 || cert[0] != 0x30 || seen[string(cert)] {
				t.Fatalf("%x is no SEQUENCE, or there twice", cert)
			}
			seen[string(cert)] = true
		}
		for _, u := range unused {
			if u.String() == "" {
				t.Fatalf("nothing is said of %+v", u)
			}
		}
	})
}
