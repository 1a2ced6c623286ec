package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/internal/testcert"
)

// makeCertificates fills certs, below dir, with what an operator's directory holds: users'
// own certificates, and two files that are not to be published. Beside it waits another
// certificate.
func makeCertificates(dir string) error {
	encrypts := map[testcert.Key]x509.KeyUsage{
		testcert.RSA2048: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		testcert.P256:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement,
	}
	now := time.Now()
	for _, c := range []struct {
		file      string
		key       testcert.Key
		addresses []string
		notAfter  time.Time
	}{
		{"certs/alice.crt", testcert.RSA2048, []string{"alice@example.com"}, now.AddDate(1, 0, 0)},
		{"certs/bob.crt", testcert.P256, []string{"bob@example.com", "robert.jones@example.com"}, now.AddDate(1, 0, 0)},
		{"certs/sales/carol_smith.crt", testcert.P256, []string{"carol.smith@example.com"}, now.AddDate(2, 0, 0)},
		{"certs/dave.der", testcert.RSA2048, []string{"Dave@example.com"}, now.AddDate(0, 6, 0)},
		{"certs/eve-expired.crt", testcert.P256, []string{"eve@example.com"}, now.AddDate(0, 0, -1)},
		{"frank.crt", testcert.P256, []string{"frank@example.com"}, now.AddDate(1, 0, 0)},
	} {
		path := filepath.Join(dir, c.file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		signer, err := testcert.NewSigner(c.key)
		if err != nil {
			return err
		}
		err = testcert.Write(path, testcert.Template{
			Addresses:  c.addresses,
			CommonName: c.addresses[0],
			NotBefore:  now.AddDate(-1, 0, 0),
			NotAfter:   c.notAfter,
			KeyUsage:   encrypts[c.key],
			EKU:        []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
			Signer:     signer,
		})
		if err != nil {
			return err
		}
	}

	// A private key that somebody left in the directory.
	signer, err := testcert.NewSigner(testcert.P256)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(signer.Key)
	if err != nil {
		return err
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return os.WriteFile(filepath.Join(dir, "certs", "mallory-key.pem"), key, 0o600)
}

// makeKey writes the DNSSEC key that signs all zones, as dnssec-keygen does, a file of
// trust anchors for delv, and the zone above those of the certificates.
func makeKey(dir string) error {
	key := &dns.DNSKEY{
		Hdr:       dns.RR_Header{Name: "example.com.", Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 3600},
		Flags:     dns.ZONE | dns.SEP,
		Protocol:  3,
		Algorithm: dns.ECDSAP256SHA256,
	}
	private, err := key.Generate(256)
	if err != nil {
		return err
	}
	anchors := fmt.Sprintf("trust-anchors {\n\t%q static-key %d %d %d %q;\n};\n", "example.com", key.Flags, key.Protocol, key.Algorithm, key.PublicKey)
	zone := `example.com.     3600 IN SOA ns1.example.com. hostmaster.example.com. 1 3600 900 1209600 300
example.com.     3600 IN NS  ns1.example.com.
example.com.     3600 IN A   127.0.0.1
ns1.example.com. 3600 IN A   127.0.0.1
`
	for _, name := range []string{"_smimecert.example.com.", "_smime.example.com."} {
		below := dns.Copy(key).(*dns.DNSKEY)
		below.Hdr.Name = name // which is hashed into the DS record
		zone += name + " 3600 IN NS ns1.example.com.\n" + below.ToDS(dns.SHA256).String() + "\n"
	}
	for _, f := range []struct {
		name, text string
		mode       os.FileMode
	}{
		{"Kexample.com.key", key.String() + "\n", 0o644},
		{"Kexample.com.private", key.PrivateKeyString(private), 0o600},
		{"anchors", anchors, 0o644},
		{"db.example.com", zone, 0o644},
	} {
		if err := os.WriteFile(filepath.Join(dir, f.name), []byte(f.text), f.mode); err != nil {
			return err
		}
	}
	return nil
}

// makeTLS writes an authority of the demo's own, ca.crt, and the TLS certificate that it
// issues to example.com. The authority's key is kept nowhere.
func makeTLS(dir string) error {
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "The demo's authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	host := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "example.com"}, DNSNames: []string{"example.com"},
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	hostKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ca, err := x509.CreateCertificate(rand.Reader, authority, authority, caKey.Public(), caKey)
	if err != nil {
		return err
	}
	cert, err := x509.CreateCertificate(rand.Reader, host, authority, hostKey.Public(), caKey)
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(hostKey)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name, label string
		der         []byte
		mode        os.FileMode
	}{
		{"ca.crt", "CERTIFICATE", ca, 0o644},
		{"tls.crt", "CERTIFICATE", cert, 0o644},
		{"tls.key", "PRIVATE KEY", key, 0o600},
	} {
		text := pem.EncodeToMemory(&pem.Block{Type: f.label, Bytes: f.der})
		if err := os.WriteFile(filepath.Join(dir, f.name), text, f.mode); err != nil {
			return err
		}
	}
	return nil
}
