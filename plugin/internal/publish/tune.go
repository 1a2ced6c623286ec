package publish

import (
	"os"
	"runtime/debug"
	"sync"
)

const (
	// tuneFrom is the size of all snapshots, in octets, from which garbage is
	// collected more often.
	tuneFrom = 64 << 20
	// headroom is how much garbage there may be then before it is collected.
	headroom = 32 << 20
)

// tuned is how the garbage collector of the process is set for the publishers that
// are there. How it was set before comes back with the end of the last large one.
var tuned = struct {
	sync.Mutex
	sizes   map[*Publisher]int
	percent int // as we have set it; 0: as it was
	before  int
}{sizes: map[*Publisher]int{}}

// tune keeps a large state from doubling in memory. Go collects garbage when
// there is as much of it as there is live memory; but ours is nearly all of one
// piece, without pointers to follow, so that a collection costs the same as in
// a server without users. The setting is that of the whole process (README, Memory).
// Who sets GOGC is not overruled. Without a snapshot the publisher ends.
func (p *Publisher) tune(s *Snapshot) {
	if os.Getenv("GOGC") != "" {
		return
	}
	tuned.Lock()
	defer tuned.Unlock()
	delete(tuned.sizes, p)
	if s != nil {
		size := s.Files.Size()
		for _, z := range s.Zones {
			if z != nil {
				size += z.Size()
			}
		}
		tuned.sizes[p] = size
	}
	total, percent := 0, 0
	for _, size := range tuned.sizes {
		total += size
	}
	if total >= tuneFrom {
		percent = max(10, 100*headroom/total)
	}
	switch {
	case percent == tuned.percent:
		return
	case percent == 0:
		debug.SetGCPercent(tuned.before)
	case tuned.percent == 0:
		tuned.before = debug.SetGCPercent(percent)
		// What reading a million files took is not needed any more.
		debug.FreeOSMemory()
	default:
		debug.SetGCPercent(percent)
	}
	tuned.percent = percent
}
