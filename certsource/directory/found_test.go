package directory

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"coredns-smimea/internal/disk"
	"coredns-smimea/internal/disk/fake"
)

// These are what simulations have found, each in as few steps as it takes.

// imagined is a directory on a machine in memory. What is served is by path the
// number of the certificate among simCerts.
type imagined struct {
	*testing.T
	m       *fake.Machine
	d       *Directory
	watch   *Watch
	served  map[string]int
	report  Report
	err     error
	failing map[string]bool // calls that fail: "lstat a.pem"
	waiting func()          // is called while a look waits
}

func newImagined(t *testing.T, options ...func(*imagined, *Options)) *imagined {
	i := &imagined{T: t, m: fake.New(epoch), served: map[string]int{}, failing: map[string]bool{}}
	i.must(i.m.MkdirAll(simDir))
	i.m.Before = func(call, name string) error {
		if call == "sleep" && i.waiting != nil {
			i.waiting()
		}
		if i.failing[call+" "+name] {
			return syscall.EIO
		}
		return nil
	}
	o := Options{Dir: simDir, Margin: simMargin, MaxWithdraw: 100, Window: time.Minute, System: i.m, Workers: 1}
	for _, option := range options {
		option(i, &o)
	}
	i.d = New(o)
	return i
}

// withWatch lets notifications be heard.
func withWatch(i *imagined, o *Options) {
	watch, err := NewWatch(simDir, i.m)
	i.must(err)
	i.Cleanup(watch.Close)
	i.watch, o.Enter = watch, watch.Add
	o.Heard = func() ([]string, bool) {
		i.m.Deliver(nil)
		if watch.Deaf() != nil {
			return nil, true
		}
		return watch.Take()
	}
}

func (i *imagined) must(err error) {
	i.Helper()
	if err != nil {
		i.Fatal(err)
	}
}

func (i *imagined) write(p string, cert int) {
	i.Helper()
	i.must(i.m.MkdirAll(path.Dir(simDir + "/" + p)))
	i.must(i.m.WriteFile(simDir+"/"+p, simCerts()[cert].data))
}

func (i *imagined) rename(from, to string) {
	i.Helper()
	i.must(i.m.Rename(simDir+"/"+from, simDir+"/"+to))
}

func (i *imagined) remove(p string) { i.Helper(); i.must(i.m.RemoveAll(simDir + "/" + p)) }

func (i *imagined) link(target, p string) {
	i.Helper()
	i.must(i.m.Symlink(target, simDir+"/"+p))
}

// check looks at some paths, a second later.
func (i *imagined) check(paths ...string) {
	i.m.Pass(time.Second)
	i.report, i.err = i.d.Check(context.Background(), paths, i.m.Now(), func(c Change) {
		delete(i.served, c.Path)
		if c.New.Published() && c.Removed.IsZero() {
			i.served[c.Path] = slices.IndexFunc(simCerts(), func(s simCert) bool { return s.digest == c.New.Digest })
		}
	})
}

// want holds what is published, as "path number".
func (i *imagined) want(want map[string]int) {
	i.Helper()
	for p, n := range want {
		if got, ok := i.served[p]; !ok || got != n {
			i.Errorf("%s publishes certificate %d, %v, want %d", p, got, ok, n)
		}
	}
	for p := range i.served {
		if _, ok := want[p]; !ok {
			i.Errorf("%s is published", p)
		}
	}
}

// TestMovedOntoMissed holds that where a file keeps a certificate that is at no
// other path, what that file holds now is at no other path either. (Seed 15 of the
// first simulations.)
func TestMovedOntoMissed(t *testing.T) {
	i := newImagined(t)
	i.write("a.pem", 1)
	i.write("b.pem", 2)
	i.check(".")
	// 1 is where the disk fails, 2 is where 1 was.
	i.rename("a.pem", "c.pem")
	i.rename("b.pem", "a.pem")
	i.failing["open c.pem"] = true
	i.check(".")
	i.want(map[string]int{"a.pem": 1, "b.pem": 2})
	clear(i.failing)
	i.check(".")
	i.want(map[string]int{"a.pem": 2, "c.pem": 1})
}

