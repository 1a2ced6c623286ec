package publish

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"coredns-smimea/certsource/directory"
	"coredns-smimea/internal/testcert"
	"coredns-smimea/smimea/zone"
)

// TestZoneComesBack holds that a zone which leaves the Corefile and comes back has what it
// had, though nobody can read it again meanwhile, and what has changed meanwhile; and that
// it is forgotten where all can be read again.
func TestZoneComesBack(t *testing.T) {
	const users = 60
	renew := func(t *testing.T, dir string) {
		t.Helper()
		if err := testcert.Write(filepath.Join(dir, "b", "0", "user59.pem"), testcert.Template{Addresses: []string{"another@example.net"}}); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		trouble func(t *testing.T, dir string)
		changed bool // while the zone was away, which can be seen
		owners  int  // of the zone when it comes back
		kept    bool // the zone, while it was away
	}{
		"all is well": {func(*testing.T, string) {}, true, users, false},
		"held back": {func(t *testing.T, dir string) {
			for n := range users - 1 {
				if err := os.Remove(filepath.Join(dir, "b", "0", fmt.Sprintf("user%d.pem", n))); err != nil {
					t.Fatal(err)
				}
			}
		}, true, users, true},
		"torn": {func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, "b", "0", "user1.pem"), 100); err != nil {
				t.Fatal(err)
			}
		}, true, users, true},
		"not mounted": {func(t *testing.T, dir string) { away(t, dir) }, false, users, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "certs")
			writeUsers(t, filepath.Join(dir, "a"), 0, users, "example.com")
			writeUsers(t, filepath.Join(dir, "b"), 0, users, "example.net")
			config := func(domains ...string) Config {
				c := aConfig(t, dir, domains...)
				c.State, c.MaxWithdraw = "", 30
				return c
			}
			p := newPublisher(config("example.com", "example.net"), Real())
			p.begin(t.Context(), nil)
			p.look(t.Context())
			wantAll(t, p, users)
			for p.irreplaceable.Load() { // what was written just now may be written still
				p.look(t.Context())
			}
			c.trouble(t, dir)
			p.look(t.Context())
			p = successor(t, p, config("example.com"))
			p.look(t.Context())
			p.look(t.Context())
			if len(p.ZonesOf("example.net")) > 0 || len(p.Snapshot().Zones) != 2 || p.foreign != users {
				t.Fatalf("the zone is served though it has left, %d files are of no zone", p.foreign)
			}
			if kept := len(p.Snapshot().departed) > 0; kept != c.kept {
				t.Errorf("it is kept: %v", kept)
			}
			if c.changed {
				renew(t, dir)
				p.look(t.Context())
			}
			// Another reload, which does not concern it.
			other := config("example.com")
			other.MaxWithdraw = 31
			p = successor(t, p, other)
			if c.kept {
				p.look(t.Context())
			}
			p = successor(t, p, config("example.com", "example.net"))
			for _, i := range p.ZonesOf("example.net") {
				if z := p.Zone(i); c.kept && (z == nil || z.Owners(zone.Tree(i%2)) < c.owners) {
					t.Errorf("it is not served at once, but %v", z)
				}
			}
			p.look(t.Context())
			wantAll(t, p, c.owners)
			has := func(local string) bool {
				z := p.Zone(p.ZonesOf("example.net")[1])
				for rrs := range z.Records() {
					for _, rr := range rrs {
						if rr.Header().Name == local+"._smime.example.net." {
							return true
						}
					}
				}
				return false
			}
			if has("another") != c.changed || has("first.last59") == c.changed || !has("first.last1") && name != "torn" {
				t.Error("it has not what has changed while it was away")
			}
			if p.foreign != 0 || len(p.Snapshot().departed) != 0 {
				t.Errorf("%d files are of no zone, %d zones have left", p.foreign, len(p.Snapshot().departed))
			}
			if name == "held back" {
				later := time.Now().Add(time.Second)
				if err := os.WriteFile(filepath.Join(dir, directory.ConfirmFile), nil, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Chtimes(filepath.Join(dir, directory.ConfirmFile), later, later); err != nil {
					t.Fatal(err)
				}
				p.look(t.Context())
				if n := p.Zone(p.ZonesOf("example.net")[0]).Owners(zone.Certs); n != 1 {
					t.Errorf("%d are left after their withdrawal was confirmed", n)
				}
			}
		})
	}
}

// TestBlockComesBack holds the same of a block that leaves the Corefile as a whole.
func TestBlockComesBack(t *testing.T) {
	const users = 40
	dir := filepath.Join(t.TempDir(), "certs")
	writeUsers(t, dir, 0, users, "example.com")
	acquire := func(domain string) *Lease {
		t.Helper()
		c := aConfig(t, dir, domain)
		c.State, c.Reload = "", time.Hour
		l, err := Acquire(c, Holder{Instance: NewInstance()})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := acquire("example.com")
	wantAll(t, l.Publisher, users)
	back := away(t, dir)
	look := func(then func()) {
		looked := make(chan struct{})
		l.Do(t.Context(), func() { l.look(t.Context()); then(); close(looked) })
		<-looked
	}
	look(func() {})
	l.Release()
	l = acquire("example.com")
	wantAll(t, l.Publisher, users)
	back()
	look(func() {
		for l.irreplaceable.Load() { // what was written just now may be written still
			l.look(t.Context())
		}
	})
	l.Release()
	publishers.Lock()
	defer publishers.Unlock()
	if publishers.retired[l.config.readKey()] != nil {
		t.Error("a publisher is kept for nothing")
	}
}
