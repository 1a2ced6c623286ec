package zone

import (
	"bytes"
	"encoding/binary"
	"iter"
	"slices"
)

// A claim is what one file publishes at one owner.
type claim struct {
	// file numbers the file, so that the claim can be found again when the
	// file changes.
	file uint32
	// variant is set where the owner is the lower-case form of the certified
	// address, not its own. Variants count only where nobody has the owner by
	// right.
	variant bool
	// surplus is set where the answer has no room for the claim. It is made anew with
	// the node, so that what was left out comes back when there is room.
	surplus bool
	// data is a record's data (SMIMEA), or a URL without the zone's common
	// prefix (TXT).
	data []byte
}

// compare orders claims so that those by right come first and equal data
// stands together; the order of an RRset's records follows from it.
func (c claim) compare(d claim) int {
	if c.variant != d.variant {
		if d.variant {
			return -1
		}
		return 1
	}
	if c.surplus != d.surplus {
		if d.surplus {
			return -1
		}
		return 1
	}
	if n := bytes.Compare(c.data, d.data); n != 0 {
		return n
	}
	return int(int64(c.file) - int64(d.file))
}

// A node is a name's value in a zone's table:
//
//	uvarint  number of owners below the name
//	uvarint  number of claims, then for each: file (4 octets), flags (1: variant, 2: surplus), uvarint length, data
//	         signatures to the end, each as a [signature]
//
// A node without claims is an empty non-terminal.
type node []byte

// below returns the number of owners below the name, and what follows.
func (n node) below() (int, []byte) {
	if len(n) == 0 {
		return 0, nil
	}
	below, size := binary.Uvarint(n)
	return int(below), n[size:]
}

// claims yields all claims. Its last value of rest is what follows them.
func (n node) claims(rest *[]byte) iter.Seq[claim] {
	return func(yield func(claim) bool) {
		_, b := n.below()
		if len(b) == 0 {
			return
		}
		count, size := binary.Uvarint(b)
		b = b[size:]
		more := true
		for range count {
			var c claim
			c, b = nextClaim(b)
			more = more && yield(c)
		}
		if rest != nil {
			*rest = b
		}
	}
}

// nextClaim reads a claim, and returns what follows it.
func nextClaim(b []byte) (claim, []byte) {
	length, size := binary.Uvarint(b[5:])
	end := 5 + size + int(length)
	return claim{binary.LittleEndian.Uint32(b), b[4]&1 != 0, b[4]&2 != 0, b[5+size : end : end]}, b[end:]
}

// data yields what is published at the name: the distinct data of the claims
// by right, or if there is none, of the variants.
func (n node) data() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		var last claim
		first := true
		for c := range n.claims(nil) {
			if c.surplus || !first && c.variant != last.variant {
				return
			}
			if first || !bytes.Equal(c.data, last.data) {
				if !yield(c.data) {
					return
				}
			}
			last, first = c, false
		}
	}
}

// empty reports whether the name has no records.
func (n node) empty() bool {
	_, b := n.below()
	return len(b) == 0 || b[0] == 0
}

// signatures returns the signatures as they are stored.
func (n node) signatures() []byte {
	var rest []byte
	for range n.claims(&rest) {
	}
	return rest
}

// sum is a digest of the name's records, to be added up over a zone's names.
func (n node) sum(tree Tree, key []byte) uint64 {
	if n.empty() {
		return 0
	}
	// FNV-1a: the same on every machine, as the zone's sum must be.
	h := uint64(14695981039346656037)
	write := func(b []byte) {
		for _, c := range b {
			h = (h ^ uint64(c)) * 1099511628211
		}
	}
	write([]byte{byte(tree), byte(len(key))})
	write(key)
	for data := range n.data() {
		write(binary.BigEndian.AppendUint32(nil, uint32(len(data))))
		write(data)
	}
	return h
}

// maxAnswer is how many octets the records of one owner can have, so that they fit a
// message of 65,535 with its header, question, OPT and signatures: two of RSA-4096 take
// 1,600 with the longest names.
const maxAnswer = 63_000

// fit puts claims in order, and finds those that an answer has no room for. Fixed is
// how many octets a record takes besides a claim's data.
func fit(claims []claim, fixed int) {
	for i := range claims {
		claims[i].surplus = false
	}
	slices.SortFunc(claims, claim.compare)
	size := 0
	for i := range claims {
		c := &claims[i]
		switch last := max(i-1, 0); {
		case i > 0 && c.variant == claims[last].variant && bytes.Equal(c.data, claims[last].data):
			c.surplus = claims[last].surplus
			continue
		case i > 0 && c.variant != claims[last].variant:
			size = 0
		}
		needs := fixed + len(c.data)
		if c.surplus = size+needs > maxAnswer; !c.surplus {
			size += needs
		}
	}
	slices.SortFunc(claims, claim.compare)
}

// with returns the node with other claims, its signatures kept if they are
// still those of its records; nil if nothing is left of it.
func (n node) with(below int, claims []claim, fixed int) node {
	if below == 0 && len(claims) == 0 {
		return nil
	}
	fit(claims, fixed)
	size := 12
	for _, c := range claims {
		size += 8 + len(c.data)
	}
	m := make(node, 0, size)
	m = binary.AppendUvarint(m, uint64(below))
	m = binary.AppendUvarint(m, uint64(len(claims)))
	for _, c := range claims {
		m = binary.LittleEndian.AppendUint32(m, c.file)
		flags := byte(0)
		if c.variant {
			flags |= 1
		}
		if c.surplus {
			flags |= 2
		}
		m = append(m, flags)
		m = binary.AppendUvarint(m, uint64(len(c.data)))
		m = append(m, c.data...)
	}
	if m.same(n) {
		m = append(m, n.signatures()...)
	}
	return m
}

// same reports whether both nodes publish the same records.
func (n node) same(m node) bool {
	if n.empty() || m.empty() {
		return n.empty() && m.empty()
	}
	return slices.EqualFunc(slices.Collect(n.data()), slices.Collect(m.data()), bytes.Equal)
}

// signed returns the node with other signatures.
func (n node) signed(signatures []byte) node {
	old := n.signatures()
	return append(slices.Clip(n[:len(n)-len(old)]), signatures...)
}
