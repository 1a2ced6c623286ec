package table

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"testing"
)

// model is what a Table stands for.
type model map[string]string

func check(t *testing.T, tab *Table, want model) {
	t.Helper()
	if tab.Len() != len(want) {
		t.Fatalf("Len() = %d, want %d", tab.Len(), len(want))
	}
	for k, v := range want {
		if got, ok := tab.Get([]byte(k)); !ok || string(got) != v {
			t.Fatalf("Get(%q) = %q, %v, want %q", k, got, ok, v)
		}
	}
	seen, size := model{}, 0
	for k, v := range tab.All() {
		seen[string(k)] = string(v)
	}
	if !maps.Equal(seen, want) {
		t.Fatalf("All() yields %d entries, want %d, or others", len(seen), len(want))
	}
	for i := range tab.Pages() {
		size += len(tab.chunks[i/pagesPerChunk].pages[i%pagesPerChunk])
	}
	if size != tab.Size() {
		t.Fatalf("Size() = %d, want %d", tab.Size(), size)
	}
}

// TestVersions edits at random and holds every version to its model to the
// end: what was made from it later must not show in it.
func TestVersions(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	type version struct {
		t *Table
		m model
	}
	versions := []version{{nil, model{}}}
	for range 60 {
		last := versions[r.IntN(len(versions))] // branches, too
		e, m := last.t.Edit(), maps.Clone(last.m)
		for range r.IntN(400) {
			key := fmt.Sprintf("key %d", r.IntN(600))
			if r.IntN(3) == 0 {
				e.Delete([]byte(key))
				delete(m, key)
				continue
			}
			value := fmt.Sprintf("%d", r.Uint64())
			for range r.IntN(6) {
				value += value
			}
			e.Set([]byte(key), []byte(value))
			m[key] = value
			if got, ok := e.Get([]byte(key)); !ok || string(got) != value {
				t.Fatalf("Edit.Get(%q) = %q, %v", key, got, ok)
			}
		}
		versions = append(versions, version{e.Table(), m})
	}
	for _, v := range versions {
		check(t, v.t, v.m)
	}
}

func TestEmpty(t *testing.T) {
	check(t, nil, model{})
	check(t, new(Table), model{})
	e := (*Table)(nil).Edit()
	e.Delete([]byte("none"))
	check(t, e.Table(), model{})
	e = (*Table)(nil).Edit()
	e.Set(nil, nil)
	check(t, e.Table(), model{"": ""})
}

func filled(n int) *Table {
	e := (*Table)(nil).Edit()
	var key [28]byte
	value := bytes.Repeat([]byte{7}, 40)
	r := rand.New(rand.NewPCG(3, 4))
	for range n {
		for i := range key {
			key[i] = byte(r.Uint32())
		}
		e.Set(key[:], value)
	}
	return e.Table()
}

// TestOneChange holds a change to its promise: it copies a page and a piece of
// the list of pages, whatever the table's size.
func TestOneChange(t *testing.T) {
	tab := filled(100_000)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	e := tab.Edit()
	e.Set([]byte("one more"), []byte("value"))
	_ = e.Table()
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 32<<10 {
		t.Errorf("one change in %d entries allocated %d bytes", tab.Len(), n)
	}
}

func BenchmarkGet(b *testing.B) {
	tab := filled(1_000_000)
	var keys [][]byte
	for k := range tab.All() {
		if keys = append(keys, k); len(keys) == 1<<16 {
			break
		}
	}
	b.ReportMetric(float64(tab.Size())/float64(tab.Len()), "B/entry")
	for i := 0; b.Loop(); i++ {
		if _, ok := tab.Get(keys[i*7919%len(keys)]); !ok {
			b.Fatal("lost")
		}
	}
}

func BenchmarkFill(b *testing.B) {
	for b.Loop() {
		filled(100_000)
	}
}

func BenchmarkOneChange(b *testing.B) {
	tab := filled(1_000_000)
	for b.Loop() {
		e := tab.Edit()
		e.Set([]byte("one more"), []byte("value"))
		tab = e.Table()
	}
}
