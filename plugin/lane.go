package plugin

import (
	"bytes"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/miekg/dns"

	"coredns-smimea/plugin/internal/lane"
)

// lanes are the fast lanes of one instance of the server.
type lanes struct {
	mu      sync.Mutex
	blocks  []*SMIMEA
	corner  caddy.Controller             // of any block, to reach the others from
	hooked  map[*dnsserver.Config]bool   // blocks that tell us of their servers
	servers map[string]*dnsserver.Server // those that serve, by address
	plan    map[string]*laneOpening      // by address; nil until the instance has started
	open    map[string]*lane.Lane
	closed  bool
	opening sync.WaitGroup
}

// A laneOpening is a lane that is to be, or is there.
type laneOpening struct {
	lane.Options
	done chan struct{} // closed when it has opened, or not
}

// takeOverWithin is how long the end of a reload is put off until the lanes answer
// as the new Corefile says. They need a millisecond or two.
const takeOverWithin = 2 * time.Second

// hook has the lanes told of the servers that begin to serve. That is what
// UDPDecorateWriterFunc tells; of several blocks of an address the last one's is
// called. It is there for *shed*, which must not miss it.
func (l *lanes) hook(c *caddy.Controller) {
	l.corner = *c
	for i := range c.ServerBlockIndex + 1 {
		at := *c
		at.ServerBlockIndex, at.ServerBlockKeyIndex = i, 0
		if other := dnsserver.GetConfig(&at); other.UDPDecorateWriterFunc != nil && !l.hooked[other] {
			log.Debugf("No fast lane for %s: another plugin is to be told of its servers", c.ServerBlockKeys)
			return
		}
	}
	cfg := dnsserver.GetConfig(c)
	if l.hooked == nil {
		l.hooked = map[*dnsserver.Config]bool{}
	}
	l.hooked[cfg] = true
	cfg.UDPDecorateWriterFunc = func(s *dnsserver.Server) dns.DecorateWriter {
		l.serves(s)
		return nil
	}
}

// listenAddresses returns the addresses that a configuration listens on, as CoreDNS's
// servers are named by them.
func listenAddresses(c *dnsserver.Config) []string {
	var all []string
	for _, host := range c.ListenHosts {
		if addr, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(host, c.Port)); err == nil {
			all = append(all, c.Transport+"://"+addr.String())
		}
	}
	return all
}

// listenForStarts hears of instances that have started. A hook that is there twice is a
// panic, and SIGUSR1 takes all of them away.
func listenForStarts() {
	const hook = name + "_lane"
	if slices.Contains(caddy.ListPlugins()["event_hooks"], hook) {
		return
	}
	caddy.RegisterEventHook(hook, func(event caddy.EventName, info any) error {
		inst, ok := info.(*caddy.Instance)
		if event != caddy.InstanceStartupEvent || !ok {
			return nil
		}
		inst.StorageMu.RLock()
		i, ok := inst.Storage[instanceKey{}].(*instance)
		inst.StorageMu.RUnlock()
		if ok {
			i.lanes.started(inst)
		}
		return nil
	})
}

// expect keeps the sockets of the instance before this one open.
func (l *lanes) expect(s *SMIMEA) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blocks = append(l.blocks, s)
	var all []string
	for _, block := range l.blocks {
		all = append(all, listenAddresses(block.server)...)
	}
	lane.Expect(l, all...)
}

// started decides where there is to be a lane, now that all blocks are there.
func (l *lanes) started(inst *caddy.Instance) {
	timeout := time.NewTimer(takeOverWithin)
	defer timeout.Stop()
	for _, opening := range l.prepare(inst) {
		select {
		case <-opening.done:
		case <-timeout.C:
			return
		}
	}
}

// prepare opens the lanes of the addresses whose servers serve already. The others
// open when they do.
func (l *lanes) prepare(inst *caddy.Instance) []*laneOpening {
	l.mu.Lock()
	defer l.mu.Unlock()
	input := inst.Caddyfile()
	blocks, err := caddyfile.Parse(input.Path(), bytes.NewReader(input.Body()), dnsserver.Directives)
	if err != nil || l.closed {
		return nil // it has just been read without
	}
	l.plan = l.design(blocks)
	lane.Expect(l, slices.Collect(maps.Keys(l.plan))...)
	for address := range l.servers {
		l.begin(address)
	}
	return slices.Collect(maps.Values(l.plan))
}

// serves takes note of a server that begins to serve.
func (l *lanes) serves(s *dnsserver.Server) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.servers == nil {
		l.servers = map[string]*dnsserver.Server{}
	}
	if l.servers[s.Addr] == nil { // *multisocket* has several
		l.servers[s.Addr] = s
		l.begin(s.Addr)
	}
}

// begin opens the lane of an address. The lock is held.
func (l *lanes) begin(address string) {
	opening := l.plan[address]
	if opening == nil || l.closed {
		return
	}
	opening.Server = l.servers[address]
	l.opening.Go(func() {
		defer close(opening.done)
		opened, err := lane.Open(opening.Options)
		if err != nil {
			log.Warningf("No fast lane at %s, CoreDNS's own way serves: %v", address, err)
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.open == nil {
			l.open = map[string]*lane.Lane{}
		}
		l.open[address] = opened
	})
}

// close ends all lanes. A later instance takes the sockets over.
func (l *lanes) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.opening.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, opened := range l.open {
		opened.Close()
	}
	l.open = nil
	lane.Expect(l)
}
