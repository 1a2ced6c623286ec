package publish

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"coredns-smimea/internal/disk/fake"
)

// TestPauseAfterRest holds that a look which waited for changes to come to rest is
// not taken for one that is much work.
func TestPauseAfterRest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	p := aPublisher(t, dir, 3)
	defer p.closeWatch()
	p.config.Reload = time.Second
	p.look(t.Context())
	if err := os.Remove(filepath.Join(dir, "0", "user1.pem")); err != nil {
		t.Fatal(err)
	}
	p.look(t.Context())
	if p.directory.Published() != 2 {
		t.Errorf("%d are published", p.directory.Published())
	}
	if pause := p.pause(); pause > 10*time.Second {
		t.Errorf("the next look is in %v", pause)
	}
}

// TestManyFoldersRemoved holds that the removal of many folders does not have all that are
// left looked at, again and again, while it goes on.
func TestManyFoldersRemoved(t *testing.T) {
	const folders, removed = 6000, 2500
	m := fake.New(time.Now())
	c := aConfig(t, "/certs", "example.com")
	w := Real()
	w.System, w.Workers = m, 1
	p := newPublisher(c, w)
	defer p.forget()
	defer p.closeWatch()
	folder := func(n int) string { return fmt.Sprintf("/certs/%d", n) }
	for n := range folders {
		if err := m.MkdirAll(folder(n)); err != nil {
			t.Fatal(err)
		}
	}
	p.look(t.Context())
	p.look(t.Context()) // what was made just now has come to rest
	m.Deliver(nil)
	p.takeHeard(nil)
	for n := range removed {
		if err := m.RemoveAll(folder(n)); err != nil {
			t.Fatal(err)
		}
	}
	m.Deliver(nil)
	if paths, all := p.takeHeard(nil); all || len(paths) != removed {
		t.Errorf("everything is looked at: %v, or %d paths", all, len(paths))
	}
	for n := range folders - removed {
		if err := m.RemoveAll(folder(removed + n)); err != nil {
			t.Fatal(err)
		}
	}
	m.Deliver(nil)
	if _, all := p.takeHeard(nil); !all {
		t.Error("nothing is left, and each of what was removed is looked for")
	}
}
