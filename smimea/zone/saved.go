package zone

import (
	"encoding/binary"
	"errors"
	"iter"

	"coredns-smimea/internal/table"
	"coredns-smimea/smimea"
)

// Totals are what a zone knows of all its records together.
type Totals struct {
	Owners [2]int // names with records, by tree
	Sum    uint64 // of all nodes

	Entries [2]int // that Zone.Entries yields, by tree
	Octets  [2]int // of these
}

// Totals returns them, to be kept with the zone's entries.
func (z *Zone) Totals() Totals {
	t := Totals{Owners: z.owners, Sum: z.sum}
	for tree, table := range z.tables {
		t.Entries[tree], t.Octets[tree] = table.Len(), table.Size()
	}
	return t
}

// Entries yields what a sub-tree has in a form that a [Restoration] takes, in this
// version of the program and maybe in no other. Signatures are left out: other
// keys may sign by then.
func (z *Zone) Entries(t Tree) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for key, value := range z.tables[t].All() {
			n := node(value)
			if !yield(key, n[:len(n)-len(n.signatures())]) {
				return
			}
		}
	}
}

// A Restoration makes a zone of the entries of an earlier one with the same
// place, but for TTLs and apex. The sub-trees may be added to at the same time.
type Restoration struct {
	zone   *Zone
	totals Totals
	edits  [2]*table.Edit
}

// Restore begins to restore a zone that had these totals. Prefix is that of
// NewZone.
func Restore(p *Place, prefix string, t Totals) *Restoration {
	r := &Restoration{zone: NewZone(p, prefix), totals: t}
	for tree := range r.edits {
		r.edits[tree] = table.Fill(t.Entries[tree], t.Octets[tree])
	}
	return r
}

var errEntry = errors.New("an entry is not one of a zone")

// Add adds an entry of a sub-tree, as Entries has yielded it.
func (r *Restoration) Add(t Tree, key, value []byte) error {
	if !validKey(t, key) || !node(value).valid(t) {
		return errEntry
	}
	r.edits[t].Append(key, value)
	return nil
}

// Zone returns what was added as a zone. The Restoration is at its end.
func (r *Restoration) Zone(serial uint32) *Zone {
	r.zone.Serial, r.zone.owners, r.zone.sum = serial, r.totals.Owners, r.totals.Sum
	for tree, edit := range r.edits {
		r.zone.tables[tree] = edit.Table()
	}
	return r.zone
}

func validKey(t Tree, key []byte) bool {
	if t == Certs {
		return len(key) == smimea.HashSize
	}
	if len(key) == 0 || len(key) > smimea.MaxName {
		return false
	}
	for len(key) > 0 {
		length := int(key[0])
		if length == 0 || length > 63 || length >= len(key) {
			return false
		}
		key = key[1+length:]
	}
	return true
}

// valid reports whether a node can be read, and has no signatures.
func (n node) valid(t Tree) bool {
	_, size := binary.Uvarint(n)
	if size <= 0 {
		return false
	}
	b := n[size:]
	count, size := binary.Uvarint(b)
	if size <= 0 {
		return false
	}
	b = b[size:]
	for i := range count {
		// What is first in order fits: see fit.
		if len(b) < 6 || b[4] > 3 || i == 0 && b[4] > 1 {
			return false
		}
		length, size := binary.Uvarint(b[5:])
		if size <= 0 || length > uint64(len(b)-5-size) || t == Certs && length < 3 {
			return false
		}
		b = b[5+size+int(length):]
	}
	return len(b) == 0
}
