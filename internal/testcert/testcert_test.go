package testcert

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
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

// TestMake: what a specimen says of a file agrees with what crypto/x509 reads,
// where it reads it, and no two files claim one name.
func TestMake(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	specimens, err := Make(dir, now, "example.com", "example.org")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(PEM(Shared().Certificate))
	seen := make(map[string]bool)
	published, unread := 0, 0
	for _, s := range specimens {
		if seen[s.Path] {
			t.Errorf("%s: made twice", s.Path)
		}
		seen[s.Path] = true
		if _, err := os.Stat(filepath.Join(dir, s.Path)); err != nil {
			t.Error(err)
		}
		if s.Published && s.Reason != "" {
			t.Errorf("%s: published, and refused for %s", s.Path, s.Reason)
		}
		if !s.Published {
			continue
		}
		published++
		if len(s.Addresses) == 0 {
			t.Errorf("%s: no address", s.Path)
		}
		cert, err := x509.ParseCertificate(s.Certificate)
		if err != nil {
			if unread++; s.Chains {
				t.Errorf("%s: %v", s.Path, err)
			}
			continue
		}
		if !bytes.Equal(cert.RawSubjectPublicKeyInfo, s.SPKI) || !cert.NotAfter.Equal(s.NotAfter) || !cert.NotBefore.Equal(s.NotBefore) {
			t.Errorf("%s: another key, or other dates", s.Path)
		}
	}
	t.Logf("%d files, %d published, %d of them unread by crypto/x509", len(specimens), published, unread)
	if published < 50 || unread < 5 {
		t.Error("there are fewer specimens than there were")
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.pem", "a.crt", "a.cer", "a.der"} {
		path := filepath.Join(dir, name)
		if err := Write(path, Template{Addresses: []string{"alice@example.com"}}); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if block, _ := pem.Decode(data); block != nil {
			data = block.Bytes
		} else if filepath.Ext(name) != ".der" && filepath.Ext(name) != ".cer" {
			t.Errorf("%s is no PEM", name)
		}
		if _, err := x509.ParseCertificate(data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Write(filepath.Join(dir, "missing", "a.pem"), Template{}); err == nil {
		t.Error("written into a folder that is missing")
	}
}

// BenchmarkWrite writes files as tests with many users do.
func BenchmarkWrite(b *testing.B) {
	dir := b.TempDir()
	for i := 0; b.Loop(); i++ {
		// To write over a file costs a flush of it on some file systems.
		path := filepath.Join(dir, strconv.Itoa(i)+".pem")
		if err := Write(path, Template{Addresses: []string{"user@example.com"}}); err != nil {
			b.Fatal(err)
		}
	}
}
