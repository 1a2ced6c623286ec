package certsource

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"coredns-smimea/internal/testcert"
)

// TestParseFile holds what is published of files with several certificates, and
// what is said of the rest.
func TestParseFile(t *testing.T) {
	middle, err := testcert.NewAuthority("Middle", testcert.Shared())
	if err != nil {
		t.Fatal(err)
	}
	user := func(t testcert.Template, address string) testcert.Template {
		t.Addresses, t.Issuer = []string{address}, middle
		return t
	}
	a := testCertificate(t, user(testcert.Template{KeyUsage: x509.KeyUsageDigitalSignature}, "a@example.com"))
	b := testCertificate(t, user(testcert.Template{KeyUsage: x509.KeyUsageKeyAgreement}, "a@example.com"))
	c := testCertificate(t, user(testcert.Template{}, "c@example.com"))
	tls := testCertificate(t, user(testcert.Template{EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, "a@example.com"))
	none := testCertificate(t, testcert.Template{Issuer: middle})
	signer, err := testcert.NewSigner(testcert.P256)
	if err != nil {
		t.Fatal(err)
	}
	old := testCertificate(t, testcert.Template{Addresses: []string{"s@example.com"}, Signer: signer})
	renewed := testCertificate(t, testcert.Template{Addresses: []string{"s@example.com"}, Signer: signer})
	block := func(label string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}))
	}
	text := func(certs ...[]byte) string { return string(testcert.PEM(certs...)) }
	key, err := x509.MarshalPKCS8PrivateKey(signer.Key)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		data   string
		certs  [][]byte
		reason Reason // of a file that is refused
		unused []string
	}{
		"sign and encrypt":   {text(a, b), [][]byte{a, b}, "", nil},
		"with the authority": {text(middle.Certificate, a, b), [][]byte{a, b}, "", nil},
		"users":              {string(testcert.PKCS7BER(a, middle.Certificate, c)), [][]byte{a, c}, "", nil},
		"twice":              {text(a, c, a), [][]byte{a, c}, "", nil},
		"self-signed":        {text(old, renewed), [][]byte{old, renewed}, "", nil},
		"one for servers":    {text(tls, a), [][]byte{a}, "", []string{"line 1: the certificate is not for mail"}},
		"one for nobody":     {text(a, none), [][]byte{a}, "", []string{"the certificate has no usable mail address"}},
		"a request":          {block("CERTIFICATE REQUEST", a) + text(c), [][]byte{c}, "", []string{"line 1: a PEM block CERTIFICATE REQUEST"}},
		"broken base64":      {strings.Replace(text(a), "MII", "M!I", 1) + text(c), [][]byte{c}, "", []string{"line 1: the base64 of a PEM block is broken"}},
		"cut off in a block": {block("CERTIFICATE", a[:100]) + text(c), [][]byte{c}, "", []string{"line 1: the DER in a PEM block is cut off"}},
		"CR only":            {strings.ReplaceAll(text(tls, a), "\n", "\r"), [][]byte{a}, "", []string{"line 1: the certificate is not for mail"}},

		"torn in the middle":     {text(a)[:200] + "\n" + text(c), nil, Malformed, nil},
		"torn at the end":        {text(a) + text(c)[:200], nil, Malformed, nil},
		"torn in the last line":  {text(a) + strings.TrimSuffix(text(c), "ATE-----\n"), nil, Malformed, nil},
		"a key":                  {text(a) + block("PRIVATE KEY", key) + text(c), nil, PrivateKey, nil},
		"a key labelled":         {text(a) + block("CERTIFICATE", key) + text(c), nil, PrivateKey, nil},
		"a torn key labelled":    {block("CERTIFICATE", key)[:120] + "\n" + text(c), nil, PrivateKey, nil},
		"a key with a bad label": {text(a) + block("DATA", key), nil, PrivateKey, nil},
		"a key behind":           {text(a) + block("CERTIFICATE", append(bytes.Clone(c), key...)), nil, PrivateKey, nil},
		"for servers only":       {text(tls, middle.Certificate), nil, Purpose, nil},
		"authorities only":       {text(middle.Certificate) + block("CERTIFICATE REQUEST", a), nil, Authority, nil},
	} {
		contents, err := ParseFile([]byte(tt.data))
		if tt.reason != "" {
			t.Run(name, func(t *testing.T) { checkRefusal(t, err, tt.reason) })
			continue
		}
		if err != nil || len(contents.Certificates) != len(tt.certs) {
			t.Errorf("%s: %d certificates, %v; want %d", name, len(contents.Certificates), err, len(tt.certs))
			continue
		}
		for i, cert := range contents.Certificates {
			if !bytes.Equal(cert.Raw, tt.certs[i]) {
				t.Errorf("%s: certificate %d is another", name, i)
			}
		}
		said := contents.Unused
		if len(said) != len(tt.unused) || len(said) > 0 && !strings.Contains(said[0].String(), tt.unused[0]) {
			t.Errorf("%s: unused %v, want %v", name, said, tt.unused)
		}
	}
}
