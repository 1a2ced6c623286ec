package secondary

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin/pkg/transport"
	"github.com/miekg/dns"

	"coredns-smimea/plugin/internal/neighbour"
)

const (
	// notifiesAtOnce is how many zones are announced at the same time. A
	// secondary that does not answer takes six seconds for each.
	notifiesAtOnce = 64
	notifyTries    = 3
	// A secondary that has not answered is told again, later and later.
	notifyAgain  = 5 * time.Second
	notifyRounds = 8
	// listening is how long a new server is waited for before its zones are
	// announced: a secondary that comes at once has to find it.
	listening = 30 * time.Second
)

// A Notifier announces the zones of a block to those secondaries that its *transfer* names.
// It does so itself, since what *transfer* sends cannot be ended at a reload. Of each zone
// one announcement runs at a time; what changes meanwhile is announced after it, once.
type Notifier struct {
	send   func(zone string) error
	sent   func(zone string) // is told of what has been sent, whoever has answered
	ctx    context.Context
	cancel context.CancelFunc
	begun  chan struct{} // closed when the server listens
	slots  chan struct{} // has one for each that is sent now

	mu    sync.Mutex
	zones map[string]*announcement // those that run
	ended sync.WaitGroup
}

// An announcement is that of one zone.
type announcement struct {
	again bool          // the zone has changed since
	wake  chan struct{} // and who waits for a secondary that is not there does not any more
}

func newNotifier(notified func(zone string) neighbour.Notified) *Notifier {
	n := &Notifier{
		sent:  func(string) {},
		begun: make(chan struct{}),
		slots: make(chan struct{}, notifiesAtOnce),
		zones: map[string]*announcement{},
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.send = func(zone string) error { return notify(n.ctx, zone, notified(zone)) }
	return n
}

// notify tells all secondaries of a zone. The error names those that do not take it.
func notify(ctx context.Context, zone string, n neighbour.Notified) error {
	errs := make([]error, len(n.To))
	var told sync.WaitGroup
	for i, to := range n.To {
		told.Go(func() {
			for range notifyTries {
				m := new(dns.Msg)
				m.SetNotify(zone)
				reply, err := exchange(ctx, m, to, n.Source)
				if err == nil && reply.Rcode == dns.RcodeSuccess {
					errs[i] = nil
					return
				}
				if err == nil {
					err = errors.New(dns.RcodeToString[reply.Rcode])
				}
				errs[i] = fmt.Errorf("%s does not take it: %w", to, err)
			}
		})
	}
	told.Wait()
	return errors.Join(errs...)
}

// announce has the secondaries of a zone told. It never waits.
func (n *Notifier) announce(zone string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ctx.Err() != nil {
		return
	}
	if a := n.zones[zone]; a != nil {
		a.again = true
		select {
		case a.wake <- struct{}{}:
		default:
		}
		return
	}
	a := &announcement{wake: make(chan struct{}, 1)}
	n.zones[zone] = a
	n.ended.Go(func() { n.run(zone, a) })
}

func (n *Notifier) run(zone string, a *announcement) {
	select {
	case <-n.begun:
	case <-n.ctx.Done():
		return
	}
	patience := time.NewTimer(notifyAgain)
	defer patience.Stop()
	var failed error
	for round := 0; ; {
		select {
		case n.slots <- struct{}{}:
		case <-n.ctx.Done():
			return
		}
		err := n.send(zone)
		<-n.slots
		if n.ctx.Err() != nil {
			return
		}
		n.sent(zone)
		n.mu.Lock()
		again := a.again
		a.again = false
		if err == nil && !again || round == notifyRounds {
			delete(n.zones, zone)
			n.mu.Unlock()
			switch {
			case err != nil:
				log.Errorf("Giving up announcing %s: its secondaries notice at the next refresh. %v", zone, err)
			case failed != nil:
				log.Infof("Announced %s to all secondaries", zone)
			}
			return
		}
		n.mu.Unlock()
		if again {
			round = 0
		}
		if err == nil {
			continue
		}
		if failed == nil {
			log.Warningf("Announcing %s again in %v: %v", zone, notifyAgain, err)
		}
		failed = err
		patience.Reset(notifyAgain << round)
		select {
		case <-a.wake: // it may have been for what has just been announced
		case <-patience.C:
			round++
		case <-n.ctx.Done():
			return
		}
	}
}

// stop ends all announcements.
func (n *Notifier) stop() {
	n.mu.Lock()
	n.cancel()
	n.mu.Unlock()
	n.ended.Wait()
}

// listen waits until the server answers for a zone as it is now, and has what is
// to be announced sent. It does not come to its sockets before all blocks have
// started.
func (n *Notifier) listen(server *dnsserver.Config, zone string, serial func() uint32) {
	defer close(n.begun)
	host := "127.0.0.1"
	for _, h := range server.ListenHosts {
		if h != "" && h != "0.0.0.0" && h != "::" {
			host = h
		}
	}
	q := new(dns.Msg)
	q.SetQuestion(zone, dns.TypeSOA)
	c := &dns.Client{Timeout: time.Second}
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(listening); time.Now().Before(end); {
		select {
		case <-again.C:
		case <-n.ctx.Done():
			return
		}
		if server.Transport != transport.DNS {
			continue // no way in for a plain query: a server that slow is not there
		}
		reply, _, err := c.ExchangeContext(n.ctx, q, net.JoinHostPort(host, server.Port))
		if err != nil {
			continue
		}
		if len(reply.Answer) == 0 {
			return // it is there, and says nothing to us
		}
		if soa, ok := reply.Answer[0].(*dns.SOA); ok && int32(soa.Serial-serial()) >= 0 {
			return
		}
	}
}
