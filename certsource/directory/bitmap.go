package directory

// A bitmap is a set of small numbers.
type bitmap struct {
	bits  []uint64
	count int
}

func (b *bitmap) set(i uint32) {
	for int(i/64) >= len(b.bits) {
		b.bits = append(b.bits, 0)
	}
	if mask := uint64(1) << (i % 64); b.bits[i/64]&mask == 0 {
		b.bits[i/64] |= mask
		b.count++
	}
}

func (b *bitmap) has(i uint32) bool {
	return int(i/64) < len(b.bits) && b.bits[i/64]&(1<<(i%64)) != 0
}
