package directory

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"coredns-smimea/internal/disk"
	"coredns-smimea/internal/harness"
)

// watched is a world with a watch, looked at once.
func watched(t *testing.T, options ...func(*Options)) (*world, *Watch) {
	t.Helper()
	var watch *Watch
	w := newWorld(t, append(options, func(o *Options) { o.Enter = func(dir string) { watch.Add(dir) } })...)
	w.write("a.pem")
	w.write("sub/deep/b.pem")
	var err error
	if watch, err = NewWatch(w.d.options.Dir, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(watch.Close)
	return w, watch
}

// settle does what is heard of until the world publishes what is wanted.
func settleTo(w *world, watch *Watch, want ...string) {
	w.Helper()
	slices.Sort(want)
	has := func() bool {
		got := []string{}
		for p := range w.served {
			got = append(got, p)
		}
		slices.Sort(got)
		return slices.Equal(got, want)
	}
	deadline := time.After(harness.Patience)
	for {
		var again <-chan time.Time
		if len(w.report.Unsettled) > 0 {
			again = time.After(20 * time.Millisecond)
		}
		select {
		case <-again:
			w.skew += patience
			w.checkPaths(w.report.Unsettled...)
		case <-watch.C:
			if paths, all := watch.Take(); all {
				w.look()
			} else {
				w.checkPaths(append(paths, w.report.Unsettled...)...)
			}
		case <-deadline:
			w.Fatalf("waited for %q, published are %v, unsettled %q", want, w.served, w.report.Unsettled)
		}
		if has() && w.err == nil {
			return
		}
	}
}

// TestWatch holds that a watch tells of everything that can be done to the
// directory, so that no look at everything is needed to see it.
func TestWatch(t *testing.T) {
	w, watch := watched(t)
	w.look()
	if err := watch.Deaf(); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		do   func()
		want []string
	}{
		{"created", func() { w.write("c.pem") }, []string{"a.pem", "c.pem", "sub/deep/b.pem"}},
		{"beside its place first", func() { w.write("d.pem.tmp"); w.rename("d.pem.tmp", "d.pem") }, []string{"a.pem", "c.pem", "d.pem", "sub/deep/b.pem"}},
		{"deleted", func() { w.remove("d.pem"); w.remove("c.pem") }, []string{"a.pem", "sub/deep/b.pem"}},
		{"deep", func() { w.write("sub/deep/c.pem") }, []string{"a.pem", "sub/deep/b.pem", "sub/deep/c.pem"}},
		{"new directories", func() { w.write("x/y/z/c.pem") }, []string{"a.pem", "sub/deep/b.pem", "sub/deep/c.pem", "x/y/z/c.pem"}},
		{"in a new directory", func() { w.write("x/y/z/d.pem") }, []string{"a.pem", "sub/deep/b.pem", "sub/deep/c.pem", "x/y/z/c.pem", "x/y/z/d.pem"}},
		{"directory deleted", func() { w.remove("x") }, []string{"a.pem", "sub/deep/b.pem", "sub/deep/c.pem"}},
		{"directory moved", func() { w.rename("sub", "moved") }, []string{"a.pem", "moved/deep/b.pem", "moved/deep/c.pem"}},
		{"in a moved directory", func() { w.write("moved/deep/d.pem") }, []string{"a.pem", "moved/deep/b.pem", "moved/deep/c.pem", "moved/deep/d.pem"}},
		{"moved out", func() { w.rename("moved", ".moved") }, []string{"a.pem"}},
		{"moved in", func() { w.rename(".moved", "sub") }, []string{"a.pem", "sub/deep/b.pem", "sub/deep/c.pem", "sub/deep/d.pem"}},
		{"replaced", func() { w.write(".next/deep/e.pem"); w.rename("sub", ".old"); w.rename(".next", "sub") }, []string{"a.pem", "sub/deep/e.pem"}},
		{"in a replaced directory", func() { w.write("sub/deep/f.pem") }, []string{"a.pem", "sub/deep/e.pem", "sub/deep/f.pem"}},
		{"Kubernetes", func() {
			w.write("..1/k.pem")
			w.write("..1/sub/k.pem")
			w.link("..1", "..data")
			w.link("..data/k.pem", "k.pem")
			w.link("..data/sub", "ksub")
		}, []string{"a.pem", "k.pem", "ksub/k.pem", "sub/deep/e.pem", "sub/deep/f.pem"}},
		{"Kubernetes switches", func() {
			w.write("..2/k.pem")
			w.write("..2/sub/k2.pem")
			w.swap("..2", "..data")
			w.remove("..1")
		}, []string{"a.pem", "k.pem", "ksub/k2.pem", "sub/deep/e.pem", "sub/deep/f.pem"}},
		{"below a switched link", func() { w.write("..2/sub/k3.pem") }, []string{"a.pem", "k.pem", "ksub/k2.pem", "ksub/k3.pem", "sub/deep/e.pem", "sub/deep/f.pem"}},
	} {
		t.Log(step.name)
		step.do()
		settleTo(w, watch, step.want...)
	}
	before := w.served["a.pem"]
	for name, do := range map[string]func(){
		"rewritten":    func() { w.write("a.pem") },
		"renamed over": func() { w.write(".a"); w.rename(".a", "a.pem") },
	} {
		do()
		for deadline := time.After(harness.Patience); w.served["a.pem"] == before; {
			select {
			case <-watch.C:
				paths, _ := watch.Take()
				w.checkPaths(paths...)
			case <-deadline:
				t.Fatalf("waited for a.pem to be %s", name)
			}
		}
		before = w.served["a.pem"]
	}

	// DIR itself goes and comes back as another one.
	next := newWorld(t)
	next.write("n/n.pem")
	w.must(os.Rename(w.dir, w.dir+".old"))
	w.must(os.Rename(next.dir, w.dir))
	settleTo(w, watch, "n/n.pem")
	w.write("n/m.pem")
	settleTo(w, watch, "n/n.pem", "n/m.pem")
}

