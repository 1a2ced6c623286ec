package directory

import (
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

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
		{"directory replaced by a file", nil,
			func(w *world) []string {
				w.remove("sub")
				w.must(os.WriteFile(w.at("sub"), nil, 0o600))
				return []string{"sub"}
			},
			[]string{"a.pem"}},
		{"directory replaced by a FIFO", nil,
			func(w *world) []string {
				w.remove("sub")
				w.must(syscall.Mkfifo(w.at("sub"), 0o600))
				return []string{"sub"}
			},
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
