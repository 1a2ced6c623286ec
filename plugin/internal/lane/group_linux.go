package lane

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coredns/coredns/plugin/pkg/transport"
)

// A Lane answers at one address, for one instance of the server.
type Lane struct {
	Options
	group   *group
	readers []*reader // by socket of the group
	closed  bool      // but kept for an heir
}

// A group is the sockets of an address.
type group struct {
	address string
	cores   int // CoreDNS's own sockets
	sockets []*socket
	numbers []int     // by socket, in the kernel's group; empty until they get packets
	lane    *Lane     // whose readers read
	heir    any       // who will take the sockets over
	retired []*reader // of older lanes, which may still have queries in the chain
}

var groups = struct {
	sync.Mutex
	byAddress map[string]*group
}{byAddress: map[string]*group{}}

const (
	// patience is how long the end waits for the chain's last answers, as it does
	// in CoreDNS's own servers.
	patience = 5 * time.Second
	// settling is how long after it has been told so the kernel may go on to give
	// packets to a socket.
	settling = 10 * time.Millisecond
)

// Open begins to answer. It takes over the sockets of an older lane at the same
// address.
func Open(o Options) (*Lane, error) {
	groups.Lock()
	defer groups.Unlock()
	l := &Lane{Options: o}
	if g := groups.byAddress[o.Server.Addr]; g != nil {
		return l, l.takeOver(g, o.Cores)
	}
	l.group = &group{address: o.Server.Addr, cores: o.Cores, lane: l}
	err := l.group.open(max(o.Sockets, 1))
	if err == nil {
		for _, s := range l.group.sockets {
			l.read(s)
		}
		err = l.group.steer()
	}
	if err != nil {
		l.group.close()
		return nil, err
	}
	groups.byAddress[l.group.address] = l.group
	return l, nil
}

func (g *group) open(sockets int) error {
	for range sockets {
		s, err := listen(strings.TrimPrefix(g.address, transport.DNS+"://"))
		if err != nil {
			return fmt.Errorf("opening a socket: %w", err)
		}
		g.sockets = append(g.sockets, s)
	}
	return nil
}

// read has a socket read for the lane.
func (l *Lane) read(s *socket) {
	r := &reader{lane: l, socket: s, stopped: make(chan struct{}), ended: make(chan struct{})}
	l.readers = append(l.readers, r)
	go r.serve()
}

// takeOver reads the sockets that another lane has read. Packets wait in them
// meanwhile.
func (l *Lane) takeOver(g *group, cores int) error {
	g.retired = slices.DeleteFunc(g.retired, func(r *reader) bool { return r.hasEnded(0) })
	for i, old := range g.lane.readers {
		old.stop(false)
		l.read(g.sockets[i])
	}
	g.retired = append(g.retired, g.lane.readers...)
	l.group, g.lane, g.heir = g, l, nil
	if g.cores == cores {
		return nil
	}
	// CoreDNS's own sockets have come or gone, and ours have other numbers.
	g.cores = cores
	if err := g.steer(); err != nil {
		g.close()
		return err
	}
	return nil
}

// Close ends the lane. CoreDNS's own sockets get the packets, unless an heir is
// expected, or has come already.
func (l *Lane) Close() {
	groups.Lock()
	defer groups.Unlock()
	switch {
	case l.closed || l.group.lane != l:
	case l.group.heir != nil:
		l.closed = true
	default:
		l.group.close()
	}
}

// close ends the group. The lock is held.
func (g *group) close() {
	if groups.byAddress[g.address] == g {
		delete(groups.byAddress, g.address)
	}
	if err := g.leave(); err != nil {
		g.lane.Log.Errorf("The fast lane of %s does not give all back to CoreDNS's own sockets: %v", g.address, err)
	}
	g.lane.closed = true
	for _, r := range g.lane.readers {
		r.stop(true)
	}
	deadline := time.Now().Add(patience)
	for _, r := range slices.Concat(g.retired, g.lane.readers) {
		if !r.hasEnded(time.Until(deadline)) {
			g.lane.Log.Warningf("The fast lane of %s ends before all its queries are answered", g.address)
			break
		}
	}
	for _, s := range g.sockets {
		s.conn.Close()
	}
}

// hasEnded reports whether all that the reader has passed is answered, within a time.
func (r *reader) hasEnded(within time.Duration) bool {
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	select {
	case <-r.ended:
		return true
	default:
	}
	select {
	case <-r.ended:
		return true
	case <-timeout.C:
		return false
	}
}

// Expect keeps the sockets of these addresses open for heir, who will open lanes
// there, when the lanes that read them now close. It ends what is kept open for
// heir at other addresses.
func Expect(heir any, addresses ...string) {
	groups.Lock()
	defer groups.Unlock()
	for address, g := range groups.byAddress {
		switch {
		case slices.Contains(addresses, address):
			g.heir = heir
		case g.heir == heir:
			g.abandon()
		}
	}
}

// Abandon ends all that is kept open: who was expected does not come.
func Abandon() {
	groups.Lock()
	defer groups.Unlock()
	for _, g := range groups.byAddress {
		g.abandon()
	}
}

func (g *group) abandon() {
	g.heir = nil
	if g.lane.closed {
		g.close()
	}
}

// answer asks the blocks: Block.Answer or Block.Sign.
func (l *Lane) answer(q *Query, room []byte, request int, ask func(Block, *Query, []byte) ([]byte, bool)) ([]byte, bool) {
	for i := range l.Blocks {
		b := &l.Blocks[i]
		reply, ok := ask(b.Block, q, room)
		if !ok {
			continue
		}
		if b.Counter != nil {
			b.Count(q, request, reply)
		}
		return reply, true
	}
	return nil, false
}

var errSteering = errors.New("the kernel does not give its packets to the sockets of the lane")
