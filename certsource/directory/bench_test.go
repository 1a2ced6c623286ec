package directory

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"testing"

	"coredns-smimea/certsource"
	"coredns-smimea/internal/testcert"
)

func benchmarkFile(b *testing.B, key testcert.Key) []byte {
	b.Helper()
	der, err := testcert.Template{
		Addresses: []string{"firstname.lastname@example.com"},
		Key:       key,
		KeyUsage:  x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		EKU:       []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	}.DER()
	if err != nil {
		b.Fatal(err)
	}
	return testcert.PEM(der)
}

var benchmarkKeys = []struct {
	name string
	key  testcert.Key
}{{"P256", testcert.P256}, {"RSA2048", testcert.RSA2048}}

// BenchmarkParse reads a file and hashes its key. BenchmarkPlainLoop does the
// same with the standard library; Parse must be no slower.
func BenchmarkParse(b *testing.B) {
	for _, bb := range benchmarkKeys {
		b.Run(bb.name, func(b *testing.B) {
			data := benchmarkFile(b, bb.key)
			b.ReportAllocs()
			for b.Loop() {
				cert, err := certsource.Parse(data)
				if err != nil {
					b.Fatal(err)
				}
				sink = sha256.Sum256(cert.SPKI)
			}
		})
	}
}

func BenchmarkPlainLoop(b *testing.B) {
	for _, bb := range benchmarkKeys {
		b.Run(bb.name, func(b *testing.B) {
			data := benchmarkFile(b, bb.key)
			b.ReportAllocs()
			for b.Loop() {
				block, _ := pem.Decode(data)
				cert, err := x509.ParseCertificate(block.Bytes)
				if err != nil {
					b.Fatal(err)
				}
				sink = sha256.Sum256(cert.RawSubjectPublicKeyInfo)
			}
		})
	}
}

var sink [sha256.Size]byte
