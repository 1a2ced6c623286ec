package plugin

// Ready implements ready.Readiness. The ready plugin knows plugins by name, so
// that one smimea answers for those of all blocks.
func (s *SMIMEA) Ready() bool { return loaded() }
