package zone

import (
	"encoding/binary"
	"errors"
	"iter"
	"slices"
)

// A journal is saved as entries like those of a table. The key begins with the
// number of a step and the serial that it leads away from, 4 octets each; alone
// it begins the step, and otherwise a tree, 1 octet, and a key of the tree's
// follow it. The value is an octet 1 and what the tree had, or an octet 0 where
// it had nothing.

// Entries yields what the journal has in a form that a [JournalRestoration]
// takes. Steps over changes of the apex, and those before, are left out: what
// belongs to the apex is configuration.
func (j *Journal) Entries() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		if j == nil {
			return
		}
		first := len(j.steps)
		for first > 0 && j.steps[first-1].apex == nil {
			first--
		}
		for i, s := range j.steps[first:] {
			step := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(i)), s.serial)
			if !yield(step, nil) {
				return
			}
			for _, e := range s.entries {
				value := []byte{0}
				if e.old != nil {
					value = append([]byte{1}, e.old...)
				}
				if !yield(slices.Concat(step, []byte{byte(e.section)}, []byte(e.key)), value) {
					return
				}
			}
		}
	}
}

// A JournalRestoration makes a journal of the entries of an earlier one.
type JournalRestoration struct {
	journal Journal
}

// Add adds an entry. Neither slice is kept.
func (r *JournalRestoration) Add(key, value []byte) error {
	j := &r.journal
	if len(key) < 8 || int(binary.BigEndian.Uint32(key)) > len(j.steps) {
		return errors.New("a step of a journal is malformed")
	}
	if len(key) == 8 {
		j.steps = append(j.steps, &step{serial: binary.BigEndian.Uint32(key[4:]), size: overhead})
		j.size += overhead
		return nil
	}
	if len(j.steps) == 0 || key[8] > byte(Texts) || len(value) == 0 {
		return errors.New("an entry of a journal is malformed")
	}
	s := j.steps[len(j.steps)-1]
	e := entry{section: section(key[8]), key: string(key[9:])}
	if value[0] == 1 {
		e.old = slices.Clone(value[1:])
	}
	s.entries = append(s.entries, e)
	size := len(e.key) + len(e.old) + overhead
	s.size += size
	j.size += size
	return nil
}

// Journal returns what was added. The JournalRestoration is at its end.
func (r *JournalRestoration) Journal() *Journal { return &r.journal }