// TestFailedCheckRemembers holds that what a check has heard of and not come to is
// not forgotten. (Seed 1215.)
func TestFailedCheckRemembers(t *testing.T) {
	i := newImagined(t, withWatch)
	i.write("a/1.pem", 1)
	i.write("b/2.pem", 2)
	i.check(".")
	i.m.Deliver(nil)
	i.watch.Take()
	i.rename("a/1.pem", "b/1.pem")
	i.waiting = func() {
		i.waiting = nil
		i.m.Deliver(func(e []disk.Event) []disk.Event { return []disk.Event{{Watch: -1, Lost: true}} })
		i.failing["list ."] = true
	}
	i.check("a/1.pem")
	if i.err == nil {
		t.Fatal("the check did not fail")
	}
	clear(i.failing)
	i.check("a/1.pem")
	i.want(map[string]int{"b/1.pem": 1, "b/2.pem": 2})
}

// TestFolderNamedAsFile holds that what is below a directory with the name of a
// certificate file goes with it, whatever comes in its place, over a restart too.
func TestFolderNamedAsFile(t *testing.T) {
	for name, do := range map[string]func(i *imagined){
		"gone":                      func(i *imagined) {},
		"a file":                    func(i *imagined) { i.write("f.pem", 1) },
		"a link that leads out":     func(i *imagined) { i.link("/etc", "f.pem") },
		"a link that leads nowhere": func(i *imagined) { i.link("nowhere", "f.pem") },
	} {
		t.Run(name, func(t *testing.T) {
			i := newImagined(t)
			i.write("f.pem/sub/2.pem", 2)
			i.write("g.pem", 3)
			i.check(".")
			next := newImagined(t, func(next *imagined, o *Options) { next.m, o.System = i.m, i.m })
			r := next.d.Restore(2, 100)
			for p, record := range i.d.Files().Entries() {
				next.must(r.Add(slices.Clone(p), slices.Clone(record)))
			}
			r.End(i.d.Device())
			next.served = map[string]int{"f.pem/sub/2.pem": 2, "g.pem": 3}
			i.remove("f.pem")
			do(i)
			for _, i := range []*imagined{i, next} {
				for range 8 {
					i.check("f.pem")
				}
				if want := map[string]int{"g.pem": 3, "f.pem": 1}; name == "a file" {
					i.want(want)
				} else {
					i.want(map[string]int{"g.pem": 3})
				}
				if len(i.report.Unsettled) > 0 {
					t.Errorf("%q is still looked at", i.report.Unsettled)
				}
			}
		})
	}
}

// TestCheckFollowsLinksAsLooksDo holds that a check of a path finds no more there
// than a look at everything does.
func TestCheckFollowsLinksAsLooksDo(t *testing.T) {
	i := newImagined(t)
	i.write(".v1/a.pem", 1)
	i.write("v2/a.pem", 2)
	i.link(".v1", "current")
	i.write(".d/1.pem", 3)
	i.link("../.d", ".v1/deep")
	i.link("../.d", ".d/again")
	i.check(".")
	want := map[string]int{"current/a.pem": 1, "v2/a.pem": 2, "current/deep/1.pem": 3}
	i.want(want)
	i.check("current/deep", "current/deep/again", "current/deep/again/1.pem", ".v1/a.pem")
	i.want(want)
	i.remove("current")
	i.link("v2", "current") // what is there has a name of its own
	i.check("current/a.pem")
	i.want(map[string]int{"v2/a.pem": 2})
}

// TestLinkToFolderLeadsOut holds that what was below a link to a directory goes by
// a check, too, when the link leads out of DIR. (Seed 1549.)
func TestLinkToFolderLeadsOut(t *testing.T) {
	i := newImagined(t, withWatch)
	i.write(".d/1.pem", 1)
	i.write("2.pem", 2)
	i.link(".d", "x")
	i.check(".")
	i.want(map[string]int{"x/1.pem": 1, "2.pem": 2})
	i.remove("x")
	i.link("/etc", "x")
	i.check(".")
	i.want(map[string]int{"x/1.pem": 1, "2.pem": 2}) // for a moment, maybe
	for range 8 {
		i.check("x")
	}
	i.want(map[string]int{"2.pem": 2})
}

