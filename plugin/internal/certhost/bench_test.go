package certhost

import (
	"bufio"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestBenchServer is what bench/https measures: this test binary as a host of
// the certificates in a directory, read and checked as the plugin does. It is
// no test of its own.
func TestBenchServer(t *testing.T) {
	dir := os.Getenv("CERTHOST_BENCH")
	if dir == "" {
		return
	}
	files := tree{}
	paths, err := filepath.Glob(filepath.Join(dir, "files", "*.crt"))
	if err != nil || len(paths) == 0 {
		t.Fatal("no files", err)
	}
	for _, path := range paths {
		der, err := readPEM(path)
		if err != nil {
			t.Fatal(err)
		}
		digest := sha256.Sum256(der)
		files[filepath.Base(path)] = Certificate{
			Digest: digest, NotAfter: time.Now().Add(24 * time.Hour), Modified: time.Now(), TTL: time.Hour,
			DER: func() ([]byte, error) {
				der, err := readPEM(path)
				if err == nil && sha256.Sum256(der) != digest {
					err = errors.New("changed")
				}
				return der, err
			},
		}
	}
	lease := start(t, Config{
		Domains: []string{"localhost"},
		TLS:     &TLS{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key")},
	}, files)
	fmt.Println("ready", lease.Addr())
	bufio.NewReader(os.Stdin).ReadByte()
}

// tree is a Files of one domain, by file name.
type tree map[string]Certificate

func (t tree) File(domain, path string) (Certificate, error) {
	c, ok := t[path]
	if !ok || domain != "localhost" {
		return c, ErrNotFound
	}
	return c, nil
}

func (t tree) ByHash(string, [28]byte) ([]Certificate, error) { return nil, ErrNotFound }

func readPEM(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("no PEM")
	}
	return block.Bytes, nil
}

// The handler alone, without net/http around it. The misses show whether they
// differ in time.
func BenchmarkHandler(b *testing.B) {
	files, _ := one(b, "example.com", "alice.crt", "alice")
	h := testHost(Config{Address: ":0", Domains: []string{"example.com"}}, files)
	for _, test := range []struct{ name, path, host string }{
		{"file", "alice.crt", "example.com"},
		{"label", label("alice") + ".crt", "example.com"},
		{"p7c", label("alice") + ".p7c", "example.com"},
		{"miss/file", "bob.crt", "example.com"},
		{"miss/label", label("bob") + ".crt", "example.com"},
		{"miss/host", "alice.crt", "example.org"},
		{"miss/path", "../alice.crt", "example.com"},
	} {
		b.Run(test.name, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodGet, Root+test.path, nil)
			r.Host = test.host
			w := discard{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				h.ServeHTTP(w, r)
			}
		})
	}
}

type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}
