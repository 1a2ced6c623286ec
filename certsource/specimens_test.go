package certsource

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"coredns-smimea/internal/testcert"
)

func TestSpecimens(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	specimens, err := testcert.Make(dir, now, "example.com", "example.org")
	if err != nil {
		t.Fatal(err)
	}
	roots := &Roots{}
	roots.Read(testcert.PEM(testcert.Shared().Certificate))
	for _, s := range specimens {
		t.Run(s.Path, func(t *testing.T) {
			// Names that are not looked at are no matter for Parse.
			if named := IsCertificateName(filepath.Base(s.Path)); named != (s.Published || s.Reason != "") {
				t.Fatalf("IsCertificateName: %v", named)
			} else if !named {
				return
			}
			data, err := os.ReadFile(filepath.Join(dir, s.Path))
			if err != nil {
				t.Fatal(err)
			}
			before := bytes.Clone(data)
			cert, err := Parse(data)
			if !bytes.Equal(data, before) {
				t.Fatal("Parse has changed the data")
			}
			if s.Reason != "" && s.Reason != string(Expired) {
				checkRefusal(t, err, Reason(s.Reason))
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkSpecimen(t, cert, s)
			err = cert.Chains(roots, now)
			if s.Chains && err != nil {
				t.Errorf("Chains: %v", err)
			}
			if !s.Chains && s.Reason == "" {
				checkRefusal(t, err, Untrusted)
			}
		})
	}
}

func checkSpecimen(t *testing.T, cert *Certificate, s testcert.Specimen) {
	t.Helper()
	if sha256.Sum256(cert.Raw) != s.CertificateSHA256 {
		t.Error("another certificate")
	}
	if sha256.Sum256(cert.SPKI) != s.SPKISHA256 {
		t.Error("another key")
	}
	if !slices.Equal(cert.Addresses, s.Addresses) {
		t.Errorf("addresses %q, want %q", cert.Addresses, s.Addresses)
	}
	if cert.Encrypts != s.Encrypts {
		t.Errorf("encrypts: %v", cert.Encrypts)
	}
	if !cert.NotBefore.Equal(s.NotBefore) || !cert.NotAfter.Equal(s.NotAfter) {
		t.Errorf("valid from %v to %v, want %v to %v", cert.NotBefore, cert.NotAfter, s.NotBefore, s.NotAfter)
	}

	// openssl finds the same key in the file.
	public, err := testcert.OpenSSL(cert.Raw, "x509", "-inform", "DER", "-noout", "-pubkey")
	if err != nil {
		t.Fatal(err)
	}
	spki, err := testcert.OpenSSL(public, "pkey", "-pubin", "-outform", "DER")
	if err != nil {
		t.Fatal(err)
	}
	if sha256.Sum256(spki) != s.SPKISHA256 {
		t.Error("openssl finds another key")
	}
}

func checkRefusal(t *testing.T, err error, want Reason) {
	t.Helper()
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("got %v, want a refusal for %s", err, want)
	}
	if refusal.Reason != want {
		t.Fatalf("refused for %s, want %s: %v", refusal.Reason, want, err)
	}
	if _, ok := words[refusal.Reason]; !ok {
		t.Errorf("no words for %s", refusal.Reason)
	}
	if strings.ContainsAny(refusal.Detail, "@\n\x00") {
		t.Errorf("detail %q may quote the file", refusal.Detail)
	}
	t.Log(err)
}
