package zone

// AppendBitmap appends the type bitmap of an NSEC record (RFC 4034 section
// 4.1.2) that lists types, which can be in any order.
func AppendBitmap(dst []byte, types ...uint16) []byte {
	for window := 0; window >= 0; {
		next := -1 // the first window after this one that has a type
		var bits [32]byte
		used := 0
		for _, t := range types {
			switch w := int(t >> 8); {
			case w == window:
				octet := int(t&0xff) / 8
				bits[octet] |= 0x80 >> (t % 8)
				used = max(used, octet+1)
			case w > window && (next < 0 || w < next):
				next = w
			}
		}
		if used > 0 {
			dst = append(dst, byte(window), byte(used))
			dst = append(dst, bits[:used]...)
		}
		window = next
	}
	return dst
}