// TestLinkThatBecomesFile holds that a file without the name of one is not read,
// whatever was at its path before. (Seed 1032.)
func TestLinkThatBecomesFile(t *testing.T) {
	i := newImagined(t)
	i.link("/etc", "x")
	i.write("a.pem", 1)
	i.check(".")
	i.remove("x")
	i.write("x", 2)
	i.check(".")
	i.check("x")
	i.want(map[string]int{"a.pem": 1})
}

// TestClockAhead holds that files from a clock that is a little ahead of ours come
// to rest all the same. (Seed 25.)
func TestClockAhead(t *testing.T) {
	i := newImagined(t)
	i.m.SetClock(Skew / 2)
	i.write("a.pem", 1)
	i.m.SetClock(-Skew / 2)
	i.check(".")
	i.check(".")
	i.check(".")
	if len(i.report.Unsettled) > 0 || i.report.Read > 0 {
		t.Errorf("%q is still looked at", i.report.Unsettled)
	}
	i.write("a.pem", 2)
	i.check("a.pem")
	i.want(map[string]int{"a.pem": 2})
}

// TestCheckUnmounted holds that a check in a directory that is not mounted does
// not take its emptiness for an answer.
func TestCheckUnmounted(t *testing.T) {
	i := newImagined(t)
	i.m.Mount(simDir, nil)
	i.write("a.pem", 1)
	i.check(".")
	volume := i.m.Unmount(simDir)
	i.check("a.pem")
	if i.want(map[string]int{"a.pem": 1}); i.err == nil || !strings.Contains(i.err.Error(), "mounted") {
		t.Errorf("the check says %v", i.err)
	}
	i.m.Mount(simDir, volume)
	i.check("a.pem")
	i.want(map[string]int{"a.pem": 1})
}

// TestFileInMountPoint holds that a file that somebody leaves in a mount point, and
// takes away again, does not make its emptiness that of the directory.
func TestFileInMountPoint(t *testing.T) {
	i := newImagined(t, func(_ *imagined, o *Options) { o.MaxWithdraw = 50 })
	i.m.Mount(simDir, nil)
	all := map[string]int{}
	for n := range guardedFrom + 5 {
		p := fmt.Sprintf("%d.pem", n)
		all[p] = n % 2
		i.write(p, n%2)
	}
	i.check(".")
	i.want(all)
	i.m.Unmount(simDir)
	i.write("left.pem", 2)
	i.check("left.pem")
	all["left.pem"] = 2
	i.want(all)
	i.remove("left.pem")
	for range 2 * looksToConfirm {
		i.m.Pass(time.Minute)
		i.check(".")
		if i.want(all); i.err == nil || !strings.Contains(i.err.Error(), "mounted") {
			t.Fatalf("the look says %v", i.err)
		}
	}
}

// TestDeafInPart holds that a directory that could not be watched is remembered
// when another one is looked at, and that a failed look at everything is not taken
// for one.
func TestDeafInPart(t *testing.T) {
	i := newImagined(t, withWatch)
	i.write("a/1.pem", 1)
	i.write("b/2.pem", 2)
	i.failing["addwatch "+simDir+"/b"] = true
	i.check(".")
	i.watch.Add(".")
	i.watch.Add("a")
	if i.watch.Deaf() == nil {
		t.Error("it hears of b, too")
	}
	i.rename("a/1.pem", "b/1.pem") // which nothing tells of
	i.check("a/1.pem")
	i.want(map[string]int{"b/1.pem": 1, "b/2.pem": 2})
	clear(i.failing)
	i.watch.Add("b")
	if err := i.watch.Deaf(); err != nil {
		t.Error(err)
	}
	i.failing["addwatch "+simDir+"/b"] = true
	i.watch.Add("b")
	i.remove("b")
	i.watch.Add(".")
	if err := i.watch.Deaf(); err != nil {
		t.Errorf("b is no more, and %v", err)
	}
}

