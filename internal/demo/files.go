package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/internal/zoo"
)

// makeCertificates fills dir with what an operator's directory holds: users' own
// certificates, and two files that are not to be published.
func makeCertificates(dir string) error {
	encrypts := map[zoo.Key]x509.KeyUsage{
		zoo.RSA2048: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		zoo.P256:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement,
	}
	now := time.Now()
	for _, c := range []struct {
		file      string
		key       zoo.Key
		addresses []string
		notAfter  time.Time
	}{
		{"alice.crt", zoo.RSA2048, []string{"alice@example.com"}, now.AddDate(1, 0, 0)},
		{"bob.crt", zoo.P256, []string{"bob@example.com", "robert.jones@example.com"}, now.AddDate(1, 0, 0)},
		{"sales/carol_smith.crt", zoo.P256, []string{"carol.smith@example.com"}, now.AddDate(2, 0, 0)},
		{"dave.der", zoo.RSA2048, []string{"Dave@example.com"}, now.AddDate(0, 6, 0)},
		{"eve-expired.crt", zoo.P256, []string{"eve@example.com"}, now.AddDate(0, 0, -1)},
	} {
		path := filepath.Join(dir, c.file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		signer, err := zoo.NewSigner(c.key)
		if err != nil {
			return err
		}
		err = zoo.Write(path, zoo.Template{
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
	signer, err := zoo.NewSigner(zoo.P256)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(signer.Key)
	if err != nil {
		return err
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return os.WriteFile(filepath.Join(dir, "mallory-key.pem"), key, 0o600)
}

// makeKey writes a DNSSEC key as dnssec-keygen does, but under the name that is in
// corefile.example, and a file of trust anchors for delv.
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
	anchors := "trust-anchors {\n"
	for _, zone := range []string{"_smimecert.example.com", "_smime.example.com"} {
		anchors += fmt.Sprintf("\t%q static-key %d %d %d %q;\n", zone, key.Flags, key.Protocol, key.Algorithm, key.PublicKey)
	}
	anchors += "};\n"
	for _, f := range []struct {
		name, text string
		mode       os.FileMode
	}{
		{"Kexample.com.key", key.String() + "\n", 0o644},
		{"Kexample.com.private", key.PrivateKeyString(private), 0o600},
		{"anchors", anchors, 0o644},
	} {
		if err := os.WriteFile(filepath.Join(dir, f.name), []byte(f.text), f.mode); err != nil {
			return err
		}
	}
	return nil
}
