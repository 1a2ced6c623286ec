package directory

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"testing"
	"time"

	"coredns-smimea/internal/disk"
	"coredns-smimea/internal/harness"
)

// meddling is this machine with somebody at work in it: he is called before each
// directory is listed, and while a look waits.
type meddling struct {
	disk.System
	listing func(dir string)
	waiting func()
}

type meddledRoot struct {
	disk.Root
	m *meddling
}

func (m *meddling) Open(dir string) (disk.Root, error) {
	root, err := m.System.Open(dir)
	if err != nil {
		return nil, err
	}
	return meddledRoot{root, m}, nil
}

func (r meddledRoot) List(name string, yield func([]fs.DirEntry)) error {
	if r.m.listing != nil {
		r.m.listing(name)
	}
	return r.Root.List(name, yield)
}

func (m *meddling) Sleep(ctx context.Context, d time.Duration) {
	if m.waiting != nil {
		m.waiting()
	}
	m.System.Sleep(ctx, d)
}

func meddled(t *testing.T) (*world, *meddling) {
	var m *meddling
	w := newWorld(t, func(o *Options) {
		m = &meddling{System: o.System}
		o.System, o.Workers = m, 1
		o.MaxWithdraw = 100
	})
	return w, m
}

// once returns a function that calls do the first time that it is called with a
// directory.
func once(dir string, do func()) func(string) {
	return func(d string) {
		if d == dir && do != nil {
			do()
			do = nil
		}
	}
}

// TestMovedDuringLook holds that what is moved while a look goes on is not gone.
func TestMovedDuringLook(t *testing.T) {
	for name, test := range map[string]struct {
		files []string
		when  string // this directory is listed
		do    func(w *world)
		want  []string
	}{
		"a file to a directory that was listed": {[]string{"a/1.pem", "b/2.pem"}, "a", func(w *world) { w.rename("a/1.pem", "b/1.pem") }, []string{"b/1.pem", "b/2.pem"}},
		"a directory to one that was listed":    {[]string{"a/x/1.pem", "b/2.pem"}, "a", func(w *world) { w.rename("a/x", "b/y") }, []string{"b/y/1.pem", "b/2.pem"}},
		"a directory to the top":                {[]string{"a/x/1.pem", "b/2.pem"}, "a", func(w *world) { w.rename("a/x", "y") }, []string{"y/1.pem", "b/2.pem"}},
		"three change places": {[]string{"a/1.pem", "b/2.pem", "b/3.pem"}, "a", func(w *world) {
			w.rename("a/1.pem", "x")
			w.rename("b/2.pem", "a/1.pem")
			w.rename("b/3.pem", "b/2.pem")
			w.rename("x", "b/3.pem")
		}, []string{"a/1.pem", "b/2.pem", "b/3.pem"}},
		"two directories change places":           {[]string{"a/1.pem", "b/2.pem"}, "a", func(w *world) { w.rename("a", "x"); w.rename("b", "a"); w.rename("x", "b") }, []string{"a/2.pem", "b/1.pem"}},
		"a file is replaced in what was listed":   {[]string{"a/1.pem", "b/2.pem"}, "a", func(w *world) { w.rename("a/1.pem", "b/2.pem") }, []string{"b/2.pem"}},
		"a directory that nobody knew holds it":   {[]string{"a/1.pem", "b/2.pem"}, "a", func(w *world) { w.must(os.Mkdir(w.at("c"), 0o755)); w.rename("a/1.pem", "c/1.pem") }, []string{"c/1.pem", "b/2.pem"}},
		"a link to a directory leads there first": {[]string{".r/1.pem", "b/2.pem"}, "b", func(w *world) { w.link(".r", "a") }, []string{"b/2.pem"}},
	} {
		t.Run(name, func(t *testing.T) {
			w, m := meddled(t)
			for _, p := range test.files {
				w.write(p)
			}
			w.look()
			before := map[[32]byte]bool{}
			for _, digest := range w.served {
				before[digest] = true
			}
			m.listing = once(test.when, func() { test.do(w) })
			w.look()
			have := map[[32]byte]bool{}
			for _, digest := range w.served {
				have[digest] = true
			}
			if len(test.want) == len(test.files) && len(have) != len(before) {
				t.Errorf("%d of %d certificates are left: %v", len(have), len(before), w.served)
			}
			w.skew += time.Second
			w.look()
			if name != "a link to a directory leads there first" {
				w.want(test.want...)
			}
			w.look()
			if w.changes > 0 {
				t.Errorf("%d changes where nothing has changed", w.changes)
			}
		})
	}
}

