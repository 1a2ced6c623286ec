package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coredns-smimea/internal/testcert"
)

// TestLists holds which lists count: those of an authority that is known, and none from the
// future.
func TestLists(t *testing.T) {
	dir := t.TempDir()
	middle, err := testcert.NewAuthority("Middle", testcert.Shared())
	if err != nil {
		t.Fatal(err)
	}
	user, err := testcert.Template{Addresses: []string{"a@example.com"}, Issuer: middle}.DER()
	if err != nil {
		t.Fatal(err)
	}
	der, err := middle.Revoke(1, user)
	if err != nil {
		t.Fatal(err)
	}
	list, authority := filepath.Join(dir, "list.crl"), filepath.Join(dir, "middle.pem")
	for name, data := range map[string][]byte{list: der, authority: testcert.PEM(middle.Certificate)} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	nobody := func() ([][]byte, error) { return nil, nil }
	now := time.Now()
	set, err := readLists([]string{list}, []string{authority}, now, nobody)
	if err != nil || set.Revoked(user) == nil {
		t.Errorf("the list does not count: %v", err)
	}
	for what, test := range map[string]struct {
		authorities []string
		now         time.Time
	}{"not known": {nil, now}, "in the future": {[]string{authority}, now.AddDate(0, 0, -1)}} {
		if _, err := readLists([]string{list}, test.authorities, test.now, nobody); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v; want it to say %q", err, what)
		}
	}
}
