package publish

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"coredns-smimea/certsource"
	"coredns-smimea/internal/disk"
	"coredns-smimea/internal/harness"
	"coredns-smimea/internal/statefile"
	"coredns-smimea/internal/testcert"
	"coredns-smimea/smimea"
	"coredns-smimea/smimea/zone"
)

// aPublisher returns a publisher of n users whose goroutine does not run: it has not
// looked yet.
func aPublisher(t testing.TB, dir string, n int) *Publisher {
	t.Helper()
	writeUsers(t, dir, 0, n, "example.com")
	p := newPublisher(aConfig(t, dir, "example.com"), Real())
	p.begin(context.Background(), nil)
	return p
}

// writeUsers writes the certificates of users from one number to another.
func writeUsers(t testing.TB, dir string, from, to int, domain string) {
	t.Helper()
	for i := from; i < to; i++ {
		path := filepath.Join(dir, fmt.Sprint(i/1000), fmt.Sprintf("user%d.pem", i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := testcert.Write(path, testcert.Template{Addresses: []string{fmt.Sprintf("First.Last%d@%s", i, domain)}}); err != nil {
			t.Fatal(err)
		}
	}
}

// aConfig returns the configuration of the two zones of some mail domains.
func aConfig(t testing.TB, dir string, domains ...string) Config {
	t.Helper()
	url, err := smimea.ParseURLTemplate("https://{domain}/.well-known/smime/{file}")
	if err != nil {
		t.Fatal(err)
	}
	c := Config{
		Dir:       dir,
		Reading:   Reading{Path: dir},
		Policy:    smimea.Policy{Records: []smimea.Association{{Usage: 3, Selector: 1, Matching: 1}}, URL: url, Lower: true},
		Following: Following{Reload: 30 * time.Second, MaxWithdraw: 50, State: filepath.Join(filepath.Dir(dir), "state")},
		TTL:       time.Hour,
	}
	for _, domain := range domains {
		for _, label := range []string{"_smimecert.", "_smime."} {
			place, err := zone.NewPlace(zone.Place{Origin: label + domain, TTL: 3600, Apex: zone.Apex{NS: []zone.NameServer{{Name: "ns.example."}}, Mailbox: "a.example."}})
			if err != nil {
				t.Fatal(err)
			}
			c.Places = append(c.Places, place)
		}
	}
	return c
}

// TestSaver holds when a state is saved, and what it says of itself meanwhile.
func TestSaver(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	p := aPublisher(t, dir, 10)
	isClean := func() bool {
		t.Helper()
		r, err := statefile.At(p.config.State).Open()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		return r.Mark.Clean
	}
	p.look(context.Background())
	s := p.saver
	if !s.unsaved || s.running {
		t.Fatalf("after the first look: %+v", s)
	}
	select {
	case <-s.due(): // at once
	case <-time.After(harness.Patience):
		t.Fatal("no save is due")
	}
	s.save()
	s.end(<-s.ended())
	if s.unsaved || !isClean() {
		t.Errorf("after a save: %+v, clean %v", s, isClean())
	}
	// A change is marked at once, and saved after some time.
	s.changed(nil, true)
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
	s.changed(nil, true)
	s.end(<-s.ended())
	if isClean() || !s.unsaved {
		t.Error("a change during a save is lost")
	}
	s.finish()
	if !isClean() || s.unsaved {
		t.Error("at the end not all is saved")
	}
	// What is only known of files does not make the answers stale.
	s.changed(nil, false)
	if !isClean() || !s.unsaved {
		t.Error("a file that was read again makes the state stale")
	}
	// A save that fails is done again, and leaves what there was: here that is
	// something that is no state.
	if err := os.Remove(s.path.Name); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.path.Name, 0o700); err != nil {
		t.Fatal(err)
	}
	s.save()
	s.end(<-s.ended())
	if info, err := os.Stat(s.path.Name); !s.unsaved || s.lastText == "" || err != nil || !info.IsDir() {
		t.Errorf("after a save that has failed: %+v, %v", s, err)
	}
	(*saver)(nil).changed(nil, true)
	(*saver)(nil).finish()
	if (*saver)(nil).due() != nil || (*saver)(nil).ended() != nil {
		t.Error("without a state there is something to wait for")
	}
}

// A laterSystem is one of some time later.
type laterSystem struct {
	disk.System
	by time.Duration
}

func (s laterSystem) Now() time.Time { return s.System.Now().Add(s.by) }

// TestRestoreExpired holds that what has expired while nobody served is not
// served for a moment.
func TestRestoreExpired(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	p := aPublisher(t, dir, 3)
	end := time.Now().Add(p.config.TTL + time.Hour)
	if err := testcert.Write(filepath.Join(dir, "soon.pem"), testcert.Template{Addresses: []string{"soon@example.com"}, NotAfter: end}); err != nil {
		t.Fatal(err)
	}
	p.look(context.Background())
	p.saver.finish()
	if n := p.directory.Published(); n != 4 {
		t.Fatalf("%d certificates", n)
	}
	serial := p.current.Load().Zones[0].Serial
	w := Real()
	w.System = laterSystem{w.System, 2 * time.Hour}
	next := newPublisher(aConfig(t, dir, "example.com"), w)
	next.begin(context.Background(), nil)
	snap := next.current.Load()
	if snap == nil || next.directory.Published() != 3 || snap.Zones[0].Owners(zone.Certs) != 6 { // in lower case, too
		t.Fatalf("restored: %d certificates, %+v", next.directory.Published(), snap)
	}
	if now := snap.Zones[0].Serial; int32(now-serial) <= 0 {
		t.Errorf("serial %d after %d", now, serial)
	}
	if f, ok := snap.Files.Get("soon.pem"); !ok || f.Reason != certsource.Expired {
		t.Errorf("soon.pem is %+v", f)
	}
}

func BenchmarkState(b *testing.B) {
	const users = 20_000
	dir := filepath.Join(b.TempDir(), "certs")
	p := aPublisher(b, dir, users)
	p.look(context.Background())
	snap := p.current.Load()
	b.Run("save", func(b *testing.B) {
		for b.Loop() {
			if err := p.saver.write(p.saver.header(snap), snap, nil); err != nil {
				b.Fatal(err)
			}
		}
		info, err := os.Stat(p.config.State)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(info.Size())/users, "octets/user")
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/users, "ns/user")
	})
	b.Run("restore", func(b *testing.B) {
		if err := statefile.At(p.config.State).Mark(statefile.Mark{Clean: true}); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			next := newPublisher(aConfig(b, dir, "example.com"), Real())
			next.begin(context.Background(), nil)
			if next.current.Load() == nil {
				b.Fatal("nothing is restored")
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/users, "ns/user")
	})
}

// TestStateSaved holds that the metric says how the last save has ended, also when
// there never was a good one.
func TestStateSaved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	p := aPublisher(t, dir, 1)
	p.look(t.Context())
	save := func() float64 {
		p.saver.save()
		p.saver.end(<-p.saver.ended())
		var m dto.Metric
		if err := stateSaved.WithLabelValues(dir).Write(&m); err != nil {
			t.Fatal(err)
		}
		return m.GetGauge().GetValue()
	}
	away := filepath.Dir(p.config.State) + ".away"
	if err := os.Rename(filepath.Dir(p.config.State), away); err != nil {
		t.Fatal(err)
	}
	if got := save(); got != 0 {
		t.Errorf("without its directory a state is saved: %v", got)
	}
	if err := os.Rename(away, filepath.Dir(p.config.State)); err != nil {
		t.Fatal(err)
	}
	if got := save(); got != 1 {
		t.Errorf("a save has succeeded, and the metric is %v", got)
	}
}
