package fake

import (
	"os"
	"syscall"

	"coredns-smimea/internal/disk"
)

// A Notifier is one of a Machine. Its events wait until Deliver.
type Notifier struct {
	m       *Machine
	next    int
	watches map[*node]int
	waiting []disk.Event
	in      chan []disk.Event
	closed  chan struct{}
}

// Watch implements disk.System.
func (m *Machine) Watch() (disk.Notifier, error) {
	if err := m.before("watch", ""); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	n := &Notifier{m: m, watches: map[*node]int{}, in: make(chan []disk.Event), closed: make(chan struct{})}
	m.notifiers = append(m.notifiers, n)
	return n, nil
}

// Add implements disk.Notifier.
func (n *Notifier) Add(path string) (int, error) {
	if err := n.m.before("addwatch", path); err != nil {
		return 0, err
	}
	defer n.m.mu.Unlock()
	dir, _, err := n.m.find(n.m.top, path, true)
	if err == nil && !dir.mode.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return 0, wrap("addwatch", path, err)
	}
	watch, ok := n.watches[dir]
	if !ok {
		if n.m.MaxWatches > 0 && len(n.watches) >= n.m.MaxWatches {
			return 0, syscall.ENOSPC
		}
		n.next++
		watch = n.next
		n.watches[dir] = watch
	}
	return watch, nil
}

// Remove implements disk.Notifier.
func (n *Notifier) Remove(watch int) {
	n.m.mu.Lock()
	defer n.m.mu.Unlock()
	for dir, w := range n.watches {
		if w == watch {
			delete(n.watches, dir)
			n.waiting = append(n.waiting, disk.Event{Watch: watch, Ended: true})
		}
	}
}

// Read implements disk.Notifier.
func (n *Notifier) Read() ([]disk.Event, error) {
	for {
		select {
		case events := <-n.in:
			if len(events) > 0 {
				return events, nil
			}
		case <-n.closed:
			return nil, os.ErrClosed
		}
	}
}

// Close implements disk.Notifier.
func (n *Notifier) Close() error {
	n.m.mu.Lock()
	defer n.m.mu.Unlock()
	select {
	case <-n.closed:
		return os.ErrClosed
	default:
		close(n.closed)
		return nil
	}
}

// tell notes an event for all that watch a directory. The lock is held.
func (m *Machine) tell(dir *node, e disk.Event) {
	for _, n := range m.notifiers {
		if watch, ok := n.watches[dir]; ok {
			e.Watch = watch
			n.waiting = append(n.waiting, e)
		}
	}
}

// end notes that a node is no more. The lock is held.
func (m *Machine) end(gone *node) {
	m.tell(gone, disk.Event{Gone: true})
	m.tell(gone, disk.Event{Ended: true})
	for _, n := range m.notifiers {
		delete(n.watches, gone)
	}
}

// Deliver hands over the events that wait, after change has had them: it may drop
// some, repeat some, or say that they are lost. It returns when they were heard.
func (m *Machine) Deliver(change func([]disk.Event) []disk.Event) {
	m.mu.Lock()
	notifiers := m.notifiers
	m.mu.Unlock()
	for _, n := range notifiers {
		m.mu.Lock()
		events := n.waiting
		n.waiting = nil
		m.mu.Unlock()
		if change != nil {
			events = change(events)
		}
		if len(events) == 0 {
			continue
		}
		// Nothing comes after them: it is taken only when they were heard.
		for _, batch := range [][]disk.Event{events, nil} {
			select {
			case n.in <- batch:
			case <-n.closed:
			}
		}
	}
}
