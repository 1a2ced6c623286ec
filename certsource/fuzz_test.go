package certsource

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
	"unicode/utf8"

	"coredns-smimea/internal/testcert"
)

// FuzzParse demands of every input: a Refusal that can be logged, or a
// certificate that can be published and reads the same from its own DER.
func FuzzParse(f *testing.F) {
	for _, data := range specimenFiles(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		cert, err := Parse(data)
		if !bytes.Equal(data, before) {
			t.Fatal("the data is changed")
		}
		var refusal *Refusal
		if err != nil {
			if !errors.As(err, &refusal) || refusal.Reason == "" || cert != nil {
				t.Fatalf("%v, %v is no refusal", cert, err)
			}
			return
		}
		if len(cert.Raw) == 0 || len(cert.SPKI) == 0 || len(cert.Addresses) == 0 || cert.NotAfter.IsZero() {
			t.Fatalf("incomplete: %+v", cert)
		}
		for _, address := range cert.Addresses {
			if !utf8.ValidString(address) || len(address) > maxAddress {
				t.Fatalf("address %q", address)
			}
		}
		again, err := Parse(cert.Raw)
		if err != nil {
			t.Fatalf("parsing its DER: %v", err)
		}
		if !bytes.Equal(again.Raw, cert.Raw) || !bytes.Equal(again.SPKI, cert.SPKI) ||
			!slices.Equal(again.Addresses, cert.Addresses) || again.Encrypts != cert.Encrypts ||
			!again.NotBefore.Equal(cert.NotBefore) || !again.NotAfter.Equal(cert.NotAfter) {
			t.Fatalf("its DER has other values: %+v, %+v", cert, again)
		}
	})
}

// FuzzPKCS7 demands that the certificates found in a bundle are found in a
// bundle made of them.
func FuzzPKCS7(f *testing.F) {
	for path, data := range specimenFiles(f) {
		if firstTag(data) == 0x06 {
			f.Logf("seed %s", path)
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if firstTag(data) != 0x06 {
			return
		}
		certs, _ := ReadAll(data)
		if len(certs) == 0 {
			return
		}
		again, unused := ReadAll(testcert.PKCS7BER(certs...))
		if len(unused) > 0 {
			t.Fatal(unused)
		}
		if !slices.EqualFunc(certs, again, bytes.Equal) {
			t.Fatal("other certificates")
		}
	})
}

// specimenFiles returns the content of the specimens, but for the largest.
func specimenFiles(f *testing.F) map[string][]byte {
	f.Helper()
	dir := f.TempDir()
	specimens, err := testcert.Make(dir, time.Now(), "example.com", "example.org")
	if err != nil {
		f.Fatal(err)
	}
	files := make(map[string][]byte)
	for _, s := range specimens {
		data, err := os.ReadFile(filepath.Join(dir, s.Path))
		if err != nil {
			f.Fatal(err)
		}
		if len(data) < 20_000 {
			files[s.Path] = data
		}
	}
	return files
}
