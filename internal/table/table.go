// Package table is a map from bytes to bytes for a million entries and more,
// kept in versions: a [Table] never changes, an [Edit] makes the next one and
// copies only the pages that it touches.
//
// Entries lie encoded in pages, byte slices of about a kilobyte, so that the
// garbage collector sees one pointer for some sixteen entries and nothing to
// follow inside. Pages are the buckets of a linear hash (W. Litwin, 1980):
// the table grows by one bucket at a time, and no single Set ever has to move
// everything.
package table

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"iter"
	"math/bits"
	"sync/atomic"
)

const (
	entriesPerPage = 16      // mean load above which the table grows
	bytesPerPage   = 1 << 10 // the same where entries are large, see crowded
	pagesPerChunk  = 64
)

// seed makes the place of an entry unknown to whoever chooses its key.
var seed = maphash.MakeSeed()

// epochs numbers the edits of this process. A chunk remembers the edit that
// made it: that edit, and no other, may write to it.
var epochs atomic.Uint64

// chunk is a run of pages, the unit in which the list of pages is copied.
type chunk struct {
	pages [pagesPerChunk][]byte
	epoch uint64
	fresh uint64 // bit i: pages[i] was allocated in this epoch and may be written in place
}

// A Table is one version of the map. It is immutable and safe for concurrent
// use. The zero Table, and a nil one, are empty.
type Table struct {
	chunks  []*chunk
	buckets int
	entries int
	size    int // of all pages, in bytes
}

// Len returns the number of entries.
func (t *Table) Len() int {
	if t == nil {
		return 0
	}
	return t.entries
}

// Size returns the octets that the entries take.
func (t *Table) Size() int {
	if t == nil {
		return 0
	}
	return t.size
}

// Get returns the value of key, which must not be modified.
func (t *Table) Get(key []byte) (value []byte, ok bool) {
	if t == nil || t.buckets == 0 {
		return nil, false
	}
	h := maphash.Bytes(seed, key)
	b := bucket(h, t.buckets)
	page := t.chunks[b/pagesPerChunk].pages[b%pagesPerChunk]
	if e, ok := find(page, key, tag(h)); ok {
		return page[e.value:e.end], true
	}
	return nil, false
}

// All yields every entry, in no useful order. The slices must not be modified.
func (t *Table) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for i := range t.Pages() {
			for key, value := range t.Page(i) {
				if !yield(key, value) {
					return
				}
			}
		}
	}
}

// Pages returns the number of pages, for work that is done a page at a time.
func (t *Table) Pages() int {
	if t == nil {
		return 0
	}
	return t.buckets
}

// Page yields the entries of page i, 0 <= i < Pages().
func (t *Table) Page(i int) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		page := t.chunks[i/pagesPerChunk].pages[i%pagesPerChunk]
		for off := 0; off < len(page); {
			e := decode(page, off)
			if !yield(page[e.key:e.value:e.value], page[e.value:e.end:e.end]) {
				return
			}
			off = e.end
		}
	}
}

// bucket returns the bucket of hash h among n: linear hashing's rule that the
// buckets below n's highest power of two were split as far as n reaches.
func bucket(h uint64, n int) int {
	mask := uint64(1)<<bits.Len(uint(n-1)) - 1
	if b := int(h & mask); b < n {
		return b
	}
	return int(h & (mask >> 1))
}

// tag is the part of a hash that is kept with the entry: most entries of a
// page are told apart by it without a look at their keys.
func tag(h uint64) byte { return byte(h >> 56) }

// entry is where an entry lies in its page:
// tag, uvarint(len(key)), uvarint(len(value)), key, value.
type entry struct{ start, key, value, end int }

func decode(page []byte, off int) entry {
	e := entry{start: off}
	off++
	klen, n := binary.Uvarint(page[off:])
	off += n
	vlen, n := binary.Uvarint(page[off:])
	e.key = off + n
	e.value = e.key + int(klen)
	e.end = e.value + int(vlen)
	return e
}

func find(page, key []byte, tag byte) (entry, bool) {
	for off := 0; off < len(page); {
		e := decode(page, off)
		if page[off] == tag && bytes.Equal(page[e.key:e.value], key) {
			return e, true
		}
		off = e.end
	}
	return entry{}, false
}
