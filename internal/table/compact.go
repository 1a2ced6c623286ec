package table

// Compact is [Edit.Table] with the pages of each chunk in one piece of memory. A table
// that was filled entry by entry has left holes of all sizes between its pages, together
// as large as itself; pages that are edited later are pieces of their own again. The
// chunks are done one after the other, and what the edit has made is given up on the
// way: there is never room for all of it twice.
func (e *Edit) Compact() *Table {
	for i, c := range e.t.chunks {
		size := 0
		for _, page := range c.pages {
			size += len(page)
		}
		if c.epoch != e.epoch { // an older version's, too
			c = &chunk{pages: c.pages}
			e.t.chunks[i] = c
		}
		c.epoch = 0
		all := make([]byte, 0, size)
		for j, page := range c.pages {
			start := len(all)
			all = append(all, page...)
			c.pages[j] = all[start:len(all):len(all)]
		}
	}
	t := e.t
	e.t, e.own = Table{}, nil
	return &t
}
