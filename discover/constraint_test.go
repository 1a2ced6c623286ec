package discover

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"coredns-smimea/internal/testcert"
)

// TestNameConstraints holds what an authority with name constraints for mail may certify
// against what OpenSSL says of the same chain: a host has no sub-domains (RFC 5280
// section 4.2.1.10; PKITS 4.13.21 to 4.13.25), which crypto/x509 takes otherwise.
func TestNameConstraints(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	type test struct {
		name                string
		permitted, excluded []string
		address             string
		want                Verdict
	}
	tests := []test{
		{"host", []string{"example.test"}, nil, "host@example.test", Verified},
		{"host-upper", []string{"EXAMPLE.test"}, nil, "host-upper@example.test", Verified},
		{"host-sub", []string{"example.test"}, nil, "host-sub@sub.example.test", Wrong},
		{"domain", []string{".example.test"}, nil, "domain@sub.example.test", Verified},
		{"domain-top", []string{".example.test"}, nil, "domain-top@example.test", Wrong},
		{"box", []string{"box@example.test"}, nil, "box@example.test", Verified},
		{"box-other", []string{"box@example.test"}, nil, "box-other@example.test", Wrong},
		{"out-host", nil, []string{"example.test"}, "out-host@example.test", Wrong},
		{"out-host-sub", nil, []string{"example.test"}, "out-host-sub@sub.example.test", Verified},
		{"out-domain", nil, []string{".example.test"}, "out-domain@sub.example.test", Wrong},
		{"elsewhere", []string{"other.test"}, nil, "elsewhere@example.test", Wrong},
	}
	for i, test := range tests {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		issuer := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i) + 1), Subject: pkix.Name{CommonName: "Constrained " + test.name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
			PermittedDNSDomainsCritical: true, PermittedEmailAddresses: test.permitted, ExcludedEmailAddresses: test.excluded,
		}
		authority, err := x509.CreateCertificate(rand.Reader, issuer, issuer, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i) + 100), Subject: pkix.Name{CommonName: "user"}, EmailAddresses: []string{test.address},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 6, 0),
			KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
		}
		der, err := x509.CreateCertificate(rand.Reader, leaf, issuer, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		w.files["/"+test.name] = testcert.PEM(der, authority)
		w.publish(test.address, authority, []string{"2 0 1"}, w.url("example.test", "/"+test.name))

		root, user := filepath.Join(dir, test.name+".root"), filepath.Join(dir, test.name+".user")
		for path, cert := range map[string][]byte{root: authority, user: der} {
			if err := os.WriteFile(path, testcert.PEM(cert), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		out, err := exec.Command("openssl", "verify", "-CAfile", root, "-no-CApath", "-no-CAstore", user).CombinedOutput()
		if (err == nil) != (test.want == Verified) {
			t.Errorf("%s: openssl verify says otherwise: %v\n%s", test.name, err, out)
		}
	}
	c := w.client()
	for _, test := range tests {
		w.expect(c, test.address, test.want)
	}
}
