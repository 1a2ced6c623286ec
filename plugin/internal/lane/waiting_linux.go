package lane

import (
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// mostWaiting is how many queries wait for a signature at a socket, some 400 octets
	// each: those that the default limit of denials grants at once. What comes beyond
	// that is the chain's.
	mostWaiting = 4096
	// signFor is how long signatures are made before the next packets are looked for:
	// as long as it takes to answer a batch, and at least one.
	signFor = 200 * time.Microsecond
	// queryMost is the most that a Query has: header, name, type, class and OPT.
	queryMost = headerSize + maxName + 4 + 11
)

// A waiting query is one that its block has to sign for. It has what the socket's
// buffers, into which others are read meanwhile, had of it.
type waiting struct {
	packet  [queryMost]byte
	length  int
	name    unix.RawSockaddrInet6 // of the client
	size    uint32                // of the name
	room    [controlRoom]byte
	control []byte // that goes with the reply, in room
	ipv6    bool
	came    time.Time
}

// A queue is what waits, first come, first served.
type queue struct {
	all   []waiting // none before there is one
	first int
	count int
}

// postpone puts packet i off, until there is time to sign. It reports false if there is
// no room.
func (r *reader) postpone(i int, packet []byte) bool {
	q := &r.waiting
	if q.count == mostWaiting {
		return false
	}
	if q.all == nil {
		q.all = make([]waiting, mostWaiting)
	}
	w, s := &q.all[(q.first+q.count)%mostWaiting], r.socket
	w.length = copy(w.packet[:], packet)
	w.name, w.size = s.names[i], s.in[i].header.Namelen
	w.control = nil
	if s.wildcard {
		w.control = append(w.room[:0], s.source(i)...)
	}
	w.ipv6, w.came = r.query.IPv6, r.query.Now
	q.count++
	return true
}

// next takes the first of what waits. It is good until the next postpone.
func (q *queue) next() *waiting {
	w := &q.all[q.first]
	q.first = (q.first + 1) % mostWaiting
	q.count--
	return w
}

// sign answers queries that wait for a signature, for as long as those that come can
// be let wait. What cannot be answered is handed back, for the chain.
func (r *reader) sign() {
	began := time.Now()
	for r.waiting.count > 0 && r.socket.queued < batch {
		r.signNext()
		if time.Since(began) > signFor {
			break
		}
	}
	r.flush()
	runtime.Gosched() // others have waited as long
}

func (r *reader) signNext() {
	w := r.waiting.next()
	defer func() {
		if what := recover(); what != nil {
			r.panicked(what)
			r.handBack(w)
		}
	}()
	s, q := r.socket, &r.query
	packet := w.packet[:w.length]
	if q.Parse(packet) {
		q.Now, q.IPv6 = w.came, w.ipv6
		if reply, ok := r.lane.answer(q, s.replies[s.queued][:0], len(packet), Block.Sign); ok {
			s.queueTo(w.address(), w.size, w.control, reply)
			return
		}
	}
	r.handBack(w)
}

func (w *waiting) address() *byte { return (*byte)(unsafe.Pointer(&w.name)) }

// A handedBack query is one that could not be signed for.
type handedBack struct {
	packet []byte
	client *client
}

func (r *reader) handBack(w *waiting) {
	c := newClient(&w.name, w.control)
	c.granted = true
	r.back = append(r.back, handedBack{append([]byte(nil), w.packet[:w.length]...), c})
}
