package table

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"slices"
)

// An Edit makes the next version of a table. It is for one goroutine.
type Edit struct {
	t     Table
	epoch uint64
	room  int      // of a new page, see Fill
	own   []*chunk // those made by this edit
	first bool     // there was nothing before
}

// Edit begins a new version of t.
func (t *Table) Edit() *Edit {
	e := &Edit{epoch: epochs.Add(1), first: t.Len() == 0}
	if t != nil {
		e.t = *t
		e.t.chunks = slices.Clone(t.chunks)
	}
	return e
}

// Len returns the number of entries as edited so far.
func (e *Edit) Len() int { return e.t.entries }

// Get returns the value of key as edited so far. It is valid until the next
// Set or Delete.
func (e *Edit) Get(key []byte) (value []byte, ok bool) { return e.t.Get(key) }

// Set makes value the value of key. It keeps neither slice.
func (e *Edit) Set(key, value []byte) {
	if e.t.buckets == 0 {
		e.grow()
	}
	h := maphash.Bytes(seed, key)
	page := e.page(bucket(h, e.t.buckets))
	old := len(*page)
	at, ok := find(*page, key, tag(h))
	if ok {
		*page = slices.Delete(*page, at.start, at.end)
	} else {
		e.t.entries++
	}
	*page = appendEntry(*page, tag(h), key, value)
	e.t.size += len(*page) - old
	for e.crowded() {
		e.split()
	}
}

// Delete removes key, if it is there.
func (e *Edit) Delete(key []byte) {
	if _, ok := e.t.Get(key); !ok {
		return
	}
	h := maphash.Bytes(seed, key)
	page := e.page(bucket(h, e.t.buckets))
	at, _ := find(*page, key, tag(h))
	*page = slices.Delete(*page, at.start, at.end)
	e.t.entries--
	e.t.size -= at.end - at.start
}

// Table returns the new version. The Edit is at its end.
func (e *Edit) Table() *Table {
	fresh := 0
	for _, c := range e.own {
		fresh += bits.OnesCount64(c.fresh)
	}
	// What a large edit leaves behind lies scattered between the pages that it
	// keeps, and holds their memory. So none is kept: they all move together. Where
	// there was nothing before, they stay: there would have to be room for all twice.
	move := !e.first && fresh > 1000 && 2*fresh > e.t.buckets
	for _, c := range e.own {
		for i, page := range c.pages {
			// Room to grow is for an edit in progress; a version has none to spare.
			if c.fresh&(1<<i) != 0 && (move || cap(page) > len(page)+len(page)/8) {
				c.pages[i] = slices.Clip(append(make([]byte, 0, len(page)), page...))
			}
		}
		c.epoch = 0
	}
	t := e.t
	e.t, e.own = Table{}, nil
	return &t
}

// page returns bucket b's page for writing.
func (e *Edit) page(b int) *[]byte {
	c := e.chunk(b / pagesPerChunk)
	i := b % pagesPerChunk
	if c.fresh&(1<<i) == 0 {
		page := c.pages[i]
		c.pages[i] = append(make([]byte, 0, len(page)+len(page)/entriesPerPage+64), page...)
		c.fresh |= 1 << i
	}
	return &c.pages[i]
}

func (e *Edit) chunk(i int) *chunk {
	c := e.t.chunks[i]
	if c.epoch != e.epoch {
		c = &chunk{pages: c.pages, epoch: e.epoch}
		e.t.chunks[i] = c
		e.own = append(e.own, c)
	}
	return c
}

// crowded reports whether the table should grow by a bucket: by the number of
// entries, or, where these are large, by their size.
func (e *Edit) crowded() bool {
	return e.t.entries > entriesPerPage*e.t.buckets ||
		e.t.size > bytesPerPage*e.t.buckets && e.t.entries > 2*e.t.buckets
}

// grow adds one empty bucket.
func (e *Edit) grow() {
	if e.t.buckets%pagesPerChunk == 0 {
		c := &chunk{epoch: e.epoch}
		e.t.chunks = append(e.t.chunks, c)
		e.own = append(e.own, c)
	}
	e.t.buckets++
}

// split adds a bucket and moves the entries there that now belong to it. They
// all come from one other bucket.
func (e *Edit) split() {
	e.grow()
	n := e.t.buckets
	to := n - 1
	from := bucket(uint64(to), n-1)
	source := e.page(from)
	kept, moved := (*source)[:0], make([]byte, 0, len(*source))
	for off := 0; off < len(*source); {
		at := decode(*source, off)
		raw := (*source)[at.start:at.end]
		if bucket(maphash.Bytes(seed, (*source)[at.key:at.value]), n) == to {
			moved = append(moved, raw...)
		} else {
			kept = append(kept, raw...) // never past off: in place
		}
		off = at.end
	}
	// Half a page in the room of a whole one would double a table that is filled.
	*source = withRoom(kept, 0)
	*e.page(to) = withRoom(moved, 0)
}

// withRoom returns a page with room for some octets more, in a new place if there is
// none; for 0, always.
func withRoom(page []byte, octets int) []byte {
	if octets > 0 && cap(page)-len(page) >= octets {
		return page
	}
	return append(make([]byte, 0, len(page)+octets+len(page)/16), page...)
}

func appendEntry(page []byte, tag byte, key, value []byte) []byte {
	page = withRoom(page, 1+2*binary.MaxVarintLen32+len(key)+len(value))
	page = append(page, tag)
	page = binary.AppendUvarint(page, uint64(len(key)))
	page = binary.AppendUvarint(page, uint64(len(value)))
	page = append(page, key...)
	return append(page, value...)
}
