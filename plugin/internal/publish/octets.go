package publish

import (
	"container/list"
	"sync"
)

// octetsBudget is how many octets of certificates are held.
const octetsBudget = 64 << 20

// Octets are certificates (DER) by their digest (SHA-256): those that were read last,
// as many as the budget lets in. They are given out over HTTPS when the file does not
// hold them any more, and they are still published: while it is torn, or its old
// certificate is bridged. For these they are pinned. Octets are for all goroutines,
// and no answer over DNS needs them; nil holds nothing.
type Octets struct {
	mu     sync.Mutex
	budget int
	size   int
	held   map[[32]byte]*heldOctets
	queue  *list.List // of those that are not pinned, the one read last at the back
}

type heldOctets struct {
	digest [32]byte
	der    []byte // never written to
	pins   int
	queued *list.Element // nil while pinned
}

func newOctets(budget int) *Octets {
	return &Octets{budget: budget, held: map[[32]byte]*heldOctets{}, queue: list.New()}
}

// put holds a copy of a certificate that has been read, in place of those that were
// read longest ago. Without renew it takes nothing's place.
func (o *Octets) put(digest [32]byte, der []byte, renew bool) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if h := o.held[digest]; h != nil {
		if h.queued != nil {
			o.queue.MoveToBack(h.queued)
		}
		return
	}
	for renew && o.size+len(der) > o.budget && o.queue.Len() > 0 {
		first := o.queue.Remove(o.queue.Front()).(*heldOctets)
		o.size -= len(first.der)
		delete(o.held, first.digest)
	}
	if o.size+len(der) > o.budget {
		return
	}
	h := &heldOctets{digest: digest, der: append([]byte(nil), der...)}
	h.queued = o.queue.PushBack(h)
	o.held[digest] = h
	o.size += len(der)
}

// pin keeps a certificate until it is unpinned as often. It reports whether there is
// one.
func (o *Octets) pin(digest [32]byte) bool {
	if o == nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	h := o.held[digest]
	if h == nil {
		return false
	}
	if h.pins++; h.queued != nil {
		o.queue.Remove(h.queued)
		h.queued = nil
	}
	return true
}

func (o *Octets) unpin(digest [32]byte) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	h := o.held[digest]
	if h == nil || h.pins == 0 {
		return
	}
	if h.pins--; h.pins == 0 {
		h.queued = o.queue.PushBack(h)
	}
}

// Get returns a certificate that is held.
func (o *Octets) Get(digest [32]byte) ([]byte, bool) {
	if o == nil {
		return nil, false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if h := o.held[digest]; h != nil {
		return h.der, true
	}
	return nil, false
}

// all returns all that are held now.
func (o *Octets) all() map[[32]byte][]byte {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	all := make(map[[32]byte][]byte, len(o.held))
	for digest, h := range o.held {
		all[digest] = h.der
	}
	return all
}
