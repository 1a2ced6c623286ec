package discover

import (
	"bytes"
	"testing"

	"coredns-smimea/internal/zoo"
)

// FuzzSplitBundle holds that what comes out was in there, or is what a PEM block
// says, and is a SEQUENCE.
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
			if !bytes.Contains(data, []byte("-----BEGIN ")) && !bytes.Contains(data, cert) {
				t.Fatalf("%x was not in the data", cert)
			}
		}
		hasPrivateKey(data)
	})
}