// TestWatchLink switches the link that DIR is, a hundred times.
func TestWatchLink(t *testing.T) {
	w, watch := watched(t, func(o *Options) { o.Dir = filepath.Join(o.Dir, "to", "current") })
	w.write("1/sub/x.pem")
	w.write("2/sub/y.pem")
	w.must(os.Mkdir(w.at("to"), 0o755))
	w.link("../1", "to/current")
	w.look()
	w.want("sub/x.pem")
	for range 50 {
		w.swap("../2", "to/current")
		settleTo(w, watch, "sub/y.pem")
		w.swap("../1", "to/current")
		settleTo(w, watch, "sub/x.pem")
	}
	if n := kernelWatches(t); n > 4 { // DIR, its sub-directory, and the parents of link and DIR
		t.Errorf("%d watches are left in the kernel", n)
	}
}

// kernelWatches counts the inotify watches that this process has.
func kernelWatches(t *testing.T) int {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, fd := range fds {
		text, err := os.ReadFile(fd)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		n += strings.Count(string(text), "inotify wd:")
	}
	return n
}

// TestWatchMuch holds that more than can be kept becomes a look at everything,
// and that temporary files are no reason to look.
func TestWatchMuch(t *testing.T) {
	w, watch := watched(t)
	w.look()
	for i := range 200 {
		w.put(fmt.Sprintf("%d.tmp", i), nil)
		w.remove(fmt.Sprintf("%d.tmp", i))
	}
	w.write("last.pem")
	settleTo(w, watch, "a.pem", "sub/deep/b.pem", "last.pem")
	// Of the file itself there may be more to hear: it was made, and written.
	if paths, all := watch.Take(); all || slices.ContainsFunc(paths, func(p string) bool { return p != "last.pem" }) {
		t.Errorf("more to look at: %q", paths)
	}
	watch.mu.Lock()
	for i := range maxDirty + 1 {
		watch.mark(fmt.Sprint(i), false)
	}
	watch.mu.Unlock()
	if paths, all := watch.Take(); !all || len(paths) > 0 {
		t.Errorf("%d paths are kept", len(paths))
	}
}

// TestWatchAliases holds that directories at several paths, by links that are
// switched, made and removed, are heard of at each of them.
func TestWatchAliases(t *testing.T) {
	w, watch := watched(t)
	w.write(".r1/one.pem")
	w.write(".r2/two.pem")
	w.link(".r1", "blue")
	w.link(".r2", "green")
	w.look()
	w.want("a.pem", "sub/deep/b.pem", "blue/one.pem", "green/two.pem")
	w.swap(".r2", "blue") // both lead to one directory now
	settleTo(w, watch, "a.pem", "sub/deep/b.pem", "blue/two.pem", "green/two.pem")
	w.write(".r2/three.pem")
	settleTo(w, watch, "a.pem", "sub/deep/b.pem", "blue/two.pem", "green/two.pem", "blue/three.pem", "green/three.pem")
	w.remove("blue")
	settleTo(w, watch, "a.pem", "sub/deep/b.pem", "green/two.pem", "green/three.pem")
	w.write(".r2/four.pem") // still watched for the other
	settleTo(w, watch, "a.pem", "sub/deep/b.pem", "green/two.pem", "green/three.pem", "green/four.pem")
	w.remove(".r2")
	settleTo(w, watch, "a.pem", "sub/deep/b.pem")
	if n := kernelWatches(t); n > 4 {
		t.Errorf("%d watches are left in the kernel", n)
	}
}

// few is a machine with few watches.
type few struct {
	disk.System
	left int
}

type fewWatches struct {
	disk.Notifier
	*few
}

func (f *few) Watch() (disk.Notifier, error) {
	n, err := f.System.Watch()
	return fewWatches{n, f}, err
}

func (f fewWatches) Add(path string) (int, error) {
	if f.left--; f.left < 0 {
		return 0, errors.New("none left")
	}
	return f.Notifier.Add(path)
}

