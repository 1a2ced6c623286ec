package zone

import "coredns-smimea/smimea"

// successor returns the next possible name after name in the canonical order
// of RFC 4034 section 6.1, both in wire form with the root: what an NSEC record
// that denies one name only has as its next domain name.
//
// That is \000.name, or where this would be too long, the successor of RFC 4471
// section 3.1.2. For a name of labels with 63 octets 0xff the latter can lie
// outside the zone; the caller must then take the apex, as the last NSEC of a
// zone does.
func successor(name []byte) []byte {
	if len(name)+2 <= smimea.MaxName {
		return append([]byte{1, 0}, name...)
	}
	next := append([]byte(nil), name...)
	if len(next) < smimea.MaxName && next[0] < smimea.MaxLabel {
		return lengthen(next)
	}
	for next[0] != 0 {
		size := int(next[0])
		// An octet that is the greatest one already cannot be counted up: it
		// goes, and the one before it is counted up.
		keep := size
		for keep > 0 && next[keep] == 0xff {
			keep--
		}
		if keep > 0 {
			next[keep] = nextOctet(next[keep])
			next[0] = byte(keep)
			return append(next[:1+keep], next[1+size:]...)
		}
		// All names below the label's parent that begin with it are behind us:
		// the next one is the parent's next sibling.
		next = next[1+size:]
		if next[0] != 0 && next[0] < smimea.MaxLabel {
			return lengthen(next)
		}
	}
	return next
}

// lengthen appends an octet 0 to the leftmost label of name.
func lengthen(name []byte) []byte {
	end := 1 + int(name[0])
	longer := make([]byte, 0, len(name)+1)
	longer = append(longer, name[:end]...)
	longer = append(longer, 0)
	longer = append(longer, name[end:]...)
	longer[0]++
	return longer
}

// nextOctet returns the octet after c in the canonical order, in which capital
// letters are small ones.
func nextOctet(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	if c++; c == 'A' {
		c = 'Z' + 1
	}
	return c
}
