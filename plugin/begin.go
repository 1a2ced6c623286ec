package plugin

import "sync"

// begun are the blocks, of whatever instance, whose own goroutines run.
var begun = struct {
	sync.Mutex
	blocks map[*SMIMEA]bool
}{blocks: map[*SMIMEA]bool{}}

// begin starts what the block does by itself: it tells its secondaries of changes, and
// follows its file of zones.
func (s *SMIMEA) begin() {
	begun.Lock()
	begun.blocks[s] = true
	begun.Unlock()
	s.primary.Start(s.server)
	if s.config.zones != nil {
		s.watch = watchZones(*s.config.zones, func() bool { return restart(s.instance, s.config.zones.path) })
	}
}

// halt ends what begin has started, and waits until it has ended.
func (s *SMIMEA) halt() {
	begun.Lock()
	runs := begun.blocks[s]
	delete(begun.blocks, s)
	begun.Unlock()
	if !runs {
		return
	}
	s.watch.end()
	s.primary.Stop()
}

// haltNewer halts the blocks of newer instances than one: the reload to them has
// failed, after some of them had begun, and nobody stops those.
func haltNewer(instance int) {
	var newer []*SMIMEA
	begun.Lock()
	for s := range begun.blocks {
		if s.instance.number > instance {
			newer = append(newer, s)
		}
	}
	begun.Unlock()
	for _, s := range newer {
		s.halt()
	}
}
