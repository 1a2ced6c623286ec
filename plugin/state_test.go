package plugin

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/internal/statefile"
	"coredns-smimea/internal/zoo"
	"coredns-smimea/smimea/zone"
)

// aPublisher returns a publisher of n users that has looked once. Its goroutine
// does not run.
func aPublisher(t testing.TB, dir string, n int) *publisher {
	t.Helper()
	for i := range n {
		path := filepath.Join(dir, fmt.Sprint(i/1000), fmt.Sprintf("user%d.pem", i))
		if i%1000 == 0 {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := zoo.Write(path, zoo.Template{Addresses: []string{fmt.Sprintf("First.Last%d@example.com", i)}}); err != nil {
			t.Fatal(err)
		}
	}
	return anotherPublisher(t, dir)
}

func anotherPublisher(t testing.TB, dir string) *publisher {
	t.Helper()
	c := defaults()
	c.dir, c.state = dir, filepath.Join(dir, ".state")
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	var places []*zone.Place
	for _, origin := range []string{"_smimecert.example.com.", "_smime.example.com."} {
		place, err := c.place(origin, zone.Whole)
		if err != nil {
			t.Fatal(err)
		}
		places = append(places, place)
	}
	return newPublisher(c, places)
}

// TestSaver holds when a state is saved, and what it says of itself meanwhile.
func TestSaver(t *testing.T) {
	dir := t.TempDir()
	p := aPublisher(t, dir, 10)
	isClean := func() bool {
		t.Helper()
		r, err := statefile.Open(p.config.state)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		return r.Clean
	}
	p.look(context.Background())
	s := p.saver
	if !s.unsaved || s.running {
		t.Fatalf("after the first look: %+v", s)
	}
	select {
	case <-s.due(): // at once
	case <-time.After(10 * time.Second):
		t.Fatal("no save is due")
	}
	s.save()
	s.end(<-s.ended())
	if s.unsaved || !isClean() {
		t.Errorf("after a save: %+v, clean %v", s, isClean())
	}
	// A change is marked at once, and saved after some time.
	s.changed(true)
	if isClean() || !s.unsaved {
		t.Error("what was saved passes for what is served")
	}
	select {
	case <-s.due():
		t.Error("a save is due at once")
	case <-time.After(300 * time.Millisecond):
	}
	// What changes while it is saved is not in it.
	s.save()
	s.changed(true)
	s.end(<-s.ended())
	if isClean() || !s.unsaved {
		t.Error("a change during a save is lost")
	}
	s.finish()
	if !isClean() || s.unsaved {
		t.Error("at the end not all is saved")
	}
	// What is only known of files does not make the answers stale.
	s.changed(false)
	if !isClean() || !s.unsaved {
		t.Error("a file that was read again makes the state stale")
	}
	// A save that fails is done again, and leaves what there was.
	before, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.path+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.path+".new/in-the-way", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.save()
	s.end(<-s.ended())
	if after, _ := os.ReadFile(s.path); !s.unsaved || s.lastText == "" || !slices.Equal(before, after) {
		t.Errorf("after a save that has failed: %+v", s)
	}
	(*saver)(nil).changed(true)
	(*saver)(nil).finish()
	if (*saver)(nil).due() != nil || (*saver)(nil).ended() != nil {
		t.Error("without a state there is something to wait for")
	}
}

// TestRestoreExpired holds that what has expired while nobody served is not
// served for a moment.
func TestRestoreExpired(t *testing.T) {
	dir := t.TempDir()
	p := aPublisher(t, dir, 3)
	end := time.Now().Add(p.config.ttl + 2*time.Second)
	if err := zoo.Write(filepath.Join(dir, "soon.pem"), zoo.Template{Addresses: []string{"soon@example.com"}, NotAfter: end}); err != nil {
		t.Fatal(err)
	}
	p.look(context.Background())
	p.saver.finish()
	if n := p.directory.Published(); n != 4 {
		t.Fatalf("%d certificates", n)
	}
	serial := p.current.Load().zones[0].Serial
	time.Sleep(time.Until(end.Add(-p.config.ttl).Truncate(time.Second).Add(100 * time.Millisecond)))
	next := anotherPublisher(t, dir)
	next.restore(context.Background())
	snap := next.current.Load()
	if snap == nil || next.directory.Published() != 3 || snap.zones[0].Owners(zone.Certs) != 6 { // in lower case, too
		t.Fatalf("restored: %d certificates, %+v", next.directory.Published(), snap)
	}
	if now := snap.zones[0].Serial; int32(now-serial) <= 0 {
		t.Errorf("serial %d after %d", now, serial)
	}
	if f, ok := snap.files.Get("soon.pem"); !ok || f.Reason != certsource.Expired {
		t.Errorf("soon.pem is %+v", f)
	}
}

func BenchmarkState(b *testing.B) {
	const users = 20_000
	dir := b.TempDir()
	p := aPublisher(b, dir, users)
	p.look(context.Background())
	snap := p.current.Load()
	b.Run("save", func(b *testing.B) {
		for b.Loop() {
			if err := write(p.config.state, p.saver.header(snap), snap); err != nil {
				b.Fatal(err)
			}
		}
		info, err := os.Stat(p.config.state)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(info.Size())/users, "octets/user")
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/users, "ns/user")
	})
	b.Run("restore", func(b *testing.B) {
		if err := statefile.Mark(p.config.state, true); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			next := anotherPublisher(b, dir)
			next.restore(context.Background())
			if next.current.Load() == nil {
				b.Fatal("nothing is restored")
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/users, "ns/user")
	})
}
