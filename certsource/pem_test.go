package certsource

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"

	"coredns-smimea/internal/testcert"
)

func testCertificate(t *testing.T, template testcert.Template) []byte {
	t.Helper()
	der, err := template.DER()
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestPEM(t *testing.T) {
	der := testCertificate(t, testcert.Template{Addresses: []string{"alice@example.com"}})
	issuer := testcert.Shared().Certificate
	block := string(testcert.PEM(der))
	signer, err := testcert.NewSigner(testcert.P256)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(signer.Key)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		data string
		want Reason
	}{
		"plain":                 {block, ""},
		"blocks without break":  {strings.TrimSpace(string(testcert.PEM(issuer))) + block, ""},
		"one line of dashes":    {strings.TrimSuffix(strings.TrimSpace(string(testcert.PEM(issuer))), "-----") + block, ""},
		"not at a line's start": {"cert: " + block, Malformed},
		"mac line ends":         {strings.ReplaceAll(block, "\n", "\r"), ""},
		"tabs":                  {strings.ReplaceAll(block, "\n", "\t\n\t"), ""},
		"a begin in the text":   {"the line -----BEGIN CERTIFICATE----- begins one\n" + block, ""},
		"an end in the text":    {"-----END CERTIFICATE-----\n" + block, ""},
		"beside a request":      {strings.ReplaceAll(string(testcert.PEM(issuer)), "CERTIFICATE", "CERTIFICATE REQUEST") + block, ""},
		"begin twice":           {"-----BEGIN CERTIFICATE-----\n" + block, Malformed},
		"another end":           {strings.Replace(block, "END CERTIFICATE", "END X509 CERTIFICATE", 1), Malformed},
		"no final dashes":       {strings.TrimRight(block, "-\n"), Malformed},
		"torn in the label":     {block + "-----BEGIN CERTIF", Malformed},
		"no content":            {"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", Malformed},
		"text in the block":     {strings.Replace(block, "\n", "\nhello there\n", 1), Malformed},
		"trailing octets":       {string(testcert.PEM(append(bytes.Clone(der), "more"...))), Malformed},
		"unknown label":         {"-----BEGIN alice@example.com-----\nAAAA\n-----END alice@example.com-----\n", NoCertificate},
		"key in unknown label":  {string(pem.EncodeToMemory(&pem.Block{Type: "DATA", Bytes: []byte("\x30\x77\x02\x01\x01\x04\x20")})) + block, PrivateKey},
		"ssh.com key":           {block + "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n", PrivateKey},
		"PGP key":               {block + "-----BEGIN PGP PRIVATE KEY BLOCK-----\n", PrivateKey},
		"PuTTY key":             {"PuTTY-User-Key-File-3: ssh-ed25519\n" + block, PrivateKey},
		"indented key":          {block + "\t -----BEGIN RSA PRIVATE KEY-----\n", PrivateKey},
		"key after other text":  {block + "key: -----BEGIN PRIVATE KEY-----\n", PrivateKey},
		"a key without lines":   {base64.StdEncoding.EncodeToString(key), PrivateKey},
		"key in small letters":  {block + "-----begin private key-----\n" + base64.StdEncoding.EncodeToString(key) + "\n-----end private key-----\n", PrivateKey},
		"a key's DER behind":    {block + string(key), PrivateKey},
		"no lines":              {strings.SplitAfterN(block, "\n", 2)[1], Malformed},
		"words about keys":      {"the PRIVATE KEY is elsewhere\n" + block, ""},
		"a Java keystore":       {"\xfe\xed\xfe\xed\x00\x00\x00\x02", PrivateKey},
		"a key after the DER":   {string(der) + "-----BEGIN PRIVATE KEY-----\n", PrivateKey},
		"big-endian UTF-16 key": {"\xfe\xff\x00-\x00-\x00B\x00E\x00G\x00I\x00N\x00 \x00P\x00R\x00I\x00V\x00A\x00T\x00E\x00 \x00K\x00E\x00Y", PrivateKey},
	} {
		t.Run(name, func(t *testing.T) {
			cert, err := Parse([]byte(tt.data))
			if tt.want != "" {
				checkRefusal(t, err, tt.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(cert.Raw, der) {
				t.Error("another certificate")
			}
		})
	}
}

// TestEveryPrefix cuts files off at every octet, as one sees them while they
// are written: none of that is a certificate before its last octet is there.
// (In PEM with the leaf first, a cut between two blocks cannot be seen; what is
// published is right all the same.)
func TestEveryPrefix(t *testing.T) {
	der := testCertificate(t, testcert.Template{Addresses: []string{"alice@example.com"}})
	issuer := testcert.Shared().Certificate
	for name, data := range map[string][]byte{
		"DER":   der,
		"PEM":   bytes.TrimSpace(testcert.PEM(der)),
		"chain": bytes.TrimSpace(testcert.PEM(issuer, der)),
		"BER":   testcert.PKCS7BER(der, issuer),
	} {
		if _, err := Parse(data); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for n := range data {
			if _, err := Parse(data[:n]); err == nil {
				t.Errorf("%s: the first %d of %d octets are a certificate", name, n, len(data))
			}
		}
	}
}
