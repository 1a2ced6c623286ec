package certhost

import (
	"os"
	"path/filepath"
	"testing"
)

// A renewed pair is taken up; while it is bad or half written, the last good
// one serves.
func TestPairRenewed(t *testing.T) {
	dir := t.TempDir()
	// As Kubernetes mounts a secret: the files are links into a directory that
	// is swapped by turning one link.
	secret := func(name, host string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		certFile, keyFile := serverPair(t, filepath.Join(dir, name), host)
		os.Rename(certFile, filepath.Join(dir, name, "tls.crt"))
		os.Rename(keyFile, filepath.Join(dir, name, "tls.key"))
	}
	turn := func(to string) {
		t.Helper()
		os.Symlink(to, filepath.Join(dir, "new"))
		if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	secret("1", "one.example")
	secret("2", "two.example")
	secret("3", "three.example")
	turn("1")
	certFile, keyFile := filepath.Join(dir, "..data", "tls.crt"), filepath.Join(dir, "..data", "tls.key")
	files, _ := one(t, "example.com", "alice.crt", "alice")
	log := newRecorder()
	lease := start(t, Config{Domains: []string{"example.com"}, TLS: &TLS{CertFile: certFile, KeyFile: keyFile}, Log: log, Metrics: log}, files)
	shows := func(name string) {
		t.Helper()
		eventually(t, "shown: "+name, func() bool { return shownName(t, lease, "example.com") == name })
	}
	shows("one.example")
	turn("2")
	shows("two.example")
	eventually(t, "its expiry", func() bool {
		return log.see(func() bool { return log.expiry["one.example"].IsZero() && !log.expiry["two.example"].IsZero() })
	})

	warned := func(n int) func() bool {
		return func() bool {
			return log.see(func() bool {
				count := 0
				for _, line := range log.lines {
					if line[:7] == "warning" {
						count++
					}
				}
				return count == n
			})
		}
	}
	// The new certificate comes before its key, cut short first.
	cert3, _ := os.ReadFile(filepath.Join(dir, "3", "tls.crt"))
	key3, _ := os.ReadFile(filepath.Join(dir, "3", "tls.key"))
	replace := func(file string, data []byte) { // in one step: to be empty is another reason
		t.Helper()
		write(t, file+".new", data)
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	replace(certFile, cert3[:len(cert3)/2])
	eventually(t, "warning", warned(1))
	replace(certFile, cert3)
	eventually(t, "warning of another reason", warned(2))
	if got := shownName(t, lease, "example.com"); got != "two.example" {
		t.Errorf("with a bad pair: %s", got)
	}
	os.Remove(keyFile)
	eventually(t, "warning of a third", warned(3))
	replace(keyFile, key3)
	shows("three.example")
	if !warned(3)() {
		log.dump(t)
		t.Error("a reason is said more than once")
	}
	lease.Release()
	if !log.see(func() bool { return log.expiry["three.example"].IsZero() }) {
		t.Error("expiry is still told after release")
	}
}
