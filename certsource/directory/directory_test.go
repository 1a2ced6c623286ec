package directory

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/internal/disk"
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

func (w *world) expire() {
	w.Helper()
	w.changes = 0
	w.d.Expire(context.Background(), w.now(), w.changed)
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

// swap puts a link in place of another one, in one step, as Kubernetes does.
func (w *world) swap(target, path string) {
	w.Helper()
	w.link(target, path+"_tmp")
	w.rename(path+"_tmp", path)
}

// TestEvents does to the directory what can be done to one, and sees it by a
// look at everything, and by a check of the paths that a notification names.
func TestEvents(t *testing.T) {
	chmod := func(w *world, path string, mode os.FileMode) { w.Helper(); w.must(os.Chmod(w.at(path), mode)) }
	for _, event := range []struct {
		name   string
		before func(w *world)
		do     func(w *world) (checked []string)
		want   []string
	}{
		{"created", nil,
			func(w *world) []string { w.write("new.pem"); return []string{"new.pem"} },
			[]string{"a.pem", "sub/b.pem", "new.pem"}},
		{"renamed over", nil,
			func(w *world) []string { w.write("a.tmp"); w.rename("a.tmp", "a.pem"); return []string{"a.pem"} },
			[]string{"a.pem", "sub/b.pem"}},
		{"rewritten in place", nil,
			func(w *world) []string { w.write("a.pem"); return []string{"a.pem"} },
			[]string{"a.pem", "sub/b.pem"}},
		{"deleted", nil,
			func(w *world) []string { w.remove("a.pem"); return []string{"a.pem"} },
			[]string{"sub/b.pem"}},
		{"renamed", nil,
			func(w *world) []string { w.rename("a.pem", "c.pem"); return []string{"a.pem", "c.pem"} },
			[]string{"c.pem", "sub/b.pem"}},
		{"renamed to another kind of name", nil,
			func(w *world) []string { w.rename("a.pem", "a.pem.old"); return []string{"a.pem"} },
			[]string{"sub/b.pem"}},
		{"directory deleted", nil,
			func(w *world) []string { w.remove("sub"); return []string{"sub"} },
			[]string{"a.pem"}},
		{"directory deleted, its files told of too", nil,
			func(w *world) []string { w.remove("sub"); return []string{"sub/b.pem", "sub", "sub/b.pem"} },
			[]string{"a.pem"}},
		{"directory moved", nil,
			func(w *world) []string { w.rename("sub", "sub2"); return []string{"sub", "sub2"} },
			[]string{"a.pem", "sub2/b.pem"}},
		{"directory moved out", nil,
			func(w *world) []string {
				w.must(os.Rename(w.at("sub"), filepath.Join(w.TempDir(), "elsewhere")))
				return []string{"sub"}
			},
			[]string{"a.pem"}},
		{"directory moved in", nil,
			func(w *world) []string {
				other := newWorld(w.T)
				other.write("deep/in/it/c.pem")
				w.must(os.Rename(other.at("deep"), w.at("deep")))
				return []string{"deep"}
			},
			[]string{"a.pem", "sub/b.pem", "deep/in/it/c.pem"}},
		{"directory replaced by another of its name", nil,
			func(w *world) []string {
				w.write("next/c.pem")
				w.rename("sub", ".old")
				w.rename("next", "sub")
				return []string{"sub"}
			},
			[]string{"a.pem", "sub/c.pem"}},
		{"file replaced by a directory of its name", nil,
			func(w *world) []string { w.remove("a.pem"); w.write("a.pem/c.pem"); return []string{"a.pem"} },
			[]string{"sub/b.pem", "a.pem/c.pem"}},
		{"made a link to what is read under its own name", nil,
			func(w *world) []string { w.remove("a.pem"); w.link("sub/b.pem", "a.pem"); return []string{"a.pem"} },
			[]string{"sub/b.pem"}},
		{"directory made a link to another", func(w *world) { w.write("other/b.pem") },
			func(w *world) []string { w.remove("sub"); w.link("other", "sub"); return []string{"sub"} },
			[]string{"a.pem", "other/b.pem"}},
		{"readable again", func(w *world) { w.remove("a.pem"); w.put("a.pem", nil) },
			func(w *world) []string { w.write("a.pem"); chmod(w, "a.pem", 0o600); return []string{"a.pem"} },
			[]string{"a.pem", "sub/b.pem"}},
		{"Kubernetes switches its link", func(w *world) {
			w.write("..2026_1/k.pem")
			w.write("..2026_1/sub/k2.pem")
			w.write("..2026_1/gone.pem")
			w.link("..2026_1", "..data")
			w.link("..data/k.pem", "k.pem")
			w.link("..data/sub", "ksub")
			w.link("..data/gone.pem", "gone.pem")
		}, func(w *world) []string {
			w.write("..2026_2/k.pem")
			w.write("..2026_2/sub/k3.pem")
			w.swap("..2026_2", "..data")
			w.remove("..2026_1")
			return []string{"k.pem", "ksub", "gone.pem"}
		},
			[]string{"a.pem", "sub/b.pem", "k.pem", "ksub/k3.pem"}},
	} {
		for _, by := range []string{"look", "check"} {
			t.Run(event.name+"/"+by, func(t *testing.T) {
				w := newWorld(t)
				w.write("a.pem")
				w.write("sub/b.pem")
				if event.before != nil {
					event.before(w)
				}
				w.look()
				before := maps.Clone(w.served)
				checked := event.do(w)
				if by == "look" {
					w.look()
				} else {
					w.checkPaths(checked...)
				}
				if len(w.report.Unsettled) > 0 { // a link may lead nowhere for a moment only
					w.skew += patience
					w.checkPaths(w.report.Unsettled...)
				}
				w.want(event.want...)
				if maps.Equal(before, w.served) && event.name != "made a link" {
					t.Error("nothing has changed")
				}
				w.skew += time.Second // settled
				w.look()
				w.want(event.want...)
				w.look()
				if w.changes > 0 || w.report.Read > 0 {
					t.Errorf("a look at what has not changed: %d changes, %d files read", w.changes, w.report.Read)
				}
			})
		}
	}
}

// TestDirectoryReplaced switches what DIR is.
func TestDirectoryReplaced(t *testing.T) {
	t.Run("by rename", func(t *testing.T) {
		w := newWorld(t)
		w.write("a.pem")
		w.look()
		next := newWorld(t)
		next.write("b.pem")
		w.must(os.Rename(w.dir, w.dir+".old"))
		w.look()
		if w.err == nil || len(w.served) != 1 {
			t.Errorf("DIR gone: error %v, %d published", w.err, len(w.served))
		}
		w.must(os.Rename(next.dir, w.dir))
		w.look()
		w.want("b.pem")
	})
	t.Run("by a link", func(t *testing.T) {
		w := newWorld(t, func(o *Options) { o.Dir = filepath.Join(o.Dir, "current") })
		w.write("1/a.pem")
		w.write("2/b.pem")
		w.link("1", "current")
		w.look()
		w.want("a.pem")
		w.swap("2", "current")
		w.look()
		w.want("b.pem")
		w.remove("current")
		w.look()
		if w.err == nil || len(w.served) != 1 {
			t.Errorf("link gone: error %v, %d published", w.err, len(w.served))
		}
	})
}

// TestTorn holds that a file that cannot be read as a certificate keeps what it
// published, and that one that can, or is none any more, does not.
func TestTorn(t *testing.T) {
	whole, digest := cert(t, "a@example.com")
	for what, torn := range map[string][]byte{
		"empty": nil, "half": whole[:len(whole)/2], "one octet": whole[:1], "all but one line": whole[:len(whole)-30],
		"rubbish": []byte("rubbish"), "large": make([]byte, certsource.MaxFileSize+1),
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.put("a.pem", whole)
			w.look()
			w.put("a.pem", torn)
			w.look()
			w.want("a.pem")
			if w.served["a.pem"] != digest {
				t.Error("it publishes something else")
			}
			if f, _ := w.d.Files().Get("a.pem"); f.Failing == "" || len(w.d.Failing()) != 1 {
				t.Errorf("it does not show: %v", w.d.Failing())
			}
			w.look()
			w.want("a.pem")
			next := w.write("a.pem")
			w.look()
			w.want("a.pem")
			w.wantState("a.pem", "", "")
			if w.served["a.pem"] != next {
				t.Error("the next certificate is not published")
			}
			w.put("a.pem", torn)
			w.look()
			w.remove("a.pem")
			w.look()
			w.want()
			// What is new and torn is not published, and then is.
			w.put("b.pem", torn)
			w.look()
			w.want()
			w.put("b.pem", whole)
			w.look()
			w.want("b.pem")
		})
	}
	noAddress := func(t *testcert.Template) { t.Addresses = nil }
	expired := func(t *testcert.Template) {
		t.NotBefore, t.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	}
	within := func(t *testcert.Template) { t.NotAfter = time.Now().Add(time.Minute) }
	// What is whole and may not be published replaces it once it has stayed.
	for reason, do := range map[string]func(w *world){
		string(certsource.Authority):           func(w *world) { w.write("a.pem", authority) },
		string(certsource.NoAddress):           func(w *world) { w.write("a.pem", noAddress) },
		string(certsource.Expired):             func(w *world) { w.write("a.pem", expired) },
		string(certsource.Expired) + " in TTL": func(w *world) { w.write("a.pem", within) },
		string(certsource.Outside):             func(w *world) { w.remove("a.pem"); w.link("/etc/hostname", "a.pem") },
		string(certsource.Outside) + " dang":   func(w *world) { w.remove("a.pem"); w.link("nobody.pem", "a.pem") },
		string(certsource.Outside) + " loop":   func(w *world) { w.remove("a.pem"); w.link("a.pem", "a.pem") },
	} {
		t.Run(reason, func(t *testing.T) {
			w := newWorld(t)
			w.put("a.pem", whole)
			w.look()
			do(w)
			why := certsource.Reason(strings.Fields(reason)[0])
			for range 2 { // it may be so for a moment only
				w.look()
				w.want("a.pem")
				w.wantState("a.pem", "", why)
			}
			if !slices.Contains(w.report.Unsettled, "a.pem") {
				t.Error("it is not looked at again soon")
			}
			w.skew += patience
			w.checkPaths("a.pem")
			w.want()
			w.wantState("a.pem", why, "")
			w.look()
			w.want()
			w.remove("a.pem")
			w.put("a.pem", whole)
			w.look()
			w.want("a.pem")
		})
	}
}

