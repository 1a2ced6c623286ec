package discover

import (
	"bytes"
	"testing"

	"coredns-smimea/internal/zoo"
)

// TestSplitBER takes a bundle of indefinite length, as some web servers have.
func TestSplitBER(t *testing.T) {
	der := user(t, "u@example.test")
	bundle := pkcs7(der)
	outer := bundle[4:] // of a SEQUENCE of two length octets
	ber := append(append([]byte{0x30, 0x80}, outer...), 0, 0)
	certs, err := splitBundle(ber)
	if err != nil || len(certs) != 1 || !bytes.Equal(certs[0], der) {
		t.Errorf("splitBundle = %d certificates, %v", len(certs), err)
	}
}

// FuzzSplitBundle holds that what comes out is a SEQUENCE, each.
func FuzzSplitBundle(f *testing.F) {
	der, err := zoo.Template{Addresses: []string{"u@example.test"}}.DER()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	f.Add(zoo.PEM(der, der))
	f.Add(pkcs7(der))
	f.Add([]byte("-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		certs, err := splitBundle(data)
		if (err == nil) != (len(certs) > 0) {
			t.Fatalf("%d certificates, and %v", len(certs), err)
		}
		for _, cert := range certs {
			if len(cert) < 2 || cert[0] != 0x30 {
				t.Fatalf("%x is no SEQUENCE", cert)
			}
		}
		hasPrivateKey(data)
	})
}
