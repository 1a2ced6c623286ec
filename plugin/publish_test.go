package plugin

import (
	"context"
	"os"
	"testing"

	"coredns-smimea/smimea/zone"
)

// TestBeforeTheFirstLook holds that until a look at everything has succeeded every
// event leads to another one: nothing is published from a part of the directory,
// and so nobody is denied who has not been looked for.
func TestBeforeTheFirstLook(t *testing.T) {
	dir := t.TempDir()
	first := aPublisher(t, dir, 30)
	first.look(t.Context())
	first.saver.finish()
	for _, kept := range []string{"none", "stale"} {
		t.Run(kept, func(t *testing.T) {
			p := anotherPublisher(t, dir)
			if kept == "none" {
				p.saver = nil
			} else {
				p.saver.mark(false)
				p.restore(t.Context())
			}
			away := dir + ".away"
			if err := os.Rename(dir, away); err != nil {
				t.Fatal(err)
			}
			p.look(t.Context())
			if p.current.Load() != nil {
				t.Fatal("a directory that is not there was published")
			}
			if err := os.Rename(away, dir); err != nil {
				t.Fatal(err)
			}
			// One file is heard of; all are to be looked at.
			p.check(context.Background(), []string{"0/user3.pem"})
			s := p.current.Load()
			if s == nil {
				t.Fatal("nothing is published")
			}
			for i, z := range s.zones {
				if z == nil || z.Owners(zone.Tree(i)) < 30 {
					t.Errorf("zone %d has been published without what is in it: %v", i, z)
				}
			}
			select {
			case <-p.ready:
			default:
				t.Error("published, but not ready")
			}
		})
	}
}
