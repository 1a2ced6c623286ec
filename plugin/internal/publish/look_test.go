package publish

import (
	"os"
	"path/filepath"
	"testing"
	"time"
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
