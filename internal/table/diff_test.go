package table

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
)

// TestDiff holds that the changes between any two versions, applied to the
// first, make the second, and that none is superfluous.
func TestDiff(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	type version struct {
		t *Table
		m model
	}
	versions := []version{{nil, model{}}}
	for range 40 {
		last := versions[r.IntN(len(versions))]
		e, m := last.t.Edit(), maps.Clone(last.m)
		for range r.IntN(200) {
			key := fmt.Sprintf("key %d", r.IntN(2000))
			if r.IntN(3) == 0 {
				e.Delete([]byte(key))
				delete(m, key)
				continue
			}
			value := fmt.Sprint(r.IntN(3))
			if value == "0" {
				value = ""
			}
			e.Set([]byte(key), []byte(value))
			m[key] = value
		}
		versions = append(versions, version{e.Table(), m})
	}
	for _, from := range versions {
		for _, to := range versions {
			m := maps.Clone(from.m)
			for c := range Diff(from.t, to.t) {
				old, ok := m[string(c.Key)]
				if ok != (c.Old != nil) || old != string(c.Old) {
					t.Fatalf("Diff has %q as the old value of %q, want %q, %v", c.Old, c.Key, old, ok)
				}
				if c.New == nil {
					delete(m, string(c.Key))
				} else if m[string(c.Key)] = string(c.New); c.Old != nil && string(c.Old) == string(c.New) {
					t.Fatalf("Diff has %q, which is the same in both", c.Key)
				}
			}
			if !maps.Equal(m, to.m) {
				t.Fatalf("the changes make %d entries, want %d, or others", len(m), len(to.m))
			}
		}
	}
}

// TestDiffOfOneChange holds that a version is compared with the one that it was
// made from without a look at most entries.
func TestDiffOfOneChange(t *testing.T) {
	tab := filled(100_000)
	e := tab.Edit()
	e.Set([]byte("one more"), []byte("value"))
	next := e.Table()
	if n := testing.AllocsPerRun(1, func() {
		changes := 0
		for range Diff(tab, next) {
			changes++
		}
		if changes != 1 {
			t.Errorf("%d changes, want 1", changes)
		}
	}); n > 10 {
		t.Errorf("%v allocations", n)
	}
}