func authority(t *testcert.Template) { t.Authority = true }

// renameDir moves all certificates of a directory into one below it.
func renameDir(dir, sub string) error {
	return exec.Command("sh", "-c", "mkdir "+dir+"/"+sub+" && mv "+dir+"/*.pem "+dir+"/"+sub).Run()
}

func renameDirBack(dir, sub string) error {
	return exec.Command("sh", "-c", "mv "+dir+"/"+sub+"/*.pem "+dir).Run()
}

// TestLinks holds which of several names of a file counts.
func TestLinks(t *testing.T) {
	w := newWorld(t)
	w.write("real.pem")
	w.link("real.pem", "alias.pem")
	w.write("dir/x.pem")
	w.link("dir", "dirlink")
	w.link("../dir/x.pem", "dir/y.pem")
	w.link("..", "dir/up")
	w.link(".", "self")
	w.write(".store/hidden.pem")
	w.link(".store/hidden.pem", "shown.pem")
	w.write(".store/sub/h2.pem")
	w.link(".store/sub", "sub")
	w.link("..", ".store/sub/loop")
	w.link("loop2", "loop1.pem")
	w.link("loop1.pem", "loop2")
	w.link("/etc", "etc")
	w.link("../../../../../etc", "etc2")
	w.link("/proc/self/environ", "environ.pem")
	w.look()
	published := []string{"real.pem", "dir/x.pem", "shown.pem", "sub/h2.pem"}
	for p := range w.served {
		if !slices.Contains(published, p) && !strings.HasPrefix(p, "sub/loop/") {
			t.Errorf("%s is published", p)
		}
	}
	for _, p := range published {
		if _, ok := w.served[p]; !ok {
			t.Errorf("%s is not published", p)
		}
	}
	for _, p := range []string{"loop1.pem", "etc", "etc2", "environ.pem"} {
		w.wantState(p, certsource.Outside, "")
	}
	w.skew = time.Second
	w.look()
	w.look()
	if w.changes > 0 {
		t.Errorf("%d changes without any", w.changes)
	}
}

