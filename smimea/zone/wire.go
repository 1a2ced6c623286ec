package zone

import "coredns-smimea/smimea"

// appendPlain is AppendWire for names without escapes, which is to say nearly
// all: it makes the wire form and its lower case in one pass. It reports false
// for every other name, a faulty one included, and leaves it to the long way.
//
// It is where every query begins, those for others' names too.
func appendPlain(dst []byte, name string) ([]byte, bool) {
	start := len(dst)
	if len(name) < 2 || start+len(name)+1 > cap(dst) || len(name)+1 > smimea.MaxName {
		return dst, false
	}
	wire := dst[:start+len(name)+1]
	label, at := start, start+1 // where the label's length is, and its next octet
	for i := range len(name) {
		switch c := name[i]; {
		case c == '.':
			n := at - label - 1
			if n == 0 || n > smimea.MaxLabel {
				return dst, false
			}
			wire[label], wire[at] = byte(n), 0
			label = at
		case c == '\\':
			return dst, false
		case 'A' <= c && c <= 'Z':
			wire[at] = c + 'a' - 'A'
		default:
			wire[at] = c
		}
		at++
	}
	if label != at-1 { // no final dot
		return dst, false
	}
	return wire, true
}
