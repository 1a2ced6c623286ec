package secondary

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/plugin/internal/metric"
	"coredns-smimea/plugin/internal/neighbour"
)

const (
	// askAtOnce is how many secondaries are asked at the same time, and askFor how
	// long an answer is waited for.
	askAtOnce = 32
	askFor    = 2 * time.Second
	// A secondary that is behind is asked again, at first after askAgain, then
	// later and later, up to askBehind.
	askAgain  = time.Second
	askBehind = time.Minute
)

// copies are the zones of a block as its secondaries have them: which serial, for
// the metrics. They are asked for when a zone has been announced, again until they
// have caught up, and every refresh.
type copies struct {
	refresh time.Duration
	ours    func(zone string) (serial uint32, ok bool)
	wake    chan struct{}

	mu  sync.Mutex
	all map[string][]*replica // by zone; what is in them is under mu
}

// A replica is one zone at one secondary.
type replica struct {
	zone, secondary string
	source          net.IP
	due             time.Time
	pause           time.Duration // before the next question, while it is behind
}

func newCopies(zones map[string]neighbour.Notified, refresh time.Duration, ours func(zone string) (uint32, bool)) *copies {
	c := &copies{refresh: refresh, ours: ours, wake: make(chan struct{}, 1), all: map[string][]*replica{}}
	for zone, n := range zones {
		for _, secondary := range n.To {
			c.all[zone] = append(c.all[zone], &replica{zone: zone, secondary: secondary, source: n.Source})
		}
	}
	return c
}

// announced has the secondaries of a zone asked, which have been told of it. It
// never waits.
func (c *copies) announced(zone string) {
	c.mu.Lock()
	for _, r := range c.all[zone] {
		r.due, r.pause = time.Time{}, 0
	}
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run asks until ctx ends. Then there are no metrics of these copies any more,
// unless another block has the same.
func (c *copies) run(ctx context.Context) {
	if len(c.all) == 0 {
		return
	}
	for _, replicas := range c.all {
		for _, r := range replicas {
			copyHolders.Hold(r.zone, r.secondary)
			defer copyHolders.Release(r.zone, r.secondary)
		}
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.wake:
		}
		timer.Reset(time.Until(c.round(ctx)))
	}
}

// round asks all that are due, and returns when the next is.
func (c *copies) round(ctx context.Context) (next time.Time) {
	now := time.Now()
	var due []*replica
	c.mu.Lock()
	for _, replicas := range c.all {
		for _, r := range replicas {
			if !r.due.After(now) {
				r.due = now.Add(c.refresh)
				due = append(due, r)
			}
		}
	}
	c.mu.Unlock()
	slots := make(chan struct{}, askAtOnce)
	var asked sync.WaitGroup
	for _, r := range due {
		slots <- struct{}{}
		asked.Go(func() {
			defer func() { <-slots }()
			c.ask(ctx, r)
		})
	}
	asked.Wait()
	next = time.Now().Add(c.refresh)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, replicas := range c.all {
		for _, r := range replicas {
			if r.due.Before(next) {
				next = r.due
			}
		}
	}
	return next
}

// ask asks for one copy, and says when to do so again.
func (c *copies) ask(ctx context.Context, r *replica) {
	serial, err := r.serial(ctx)
	if ctx.Err() != nil {
		return
	}
	r.measure(serial, err == nil)
	ours, ok := c.ours(r.zone)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && (!ok || int32(serial-ours) >= 0) {
		r.pause = 0
		return
	}
	r.pause = min(max(askAgain, 2*r.pause), askBehind)
	if again := time.Now().Add(min(r.pause, c.refresh)); again.Before(r.due) {
		r.due = again
	}
}

var errNoSOA = errors.New("there is no SOA record in the answer")

// serial asks the secondary for the serial of the zone.
func (r *replica) serial(ctx context.Context) (uint32, error) {
	q := new(dns.Msg)
	q.SetQuestion(r.zone, dns.TypeSOA)
	q.RecursionDesired = false
	reply, err := exchange(ctx, q, r.secondary, r.source)
	if err != nil {
		return 0, err
	}
	for _, rr := range reply.Answer {
		if soa, ok := rr.(*dns.SOA); ok {
			return soa.Serial, nil
		}
	}
	return 0, errNoSOA
}

// exchange sends a message to a secondary, and returns its reply.
func exchange(ctx context.Context, m *dns.Msg, to string, source net.IP) (*dns.Msg, error) {
	c := &dns.Client{Timeout: askFor}
	if source != nil {
		c.Dialer = &net.Dialer{Timeout: askFor, LocalAddr: &net.UDPAddr{IP: source}}
	}
	conn, err := c.DialContext(ctx, to)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// The library looks at the context's deadline, and not for its end.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	reply, _, err := c.ExchangeWithConnContext(ctx, m, conn)
	return reply, err
}

var copyHolders = metric.NewHolders(secondarySerial, secondaryReachable)

// measure sets the metrics of a copy.
func (r *replica) measure(serial uint32, reachable bool) {
	if reachable {
		secondarySerial.WithLabelValues(r.zone, r.secondary).Set(float64(serial))
		secondaryReachable.WithLabelValues(r.zone, r.secondary).Set(1)
		return
	}
	secondarySerial.DeleteLabelValues(r.zone, r.secondary)
	secondaryReachable.WithLabelValues(r.zone, r.secondary).Set(0)
}
