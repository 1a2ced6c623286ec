package plugin

import (
	"os"
	"runtime/debug"
)

const (
	// tuneFrom is the size of the state, in octets, from which garbage is
	// collected more often.
	tuneFrom = 64 << 20
	// headroom is how much garbage there may be then before it is collected.
	headroom = 32 << 20
)

// tune keeps a large state from doubling in memory. Go collects garbage when
// there is as much of it as there is live memory; but ours is nearly all of one
// piece, without pointers to follow, so that a collection costs the same as in
// a server without users. Who sets GOGC is not overruled.
func (p *publisher) tune(s *snapshot) {
	if os.Getenv("GOGC") != "" {
		return
	}
	size := s.files.Size()
	for _, z := range s.zones {
		size += z.Size()
	}
	if size < tuneFrom {
		return
	}
	percent := max(10, 100*headroom/size)
	if percent != p.percent {
		debug.SetGCPercent(percent)
		if p.percent == 0 {
			// What reading a million files took is not needed any more.
			go debug.FreeOSMemory()
		}
		p.percent = percent
	}
}
