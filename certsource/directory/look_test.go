package directory

import (
	"strings"
	"testing"
)

// TestNested holds that what a look, and a check of single files, costs grows with the
// directories that are within each other, and not with their square.
func TestNested(t *testing.T) {
	const deep = 300
	i := newImagined(t, withWatch)
	var paths []string
	for n := range deep {
		p := strings.Repeat("a/", n) + "file.pem"
		i.write(p, 0)
		paths = append(paths, p)
	}
	calls := 0
	i.m.Before = func(string, string) error { calls++; return nil }
	for name, do := range map[string]func(){
		"a look":                   func() { i.check(".") },
		"a check of all":           func() { i.check(paths...) },
		"a check of the deepest":   func() { i.check(paths[deep-1]) },
		"a check of the one above": func() { i.check(strings.TrimSuffix(paths[deep-1], "/file.pem")) },
	} {
		calls = 0
		if do(); i.err != nil || calls > 20*deep {
			t.Errorf("%s: %d calls for %d directories, %v", name, calls, deep, i.err)
		}
	}
	if i.d.Published() != deep {
		t.Errorf("%d of %d are published", i.d.Published(), deep)
	}
	for n := 1; n < deep; n += 50 {
		if f := i.watch.folders.at(strings.TrimSuffix(strings.Repeat("a/", n), "/")); f.path() != strings.TrimSuffix(strings.Repeat("a/", n), "/") {
			t.Errorf("its path is %q", f.path())
		}
	}
	i.remove("a")
	i.check(".")
	calls = 0
	i.check(".")
	if i.d.Published() != 1 || calls > 20*deep {
		t.Errorf("%d are left, after %d calls", i.d.Published(), calls)
	}
}
