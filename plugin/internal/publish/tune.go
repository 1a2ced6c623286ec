package publish

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

const (
	// tuneFrom is the size of all snapshots, in octets, from which garbage is
	// collected more often.
	tuneFrom = 64 << 20
	// headroom is how much garbage there may be then before it is collected.
	headroom = 48 << 20
	// whileReading is how much garbage there may be, in percent of what is in use, while
	// something is read for the first time.
	whileReading = 25
	// readEvery is after how many files it is seen how large a state has become that
	// is read for the first time.
	readEvery = 4096
)

// tuned is how the garbage collector of the process is set for the publishers that
// are there. How it was set before comes back with the end of the last large one.
var tuned = struct {
	sync.Mutex
	sizes   map[*Publisher]int
	reading map[*Publisher]int // octets in use, for those that have published nothing yet
	percent int                // as we have set it; 0: as it was
	before  int
}{sizes: map[*Publisher]int{}, reading: map[*Publisher]int{}}

// tune keeps a large state from doubling in memory. Go collects garbage when
// there is as much of it as there is live memory; but ours is nearly all of one
// piece, without pointers to follow, so that a collection costs the same as in
// a server without users. The setting is that of the whole process (README, Memory).
// Who sets GOGC is not overruled. Without a snapshot the publisher ends.
func (p *Publisher) tune(s *Snapshot) { p.collect(s, false) }

// tuneReading is tune while a publisher reads for the first time, and nobody knows yet
// how large its state will be: a container's limit is as much as that and a little more.
func (p *Publisher) tuneReading() { p.collect(nil, true) }

func (p *Publisher) collect(s *Snapshot, reading bool) {
	if os.Getenv("GOGC") != "" {
		return
	}
	tuned.Lock()
	defer tuned.Unlock()
	delete(tuned.sizes, p)
	_, read := tuned.reading[p] // to its end, now
	if delete(tuned.reading, p); reading {
		tuned.reading[p] = live()
	}
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
	for _, size := range tuned.reading { // which is that of all
		total = max(total, size)
	}
	if total >= tuneFrom {
		percent = max(10, 100*headroom/total)
	}
	if len(tuned.reading) > 0 && (percent == 0 || percent > whileReading) {
		percent = whileReading
	}
	switch {
	case percent == tuned.percent:
	case percent == 0:
		debug.SetGCPercent(tuned.before)
	case tuned.percent == 0:
		tuned.before = debug.SetGCPercent(percent)
	default:
		debug.SetGCPercent(percent)
	}
	tuned.percent = percent
	if read && !reading && total >= tuneFrom {
		// What reading a million files took is not needed any more.
		debug.FreeOSMemory()
	}
}

// live returns how many octets the last collection has left in use.
func live() int {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return int(sample[0].Value.Uint64())
}
