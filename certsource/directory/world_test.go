package directory

import (
	"context"
	"crypto/sha256"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/internal/disk"
	"coredns-smimea/internal/harness"
	"coredns-smimea/internal/testcert"
)

// skewed is this machine with another clock, on which nobody waits.
type skewed struct {
	disk.System
	w *world
}

func (s skewed) Now() time.Time                           { return s.w.now() }
func (s skewed) Elapsed() time.Duration                   { return s.System.Elapsed() + s.w.skew }
func (s skewed) Sleep(_ context.Context, d time.Duration) { s.w.skew += d }

// A world is a directory on disk, and the Directory that follows it.
type world struct {
	*testing.T
	dir     string
	d       *Directory
	skew    time.Duration // of the fake clock from the real one
	changes int           // made known by the last look
	report  Report
	err     error
	served  map[string][32]byte // what the changes add up to
}

func newWorld(t *testing.T, options ...func(*Options)) *world {
	t.Helper()
	w := &world{T: t, dir: t.TempDir(), served: map[string][32]byte{}}
	o := Options{Dir: w.dir, Margin: time.Hour, MaxWithdraw: 50, Window: time.Minute, Paths: true, System: skewed{disk.OS, w}, Heard: func() ([]string, bool) { return nil, false }}
	for _, option := range options {
		option(&o)
	}
	w.d = New(o)
	return w
}

func (w *world) now() time.Time { return time.Now().Add(w.skew) }

func (w *world) changed(c Change) {
	w.Helper()
	w.changes++
	if digest, ok := w.served[c.Path]; c.Old.Published() != ok || ok && digest != all(&c.Old) {
		w.Errorf("%s: a change from something else than was made known", c.Path)
	}
	delete(w.served, c.Path)
	if c.New.Published() && c.Removed.IsZero() {
		w.served[c.Path] = all(&c.New)
		if c.Certificates == nil && c.Old.loses(&c.New) {
			w.Errorf("%s: published without its certificate", c.Path)
		}
	}
}

// all stands for all certificates that a file publishes.
func all(f *File) (sum [32]byte) {
	for _, c := range f.Live() {
		for i := range sum {
			sum[i] ^= c.Digest[i]
		}
	}
	return sum
}

func (w *world) look() {
	w.Helper()
	w.changes = 0
	w.report, w.err = w.d.Look(context.Background(), w.now(), w.changed)
	w.check()
}

func (w *world) checkPaths(paths ...string) {
	w.Helper()
	w.changes = 0
	w.report, w.err = w.d.Check(context.Background(), paths, w.now(), w.changed)
	w.check()
}

func (w *world) expire(now time.Time) {
	w.Helper()
	w.changes = 0
	w.d.Expire(context.Background(), now, w.changed)
	w.check()
}

// check holds that all that a Directory counts is what its files add up to.
func (w *world) check() {
	w.Helper()
	ids, published, failing := map[uint32]string{}, map[string][32]byte{}, map[certsource.Reason]int{}
	files, live := w.d.Files(), 0
	for p, f := range files.All() {
		for id := range recordIDs(f.append(nil)) {
			if other, taken := ids[id]; taken || id == 0 || id > w.d.ids.last {
				w.Errorf("%s has the number %d, as %q", p, id, other)
			}
			ids[id] = p
			if back, ok := files.Path(id); !ok || back != p {
				w.Errorf("number %d of %s leads to %q", id, p, back)
			}
		}
		live += f.live()
		if f.Published() {
			published[p] = all(&f)
		}
		if why := f.why(); why != "" {
			failing[why]++
		}
	}
	if len(ids)+len(w.d.ids.free) != int(w.d.ids.last) {
		w.Errorf("%d numbers in use, %d free, of %d", len(ids), len(w.d.ids.free), w.d.ids.last)
	}
	if !maps.Equal(published, w.served) || w.d.Published() != live {
		w.Errorf("files publish %d, changes add up to %d, counted are %d of %d", len(published), len(w.served), w.d.Published(), live)
	}
	if !maps.Equal(failing, w.d.Failing()) {
		w.Errorf("failing are %v, counted %v", failing, w.d.Failing())
	}
	hours := 0
	for _, n := range w.d.expiry.hours {
		hours += n
	}
	if hours != live {
		w.Errorf("%d certificates have hours to expire in, of %d", hours, live)
	}
}

// want holds which paths publish.
func (w *world) want(paths ...string) {
	w.Helper()
	slices.Sort(paths)
	if got := slices.Sorted(maps.Keys(w.served)); !slices.Equal(got, paths) {
		w.Errorf("published are %q, want %q", got, paths)
	}
	if w.err != nil {
		w.Errorf("the look failed: %v", w.err)
	}
}

// wantState holds what is known of one path.
func (w *world) wantState(path string, reason, failing certsource.Reason) {
	w.Helper()
	if f, ok := w.d.Files().Get(path); !ok || f.Reason != reason || f.Failing != failing {
		w.Errorf("%s is known %v with reason %q, failing %q; want %q, %q", path, ok, f.Reason, f.Failing, reason, failing)
	}
}

func (w *world) at(path string) string { return filepath.Join(w.dir, filepath.FromSlash(path)) }

// cert returns a new certificate, PEM, and its digest.
func cert(t testing.TB, address string, change ...func(*testcert.Template)) (text []byte, digest [32]byte) {
	t.Helper()
	template := testcert.Template{Addresses: []string{address}}
	for _, c := range change {
		c(&template)
	}
	der, err := template.DER()
	if err != nil {
		t.Fatal(err)
	}
	return testcert.PEM(der), sha256.Sum256(der)
}

// write writes a new certificate to a file, and returns its digest.
func (w *world) write(path string, change ...func(*testcert.Template)) [32]byte {
	w.Helper()
	text, digest := cert(w, "user@example.com", change...)
	w.put(path, text)
	return digest
}

func (w *world) put(path string, data []byte) {
	w.Helper()
	w.must(os.MkdirAll(filepath.Dir(w.at(path)), 0o755))
	w.must(os.WriteFile(w.at(path), data, 0o644))
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) rename(from, to string) { w.Helper(); w.must(os.Rename(w.at(from), w.at(to))) }
func (w *world) remove(path string)     { w.Helper(); w.must(os.RemoveAll(w.at(path))) }
func (w *world) link(target, path string) {
	w.Helper()
	w.must(os.Symlink(target, w.at(path)))
}

// tick has what is written from now on get a later time than what was written before.
func (w *world) tick() { w.Helper(); w.must(harness.Tick(w.TempDir(), time.Nanosecond)) }

// swap puts a link in place of another one, in one step, as Kubernetes does.
func (w *world) swap(target, path string) {
	w.Helper()
	w.link(target, path+"_tmp")
	w.rename(path+"_tmp", path)
}

func authority(t *testcert.Template) { t.Authority = true }