// TestMovedWhileWaiting moves a file about each time that the look waits: it is
// never gone, and each look has an end.
func TestMovedWhileWaiting(t *testing.T) {
	w, m := meddled(t)
	w.write("a/1.pem")
	w.write("b/2.pem")
	w.look()
	at := "a/1.pem"
	moves := 0
	move := func() {
		next := fmt.Sprintf("%c/1.pem", "ab"[moves%2])
		if next != at {
			w.rename(at, next)
			at = next
		}
		moves++
	}
	for range 50 {
		m.listing = func(string) { move() }
		m.waiting = move
		before := moves
		w.look()
		if w.d.Published() < 2 {
			t.Fatalf("after %d moves %d are published", moves, w.d.Published())
		}
		if moves-before > 50 {
			t.Fatalf("one look has listed and waited %d times", moves-before)
		}
	}
	m.listing, m.waiting = nil, nil
	w.skew += time.Second
	w.look()
	w.want(at, "b/2.pem")
}

// TestBusy holds that a certificate is withdrawn in the end, however much else is
// changed all the time.
func TestBusy(t *testing.T) {
	w, m := meddled(t)
	w.write("a/1.pem")
	w.write("b/2.pem")
	w.look()
	n := 0
	m.waiting = func() { n++; w.put(fmt.Sprintf("b/%d.txt", n), nil) }
	w.remove("a/1.pem")
	looks := 0
	for began := w.now(); w.d.Published() == 2; looks++ {
		w.checkPaths(".")
		if w.d.Published() == 2 && len(w.report.Unsettled) == 0 {
			t.Fatal("it is not looked at again soon")
		}
		w.skew += 250 * time.Millisecond
		if w.now().Sub(began) > time.Minute {
			t.Fatal("it is never withdrawn")
		}
	}
	w.want("b/2.pem")
	if looks > 20 {
		t.Errorf("that took %d looks", looks)
	}
}

// TestReplacedDuringLook holds that a look at what is not the directory any more
// withdraws nothing.
func TestReplacedDuringLook(t *testing.T) {
	w, m := meddled(t)
	w.write("a/1.pem")
	w.write("b/2.pem")
	w.look()
	m.listing = once("a", func() {
		w.must(os.Rename(w.dir, w.dir+".was"))
		w.must(os.Mkdir(w.dir, 0o755))
		w.must(os.CopyFS(w.dir, os.DirFS(w.dir+".was")))
		w.must(os.RemoveAll(w.dir + ".was"))
	})
	w.look()
	w.want("a/1.pem", "b/2.pem")
	w.checkPaths(w.report.Unsettled...)
	w.want("a/1.pem", "b/2.pem")
	w.remove("a")
	w.look()
	w.want("b/2.pem")
}

// TestHeardLate holds that a check of what notifications have told of asks for
// what they tell meanwhile.
func TestHeardLate(t *testing.T) {
	var heard []string
	everywhere := false
	w, m := meddled(t)
	w.d.options.Heard = func() ([]string, bool) { defer func() { heard = nil }(); return heard, everywhere }
	w.write("a/1.pem")
	w.write("b/2.pem")
	w.look()
	w.rename("a/1.pem", "b/1.pem")
	heard = []string{"b/1.pem"}
	w.checkPaths("a/1.pem")
	w.want("b/1.pem", "b/2.pem")
	// Where they do not tell all, absence takes a look at all.
	everywhere = true
	w.rename("b/1.pem", "a/1.pem")
	w.checkPaths("b/1.pem")
	w.want("a/1.pem", "b/2.pem")
	m.waiting = func() { t.Error("a check that finds nothing gone waits") }
	w.write("c.pem")
	w.checkPaths("c.pem")
	w.want("a/1.pem", "b/2.pem", "c.pem")
}

// TestDanglingLink holds that what is below a link that leads nowhere for a moment
// stays, and goes once it has led nowhere for longer.
func TestDanglingLink(t *testing.T) {
	w := newWorld(t)
	w.write(".v1/1.pem")
	w.write(".v2/1.pem")
	w.link(".v1", "current")
	w.look()
	w.want("current/1.pem")
	w.remove(".v1")
	for range 3 {
		w.checkPaths("current")
		w.want("current/1.pem")
		w.look()
		w.want("current/1.pem")
	}
	w.swap(".v2", "current")
	w.look()
	w.want("current/1.pem")
	w.remove(".v2")
	w.look()
	w.want("current/1.pem")
	w.skew += patience
	w.checkPaths(w.report.Unsettled...)
	w.want()
}

// TestManyUnreadable holds that the files of unreadable directories cost no more
// each, however many there are.
func TestManyUnreadable(t *testing.T) {
	l := look{unread: map[string]bool{}}
	for i := range 100_000 {
		l.unread[fmt.Sprint("d", i)] = true
	}
	began := harness.ProcessorTime()
	for i := range 100_000 {
		if !l.isUnread(fmt.Sprintf("d%d/x/y.pem", i)) || l.isUnread(fmt.Sprintf("e%d/x/y.pem", i)) {
			t.Fatal("wrong")
		}
	}
	if took := harness.ProcessorTime() - began; took > 10*time.Second {
		t.Errorf("it took %v of the processor", took)
	}
}
