package zoo

import (
	"crypto/x509"
	"testing"
)

func TestTemplateMakesWhatGoReads(t *testing.T) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(PEM(Shared().Certificate))
	for _, key := range []Key{P256, P384, Ed25519, RSA2048} {
		der, err := Template{
			Addresses: []string{"alice@example.com"},
			Key:       key,
			KeyUsage:  x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
			EKU:       []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
		}.DER()
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatalf("key %d: %v", key, err)
		}
		if len(cert.EmailAddresses) != 1 || cert.EmailAddresses[0] != "alice@example.com" {
			t.Errorf("key %d: addresses %q", key, cert.EmailAddresses)
		}
		if cert.KeyUsage != x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment {
			t.Errorf("key %d: key usage %b", key, cert.KeyUsage)
		}
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}}); err != nil {
			t.Errorf("key %d: %v", key, err)
		}
	}
}

func BenchmarkDER(b *testing.B) {
	for _, bb := range []struct {
		name string
		key  Key
	}{{"P256", P256}, {"RSA2048", RSA2048}} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := (Template{Addresses: []string{"user@example.com"}, Key: bb.key}).DER(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
