package directory

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/internal/testcert"
)

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
		if d := got.Sub(want).Abs(); d > 10*time.Minute { // a slow machine takes its time
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