// TestWatchesRunOut holds that who cannot hear all says so, and again hears all
// once that is possible.
func TestWatchesRunOut(t *testing.T) {
	system := &few{disk.OS, 100}
	var watch *Watch
	w := newWorld(t, func(o *Options) { o.Enter = func(dir string) { watch.Add(dir) } })
	w.write("a.pem")
	w.write("sub/b.pem")
	var err error
	if watch, err = NewWatch(w.dir, system); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(watch.Close)
	w.look()
	if err := watch.Deaf(); err != nil {
		t.Fatal(err)
	}
	system.left = 3
	w.look()
	if err := watch.Deaf(); err == nil || err.Error() != "none left" {
		t.Errorf("deaf because of %v", err)
	}
	system.left = 100
	w.look()
	if err := watch.Deaf(); err != nil {
		t.Error(err)
	}
}

// TestWatchOverflow holds that lost events are a look at everything, after which
// all is heard again.
func TestWatchOverflow(t *testing.T) {
	w, watch := watched(t)
	w.look()
	before := kernelWatches(t)
	watch.mu.Lock()
	w.rename("sub", "moved")
	watch.restart()
	watch.mu.Unlock()
	settleTo(w, watch, "a.pem", "moved/deep/b.pem")
	w.write("moved/deep/c.pem")
	settleTo(w, watch, "a.pem", "moved/deep/b.pem", "moved/deep/c.pem")
	if n := kernelWatches(t); n != before {
		t.Errorf("%d watches are left in the kernel, %d were there", n, before)
	}
}

// TestLocked holds that a directory that nobody can read is no reason to say that changes
// are not heard of, and one that only cannot be watched is.
func TestLocked(t *testing.T) {
	for name, c := range map[string]struct {
		fails []string
		deaf  bool
	}{
		"not readable":          {[]string{"addwatch " + simDir + "/sub", "openroot " + simDir + "/sub"}, false},
		"not to be watched":     {[]string{"addwatch " + simDir + "/sub"}, true},
		"a link, not readable":  {[]string{"addwatch " + simDir + "/link", "openroot " + simDir + "/link"}, true},
		"readable and watched":  {nil, false},
		"the top, not readable": {[]string{"addwatch " + simDir, "openroot " + simDir}, true},
	} {
		i := newImagined(t)
		i.write("sub/a.pem", 0)
		i.write(".hidden/b.pem", 1)
		i.link(".hidden", "link")
		i.m.Before = func(call, name string) error {
			if slices.Contains(c.fails, call+" "+name) {
				return syscall.EACCES
			}
			return nil
		}
		watch, err := NewWatch(simDir, i.m)
		i.must(err)
		for _, dir := range []string{".", "sub", "link"} {
			watch.Add(dir)
		}
		if err := watch.Deaf(); (err != nil) != c.deaf {
			t.Errorf("%s: deaf: %v", name, err)
		}
		i.m.Before = nil
		i.must(i.m.WriteFile(simDir+"/sub/b.pem", nil))
		watch.Add("sub")
		watch.Add(".")
		watch.Add("link")
		if err := watch.Deaf(); err != nil {
			t.Errorf("%s: deaf for ever: %v", name, err)
		}
		watch.Close()
	}
}

// TestWatchTellsOnce holds that who was told of a change is not told of each that follows,
// and is told again of the first one after it took them.
func TestWatchTellsOnce(t *testing.T) {
	i := newImagined(t)
	watch, err := NewWatch(simDir, i.m)
	i.must(err)
	t.Cleanup(watch.Close)
	watch.Add(".")
	told := func() bool {
		select {
		case <-watch.C:
			return true
		default:
			return false
		}
	}
	for round := range 3 {
		i.write("a.pem", round)
		i.m.Deliver(nil)
		if !told() {
			t.Fatal("nobody is told of a change")
		}
		i.write("b.pem", round)
		i.m.Deliver(nil)
		if told() {
			t.Error("it is told again before anybody has taken what there is")
		}
		if paths, _ := watch.Take(); !slices.Equal(paths, []string{"a.pem", "b.pem"}) {
			t.Errorf("told of %q", paths)
		}
	}
}

// TestWatchDrop holds that the end of a folder costs what is below it, and
// nothing for all the others.
func TestWatchDrop(t *testing.T) {
	tree := newFolders()
	const n = 100_000
	for i := range n {
		tree.watched(tree.at(fmt.Sprintf("%d/x", i)), i)
	}
	visited := 0
	for i := range n {
		f := tree.top.below[fmt.Sprint(i)]
		tree.cut(f)
		f.each(func(f *folder) {
			visited++
			if f.watch != unwatched {
				tree.unwatched(f)
			}
		})
	}
	if visited != 2*n || len(tree.by) > 0 || len(tree.top.below) > 0 {
		t.Errorf("%d folders were visited for the end of %d; %d are left", visited, 2*n, len(tree.by))
	}
}
