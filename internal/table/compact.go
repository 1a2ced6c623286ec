package table

// Compact returns the same version with the pages of each chunk in one piece of
// memory. A table that was filled entry by entry has left holes of all sizes
// between its pages, together as large as itself; pages that are edited later
// are pieces of their own again.
func (t *Table) Compact() *Table {
	if t == nil {
		return nil
	}
	next := *t
	next.chunks = make([]*chunk, len(t.chunks))
	for i, old := range t.chunks {
		size := 0
		for _, page := range old.pages {
			size += len(page)
		}
		c := &chunk{}
		all := make([]byte, 0, size)
		for j, page := range old.pages {
			start := len(all)
			all = append(all, page...)
			c.pages[j] = all[start:len(all):len(all)]
		}
		next.chunks[i] = c
	}
	return &next
}
