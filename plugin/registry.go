package plugin

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/coredns/caddy"
)

// publishers are those that run, by the key of their configuration. A publisher
// belongs to the process: a reload of the Corefile that leaves its configuration
// as it is takes it over, with all that it has read.
var publishers = struct {
	sync.Mutex
	byKey map[string]*publisher
	last  int // the number of the last life
}{byKey: map[string]*publisher{}}

// A life is one Corefile's instance of the server. Several are there during a
// reload. All blocks of one Corefile share one.
type life struct {
	number int
	// challenged are the names that DNS-01 challenges of ours may come to be at.
	challenged []string
	lanes      lanes
}

type lifeKey struct{}

func newLife(c *caddy.Controller) *life {
	if l, ok := c.Get(lifeKey{}).(*life); ok {
		return l
	}
	publishers.Lock()
	defer publishers.Unlock()
	publishers.last++
	l := &life{number: publishers.last}
	c.Set(lifeKey{}, l)
	listenForStarts()
	return l
}

// failed ends what later lives hold: a reload to them has failed, and nobody
// tells them.
func (l *life) failed() {
	publishers.Lock()
	defer publishers.Unlock()
	for _, p := range publishers.byKey {
		for holder := range p.holders {
			if holder.life.number > l.number {
				p.release(holder)
			}
		}
		// The state is its own again, and whose keys sign is as before.
		go p.do(context.Background(), func() { p.saver.changed(false) })
		for holder := range p.holders {
			if p.signer.Load() != holder.signer {
				p.signer.Store(holder.signer)
				go p.do(context.Background(), p.adopt)
				p.signing.everything()
			}
			break
		}
	}
}

// shared returns an error if another block of the same Corefile keeps another
// state in the same file.
func (l *life) shared(state, key string) error {
	publishers.Lock()
	defer publishers.Unlock()
	for _, p := range publishers.byKey {
		for holder := range p.holders {
			if state != "" && holder.life == l && p.key != key && p.config.state == state {
				return fmt.Errorf("the state %q is that of %s, too: give each block a file of its own", state, holder.config.where)
			}
		}
	}
	return nil
}

// acquire returns the publisher with a key, which make makes if there is none.
func (l *life) acquire(s *SMIMEA, key string, make func() *publisher) (p *publisher, first bool) {
	publishers.Lock()
	defer publishers.Unlock()
	first = len(publishers.byKey) == 0
	p = publishers.byKey[key]
	if p == nil {
		p = make()
		p.key = key
		publishers.byKey[key] = p
	}
	s.life = l
	p.holders[s] = true
	return p, first
}

// release ends a publisher if nobody holds it any more. The lock is held.
func (p *publisher) release(s *SMIMEA) {
	if !p.holders[s] {
		return
	}
	delete(p.holders, s)
	if len(p.holders) == 0 {
		delete(publishers.byKey, p.key)
		p.cancel()
	}
}

// stop releases what the block holds. What it has published can still be
// asked for: queries come in until the servers have stopped.
func (s *SMIMEA) stop() {
	s.life.lanes.close()
	for _, lease := range s.leases {
		lease.Release()
	}
	if s.publisher == nil {
		return
	}
	if s.unwatchZones != nil {
		s.unwatchZones()
	}
	if s.notifier != nil {
		s.publisher.audience.leave(s.notifier)
		s.notifier.stop()
	}
	publishers.Lock()
	s.publisher.release(s)
	held := len(s.publisher.holders) > 0
	publishers.Unlock()
	if held {
		return
	}
	// The process may end next, and the state is to be saved. But a file
	// system that hangs must not hang all.
	select {
	case <-s.publisher.done:
	case <-time.After(time.Minute):
		log.Errorf("Leaving %q behind: it does not end its look, or its save", s.config.dir)
	}
}

// loaded reports whether every publisher serves a first snapshot.
func loaded() bool {
	publishers.Lock()
	defer publishers.Unlock()
	for _, p := range publishers.byKey {
		if p.current.Load() == nil {
			return false
		}
	}
	return true
}
