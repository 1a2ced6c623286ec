package served

// Forget forgets what has been served, as the end of the process does: it is for
// simulations, in which many processes follow each other.
func Forget() {
	memory.Lock()
	defer memory.Unlock()
	clear(memory.zones)
}