// TestPatience holds how long a certificate is kept that may be where something
// cannot be read, and that it is withdrawn by a look at everything.
func TestPatience(t *testing.T) {
	i := newImagined(t, withWatch)
	i.write("a.pem", 1)
	i.write("b/2.pem", 2)
	i.check(".")
	i.failing["open b/2.pem"] = true
	i.failing["open 2.pem"] = true
	i.write("b/2.pem", 3)
	i.check("b/2.pem")
	i.remove("a.pem")
	began := i.m.Elapsed()
	for again := []string{"a.pem"}; i.served["a.pem"] == 1; again = i.report.Unsettled {
		if len(again) == 0 {
			t.Fatal("it is not looked at again")
		}
		i.check(again...)
	}
	if took := i.m.Elapsed() - began; took < patience || took > patience+5*time.Second {
		t.Errorf("it took %v", took)
	}
	i.want(map[string]int{"b/2.pem": 2})
	// What is replaced by the same certificate elsewhere need not wait.
	i.write("c.pem", 2)
	i.remove("b")
	i.check("b", "c.pem")
	i.want(map[string]int{"c.pem": 2})
}

// TestReplacedIsNoPlace holds that the guard counts a certificate as lost though it
// is at another path still, if that one holds another certificate now. (Seed 4392.)
func TestReplacedIsNoPlace(t *testing.T) {
	i := newImagined(t, func(_ *imagined, o *Options) { o.MaxWithdraw = 50 })
	i.write("same.pem", 0)
	for n := range guardedFrom {
		i.write(fmt.Sprintf("%d.pem", n), n)
	}
	i.check(".")
	i.write("same.pem", 40)
	for n := range guardedFrom/2 + 1 {
		i.remove(fmt.Sprintf("%d.pem", n))
	}
	i.check(".")
	if i.report.Held != guardedFrom/2+1 {
		t.Errorf("%d of %d are held back, %d left", i.report.Held, guardedFrom/2+1, i.d.Published())
	}
}

// TestManyMissing holds that many that are missing are waited for, as few are not:
// git(1) removes all files that it moves before it writes the first one.
func TestManyMissing(t *testing.T) {
	const all = handful + 2
	i := newImagined(t)
	for n := range all {
		i.write(fmt.Sprintf("a/%d.pem", n), n)
		i.write(fmt.Sprintf("b/%d.pem", n), n+all)
	}
	i.check(".")
	i.remove("a")
	for range 3 {
		i.check(".")
		if n := i.d.Published(); n != 2*all {
			t.Fatalf("%d are published", n)
		}
	}
	for n := range all {
		i.write(fmt.Sprintf("c/%d.pem", n), n)
	}
	i.check(".")
	i.remove("a")
	for n := range all { // renewed
		i.write(fmt.Sprintf("b/%d.pem", n), n)
	}
	i.check(".")
	if n := i.d.Published(); n != 2*all || i.served["b/0.pem"] != 0 {
		t.Fatalf("%d are published, one of them is %d", n, i.served["b/0.pem"])
	}
	i.remove("c")
	i.remove("b/0.pem")
	i.check(".")
	if n := i.d.Published(); n != all-1 {
		t.Errorf("%d are published", n)
	}
	i.remove("b")
	began := i.m.Elapsed()
	for i.d.Published() > 0 {
		i.check(".")
	}
	if took := i.m.Elapsed() - began; took < patience || took > 2*patience {
		t.Errorf("it took %v", took)
	}
}

// TestLockedFolder holds that a directory that cannot be read is said, once, and once
// more when it can be again.
func TestLockedFolder(t *testing.T) {
	i := newImagined(t)
	i.write("open/a.pem", 0)
	i.write("locked/b.pem", 1)
	lock := func(locked bool) {
		for _, call := range []string{"sub", "list", "open", "openroot", "getdents"} {
			i.failing[call+" "+simDir+"/locked"], i.failing[call+" locked"] = locked, locked
		}
	}
	lock(true)
	for _, want := range [][]string{{fmt.Sprint(int(Locked), " locked unreadable")}, nil} {
		i.check(".")
		if got := said(i.d.Remarks()); !slices.Equal(got, want) {
			t.Errorf("%q; want %q", got, want)
		}
	}
	lock(false)
	for _, want := range [][]string{{fmt.Sprint(int(Restored), " locked")}, nil} {
		i.check(".")
		if got := said(i.d.Remarks()); !slices.Equal(got, want) {
			t.Errorf("%q; want %q", got, want)
		}
	}
}
