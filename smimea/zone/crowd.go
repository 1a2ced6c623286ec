package zone

import (
	"bytes"
	"cmp"
	"slices"
)

// crowded is the number of claims from which a node is written once an edit, and not
// anew for each claim.
const crowded = 16

// maxCrowds is how many octets of claims an edit keeps, about, before it writes them.
const maxCrowds = 256 << 20

// A crowd is the claims of a name with many of them, while an edit changes them. What
// its node in the table has is older.
type crowd struct {
	claims []claim // in the order of their files, so that a file's are found at once
	size   int     // octets of records; more than there are where files publish the same
}

// crowd begins one with the claims that a node has.
func (e *Edit) crowd(tree Tree, key []byte, claims []claim) *crowd {
	w := &crowd{claims: claims}
	slices.SortFunc(w.claims, func(a, b claim) int { return cmp.Compare(a.file, b.file) })
	for _, c := range claims {
		w.size += e.fixed(tree) + len(c.data)
		e.took(c)
	}
	e.crowds[tree][string(key)] = w
	return w
}

// took counts a claim in a crowd, and writes all crowds when they have become too large.
func (e *Edit) took(c claim) {
	const overhead = 64
	if e.room -= overhead + len(c.data); e.room < 0 && len(e.crowds[Certs])+len(e.crowds[Texts]) > 1 {
		e.disperse()
	}
}

// disperse writes all crowds to their nodes.
func (e *Edit) disperse() {
	for tree := range e.crowds {
		for key, w := range e.crowds[tree] {
			tree, key := Tree(tree), []byte(key)
			old := e.get(tree, key)
			below, _ := old.below()
			e.set(tree, key, old, old.with(below, w.claims, e.fixed(tree)))
		}
		clear(e.crowds[tree])
	}
	e.room = maxCrowds
}

// of returns where a file's claims are.
func (w *crowd) of(file uint32) (start, end int) {
	start, _ = slices.BinarySearchFunc(w.claims, file, func(c claim, file uint32) int { return cmp.Compare(c.file, file) })
	for end = start; end < len(w.claims) && w.claims[end].file == file; end++ {
	}
	return start, end
}

// add adds a claim, and reports whether it was not there. The error says that the
// answer has no room for it.
func (w *crowd) add(c claim, fixed int) (added bool, err error) {
	start, end := w.of(c.file)
	if slices.ContainsFunc(w.claims[start:end], c.equal) {
		return false, nil
	}
	if fixed+len(c.data) > maxAnswer {
		return false, errFull
	}
	c.data = bytes.Clone(c.data)
	w.claims = slices.Insert(w.claims, end, c)
	if w.size += fixed + len(c.data); w.size <= maxAnswer {
		return true, nil // there is room for all of them
	}
	all := slices.Clone(w.claims)
	fit(all, fixed)
	return true, c.fits(all)
}

// withdraw takes away what a file claims. The size stays: it is an upper bound.
func (w *crowd) withdraw(file uint32) {
	start, end := w.of(file)
	w.claims = slices.Delete(w.claims, start, end)
}

// equal reports whether a claim is the same, whether there is room for it or not.
func (c claim) equal(d claim) bool {
	return c.file == d.file && c.variant == d.variant && bytes.Equal(c.data, d.data)
}

// fits returns [errFull] if a claim is among these, in order, without room for it.
func (c claim) fits(claims []claim) error {
	for _, has := range claims {
		if has.surplus && has.file == c.file && bytes.Equal(has.data, c.data) {
			return errFull
		}
	}
	return nil
}
