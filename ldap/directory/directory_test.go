package directory

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	files "coredns-smimea/certsource/directory"
	"coredns-smimea/internal/harness"
	"coredns-smimea/internal/testcert"
	"coredns-smimea/ldap"
	"coredns-smimea/smimea"
)

func find(t *testing.T, d *Directory, text string) (ldap.Found, error) {
	t.Helper()
	a, err := smimea.ParseAddress(text)
	if err != nil {
		t.Fatal(err)
	}
	return d.Find(t.Context(), a)
}

// TestSpecimens holds that what is found is what the server publishes.
func TestSpecimens(t *testing.T) {
	dir := t.TempDir()
	specimens, err := testcert.Make(dir, time.Now(), "example.com", "example.org")
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	d, err := Open(Options{Dir: dir, Margin: time.Hour, Remarked: func(r files.Remark) { told += max(r.More, 1) }})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	published, refused := 0, 0
	for _, s := range specimens {
		if s.Reason != "" {
			refused++
		}
		if s.Published {
			published++
		}
		for _, text := range s.Addresses {
			a, err := smimea.ParseAddress(text)
			if err != nil {
				continue
			}
			for _, form := range []smimea.Address{a, a.Lower()} {
				found, err := d.Find(t.Context(), form)
				if err != nil {
					t.Errorf("%s: %v", s.Path, err)
				}
				has := false
				for _, c := range found.Certificates {
					has = has || bytes.Equal(c.Raw, s.Certificate)
				}
				if has != s.Published {
					t.Errorf("%s: found is %v; want %v", s.Path, has, s.Published)
				}
			}
		}
	}
	if told < refused {
		t.Errorf("of %d files that are left out %d are told of", refused, told)
	}
	if d.Published() != published {
		t.Errorf("%d published; want %d", d.Published(), published)
	}
}

// TestChain holds which certificates of a file go with its leaf, in which order.
func TestChain(t *testing.T) {
	middle, err := testcert.NewAuthority("Middle", testcert.Shared())
	if err != nil {
		t.Fatal(err)
	}
	low, err := testcert.NewAuthority("Low", middle)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := testcert.NewAuthority("Foreign", testcert.Shared())
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := testcert.Template{Addresses: []string{"hugh@example.com"}, Issuer: low}.DER()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "hugh.pem"), testcert.PEM(testcert.Shared().Certificate, foreign.Certificate, middle.Certificate, leaf, low.Certificate), 0o644); err != nil {
		t.Fatal(err)
	}
	d, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	found, err := find(t, d, "hugh@example.com")
	if err != nil || len(found.Certificates) != 1 {
		t.Fatal(found, err)
	}
	chain := found.Certificates[0].Chain
	if len(chain) != 2 || !bytes.Equal(chain[0], low.Certificate) || !bytes.Equal(chain[1], middle.Certificate) {
		t.Errorf("%d certificates in the chain, or others, or in another order", len(chain))
	}
}

// TestFollow holds that a file counts as soon as it is there, and no longer than
// that.
func TestFollow(t *testing.T) {
	dir := t.TempDir()
	told := ""
	d, err := Open(Options{Dir: dir, Exact: true, OtherCase: func(a smimea.Address) { told = a.String() }})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	has := func(address string, want bool) {
		t.Helper()
		if !harness.Wait(harness.Patience, nil, func() bool {
			found, err := find(t, d, address)
			return err == nil && (len(found.Certificates) == 1) == want
		}) {
			t.Errorf("%s: want found to be %v", address, want)
		}
	}
	file := filepath.Join(dir, "Hugh.pem")
	has("Hugh@example.com", false)
	if err := testcert.Write(file, testcert.Template{Addresses: []string{"Hugh@example.com"}}); err != nil {
		t.Fatal(err)
	}
	has("Hugh@example.com", true)
	has("hugh@example.com", false) // Exact
	if found, _ := find(t, d, "hugh@example.com"); told != "hugh@example.com" || !strings.Contains(found.Why, "another case") {
		t.Errorf("told of %q, %v", told, found)
	}
	if err := testcert.Write(file, testcert.Template{Addresses: []string{"bob@example.com"}}); err != nil {
		t.Fatal(err)
	}
	has("Hugh@example.com", false)
	has("bob@example.com", true)
	if found, _ := find(t, d, "BOB@example.com"); len(found.Certificates) > 0 || !strings.Contains(found.Why, "another case") {
		t.Errorf("in capitals: %v", found)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	has("bob@example.com", false)
	if _, err := Open(Options{Dir: filepath.Join(dir, "nowhere")}); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("a directory that is not there: %v", err)
	}
}

// TestSources holds that several sources are asked in turn, and that a failure is
// not "none".
func TestSources(t *testing.T) {
	dir := t.TempDir()
	if err := testcert.Write(filepath.Join(dir, "hugh.pem"), testcert.Template{Addresses: []string{"hugh@example.com"}}); err != nil {
		t.Fatal(err)
	}
	d, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	hugh, _ := smimea.ParseAddress("hugh@example.com")
	nobody, _ := smimea.ParseAddress("nobody@example.com")
	down := failing{errors.New("down")}
	if found, err := (ldap.Sources{down, d}).Find(t.Context(), hugh); err != nil || len(found.Certificates) != 1 {
		t.Errorf("found by the second: %v, %v", found, err)
	}
	if _, err := (ldap.Sources{d, down}).Find(t.Context(), hugh); err != nil {
		t.Errorf("found by the first: %v", err)
	}
	for _, s := range []ldap.Sources{{down, d}, {d, down}} {
		if _, err := s.Find(t.Context(), nobody); !errors.Is(err, down.error) {
			t.Errorf("not found, and one is down: %v", err)
		}
	}
	if _, err := (ldap.Sources{d, d}).Find(t.Context(), nobody); err != nil {
		t.Errorf("not found: %v", err)
	}
}

type failing struct{ error }

func (f failing) Find(context.Context, smimea.Address) (ldap.Found, error) {
	return ldap.Found{}, f.error
}