// TestNumbers holds that file numbers are used again, and never twice.
func TestNumbers(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.MaxWithdraw = 100 })
	text, _ := cert(t, "a@example.com")
	for round := range 5 {
		for i := range 50 {
			w.put(fmt.Sprintf("%d/%d.pem", round%2, i), text)
		}
		w.look()
		w.remove(fmt.Sprint((round + 1) % 2))
		if round%2 == 0 {
			w.look()
		}
	}
	if w.d.ids.last > 100 {
		t.Errorf("%d numbers for 100 files", w.d.ids.last)
	}
}

// TestNewest holds what a first look tells of the past.
func TestNewest(t *testing.T) {
	w := newWorld(t)
	w.write("a.pem")
	w.write("sub/b.pem")
	w.write("old.pem", func(t *testcert.Template) {
		t.NotBefore, t.NotAfter = time.Now().Add(-9*time.Hour), time.Now().Add(-7*time.Hour)
	})
	touch := func(path string, ago time.Duration) time.Time {
		at := time.Now().Add(-ago)
		w.must(os.Chtimes(w.at(path), at, at))
		return at
	}
	first := func() time.Time {
		t.Helper()
		d := New(Options{Dir: w.dir, Margin: time.Hour})
		r, err := d.Look(context.Background(), time.Now(), func(Change) {})
		w.must(err)
		return r.Newest
	}
	for _, p := range []string{"a.pem", "sub/b.pem", "old.pem", "sub", "."} {
		touch(p, 20*time.Hour)
	}
	near := func(what string, got, want time.Time) {
		t.Helper()
		if d := got.Sub(want); d < -time.Second || d > time.Second {
			t.Errorf("%s: newest is %v, want %v", what, got, want)
		}
	}
	near("a withdrawal for its end", first(), time.Now().Add(-8*time.Hour))
	near("a file", first(), first())
	near("a directory", func() time.Time { at := touch("sub", 6*time.Hour); near("it", first(), at); return first() }(), time.Now().Add(-6*time.Hour))
	near("a file", first(), time.Now().Add(-6*time.Hour))
	at := touch("sub/b.pem", 5*time.Hour)
	near("a file", first(), at)
	touch("a.pem", -time.Hour)
	near("a time to come", first(), at)
}
