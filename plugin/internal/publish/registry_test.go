package publish

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestOneStateTwoNames holds that two blocks do not keep their states in one file,
// by whatever names.
func TestOneStateTwoNames(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "certs")
	writeUsers(t, dir, 0, 1, "example.com")
	if err := os.Symlink(root, filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	instance := NewInstance()
	acquire := func(domain, state string) (*Lease, error) {
		c := aConfig(t, dir, domain)
		c.State = state
		return Acquire(c, Holder{Instance: instance, Where: "Corefile:7"})
	}
	l, err := acquire("example.com", filepath.Join(root, "state"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	for _, state := range []string{root + "/state", root + "/./state", root + "//state", root + "/link/state", root + "/certs/../link/link/state"} {
		l, err := acquire("example.net", state)
		if err == nil {
			t.Errorf("%s is kept, too", state)
			l.Release()
		} else if !strings.Contains(err.Error(), "Corefile:7") {
			t.Error(err)
		}
	}
}

// TestFirstStart holds that a process starts though directories of several blocks
// cannot be read, and that a reload that finds such a directory fails.
func TestFirstStart(t *testing.T) {
	const users = 3
	dir := filepath.Join(t.TempDir(), "certs")
	writeUsers(t, dir, 0, users, "example.com")
	back := away(t, dir)
	first, second := NewInstance(), NewInstance()
	lease := func(instance int, domain string, ttl time.Duration) *Lease {
		t.Helper()
		c := aConfig(t, dir, domain)
		c.State, c.TTL, c.Reload = "", ttl, time.Millisecond
		l, err := Acquire(c, Holder{Instance: instance})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.Release)
		return l
	}
	var leases []*Lease
	for _, domain := range []string{"example.com", "example.net", "example.com"} {
		l := lease(first, domain, time.Hour)
		if err := l.Wait(t.Context()); err != nil {
			t.Fatalf("%s at the first start: %v", domain, err)
		}
		leases = append(leases, l)
	}
	if l := lease(second, "example.com", time.Minute); l.Wait(t.Context()) == nil {
		t.Error("the reload has not failed")
	}
	back()
	for _, l := range leases {
		<-l.ready
	}
	wantAll(t, leases[0].Publisher, users)
}
