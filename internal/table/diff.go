package table

import (
	"bytes"
	"iter"
)

// A Change is an entry that two tables do not have alike. Old or New is nil
// where a table has no such key. The slices must not be modified.
type Change struct{ Key, Old, New []byte }

// Diff yields what is to be changed in old to get new, in no useful order. Of
// versions made from one another it looks only at the pages that edits have
// touched, and at one pointer for every other one.
func Diff(old, new *Table) iter.Seq[Change] {
	return func(yield func(Change) bool) {
		for i := range new.Pages() {
			if i < old.Pages() && same(old.page(i), new.page(i)) {
				continue
			}
			for key, value := range new.Page(i) {
				if before, ok := old.Get(key); !ok || !bytes.Equal(before, value) {
					if !ok {
						before = nil
					} else if before == nil {
						before = []byte{}
					}
					if !yield(Change{key, before, value}) {
						return
					}
				}
			}
		}
		for i := range old.Pages() {
			if i < new.Pages() && same(old.page(i), new.page(i)) {
				continue
			}
			for key, value := range old.Page(i) {
				if _, ok := new.Get(key); !ok && !yield(Change{key, value, nil}) {
					return
				}
			}
		}
	}
}

func (t *Table) page(i int) []byte { return t.chunks[i/pagesPerChunk].pages[i%pagesPerChunk] }

// same reports whether two pages are one piece of memory, which nobody changes.
func same(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
