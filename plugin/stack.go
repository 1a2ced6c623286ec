package plugin

// deepStack is more than what the signing of a denial takes of the stack.
const deepStack = 10 << 10

// deepen makes the goroutine's stack large in one step. Stacks begin small, and
// to grow one means to copy it, frame by frame: on the way down to the signing of
// a denial that would happen twice more, each time with more to copy.
//
//go:noinline
func deepen(n int) byte {
	var room [deepStack]byte
	return room[n%len(room)]
}
