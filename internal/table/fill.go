package table

import "hash/maphash"

// Fill begins a table for about as many entries, of as many octets in all
// (see [Table.Size]), for [Edit.Append]: it has its size from the start.
func Fill(entries, size int) *Edit {
	e := (*Table)(nil).Edit()
	e.first = false // its pages have more room than they need
	for e.t.buckets*entriesPerPage < entries || e.t.buckets*bytesPerPage < size && e.t.buckets*2 < entries {
		e.grow()
	}
	if e.t.buckets > 0 {
		e.room = size / e.t.buckets
	}
	return e
}

// Append makes value the value of key, which must not be there yet: that is not
// looked for. It keeps neither slice.
func (e *Edit) Append(key, value []byte) {
	if e.t.buckets == 0 {
		e.grow()
	}
	h := maphash.Bytes(seed, key)
	page := e.page(bucket(h, e.t.buckets))
	if cap(*page) < e.room {
		*page = append(make([]byte, 0, e.room+e.room/8), *page...)
	}
	old := len(*page)
	*page = appendEntry(*page, tag(h), key, value)
	e.t.entries++
	e.t.size += len(*page) - old
	for e.crowded() {
		e.split()
	}
}
