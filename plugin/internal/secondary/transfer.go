package secondary

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/transfer"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"

	"coredns-smimea/plugin/internal/neighbour"
	"coredns-smimea/smimea/zone"
)

const (
	// stall is how long a secondary may take for one message of a transfer, 64
	// kilobytes at most, before its connection is cut.
	stall = 20 * time.Second
	// recordsAtOnce are handed over to *transfer* in one piece.
	recordsAtOnce = 256
)

var (
	errManyTransfers = errors.New("as many transfers run as may run at once")
	errNotReady      = errors.New("the zone has not been read, or not been signed, yet")
)

// Options are how a block hands its zones to its secondaries.
type Options struct {
	Transfer *transfer.Transfer // the block's *transfer*, nil if it has none: then transfers are refused
	Zones    map[string]int     // that can be transferred, by origin
	Notified func(zone string) neighbour.Notified
	Refresh  time.Duration // after which secondaries look by themselves
	Catalog  *Catalog      // nil if there is none
	Most     int           // transfers at once
}

// A Primary hands the zones of one server block to its secondaries.
type Primary struct {
	Options
	*Notifier // nil without a *transfer*

	group  *Group
	copies *copies
	slots  slots

	refusals refusals
}

// NewPrimary returns what hands out zones of a group.
func NewPrimary(g *Group, o Options) *Primary {
	p := &Primary{Options: o, group: g, slots: newSlots(o.Most)}
	if o.Transfer == nil || len(o.Zones) == 0 {
		return p
	}
	p.Notifier = newNotifier(o.Notified)
	secondaries := map[string]neighbour.Notified{}
	for zone := range o.Zones {
		secondaries[zone] = o.Notified(zone)
	}
	p.copies = newCopies(secondaries, o.Refresh, p.serial)
	p.sent = p.copies.announced
	return p
}

// serial returns the serial of a zone as it is transferred.
func (p *Primary) serial(origin string) (uint32, bool) {
	t, _ := p.group.Transferable(p.Zones[origin])
	if t == nil {
		return 0, false
	}
	return t.Zone.Serial, true
}

// Serve serves AXFR and IXFR of an apex: *transfer* does, with its access
// list, and gets the records from us. It is asked directly, and not by the chain,
// in which *dnssec* would sign each message of the transfer for itself, without
// room for it, and *minimal* would throw all but the last one away. *cache*,
// which stands before us, keeps out of our zones. Done reports whether the client
// has got something.
func (p *Primary) Serve(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (rcode int, done bool) {
	question, client := r.Question[0], (&request.Request{W: w}).IP()
	if p.Options.Transfer == nil {
		return p.refuse(question.Name, client, "there is no *transfer* in the block")
	}
	if neighbour.Datagram(ctx, w) {
		if question.Qtype == dns.TypeIXFR {
			return p.unfit(w, r)
		}
		return p.refuse(question.Name, client, "it came over UDP")
	}
	if (&request.Request{W: w}).Proto() != "tcp" {
		return p.refuse(question.Name, client, "it came over QUIC, where *transfer* gives no zones: ask over TCP, or over TLS")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := &outgoing{p: p, ctx: ctx, full: question.Qtype == dns.TypeAXFR, client: client}
	defer out.wait()
	defer cancel()
	t := *p.Options.Transfer
	t.Transferers = []transfer.Transferer{out}
	t.Next = plugin.HandlerFunc(func(context.Context, dns.ResponseWriter, *dns.Msg) (int, error) {
		return dns.RcodeRefused, nil // not a zone that *transfer* has been told of
	})
	stalled := &stallWriter{ResponseWriter: w, cancel: cancel}
	rcode, err := t.ServeDNS(ctx, stalled, r)
	switch {
	case errors.Is(err, errManyTransfers):
		out.count("refused")
		return p.refuse(question.Name, client, fmt.Sprintf("%d run already; raise transfers if that is right", p.Most))
	case errors.Is(err, errNotReady):
		out.count("refused")
		log.Infof("Not giving %s to %s: %v", question.Name, out.client, err)
		return dns.RcodeServerFailure, false
	case stalled.cut.Load():
		out.count("cut")
		log.Warningf("Cutting a transfer of %s to %s: no message of it was taken for %v", question.Name, out.client, stall)
		return dns.RcodeSuccess, false
	case err != nil:
		out.count("broken")
		log.Warningf("Transferring %s to %s: %v", question.Name, out.client, err)
		return dns.RcodeSuccess, false // there is nobody left to tell
	}
	if rcode == dns.RcodeSuccess && out.kind != "" {
		out.count(out.kind)
		return rcode, true
	}
	if rcode == dns.RcodeSuccess || rcode == dns.RcodeRefused { // *transfer* has told the client already, or has not
		p.refuse(question.Name, client, "*transfer* does not name that client for the zone")
	}
	return rcode, false
}

// refuse refuses a transfer, and says so in the log.
func (p *Primary) refuse(zone, client, why string) (rcode int, done bool) {
	p.refusals.tell(zone, client, why)
	return dns.RcodeRefused, false
}

// unfit answers IXFR over UDP with the SOA alone, as if what has changed did not
// fit: whoever is behind then asks over TCP (RFC 1995 section 2).
func (p *Primary) unfit(w dns.ResponseWriter, r *dns.Msg) (rcode int, done bool) {
	var soa *dns.SOA
	if origin := r.Question[0].Name; p.Catalog.Holds(origin) {
		copied := p.Catalog.soa
		soa = &copied
	} else if i, ok := p.Zones[plugin.Name(origin).Normalize()]; ok {
		if t, _ := p.group.Transferable(i); t != nil {
			soa = t.Zone.SOA()
		}
	}
	if soa == nil {
		return dns.RcodeServerFailure, false
	}
	reply := zone.NewReply(r)
	reply.Msg.Answer = []dns.RR{soa}
	return dns.RcodeSuccess, w.WriteMsg(&reply.Msg) == nil
}

// Transfer implements transfer.Transferer, for plugins that ask us directly.
func (p *Primary) Transfer(zone string, serial uint32) (<-chan []dns.RR, error) {
	out := &outgoing{p: p, ctx: context.Background(), full: serial == 0, client: "a plugin"}
	return out.Transfer(zone, serial)
}

// An outgoing is one transfer.
type outgoing struct {
	p      *Primary
	ctx    context.Context // ends with the connection
	full   bool            // AXFR, not IXFR
	client string

	zone    string
	kind    string // "axfr", "ixfr", or "current" if there is nothing to send
	running sync.WaitGroup
}

// Transfer implements transfer.Transferer, after *transfer* has looked who asks.
func (o *outgoing) Transfer(zone string, serial uint32) (<-chan []dns.RR, error) {
	i, ok := o.p.Zones[zone]
	listed := o.p.Catalog != nil && zone == o.p.Catalog.origin
	if !ok && !listed {
		return nil, transfer.ErrNotAuthoritative
	}
	o.zone = zone
	if !o.p.slots.take() {
		return nil, errManyTransfers
	}
	var records iter.Seq[[]dns.RR]
	var err error
	if listed {
		records = o.list(serial)
	} else if records, err = o.records(i, serial); err != nil {
		o.p.slots.give()
		return nil, err
	}
	ch := make(chan []dns.RR)
	o.running.Go(func() {
		defer o.p.slots.give()
		o.stream(ch, records)
	})
	return ch, nil
}

// list returns what a secondary that has a serial is to get of the catalog.
func (o *outgoing) list(serial uint32) iter.Seq[[]dns.RR] {
	if !o.full && int32(serial-o.p.Catalog.soa.Serial) >= 0 {
		o.kind = "current"
		return func(yield func([]dns.RR) bool) { yield(o.p.Catalog.apex(dns.TypeSOA)) }
	}
	o.kind = "axfr"
	return o.p.Catalog.records()
}

// records returns what a secondary that has a serial is to get of a zone.
func (o *outgoing) records(zone int, serial uint32) (records iter.Seq[[]dns.RR], err error) {
	version, journal := o.p.group.Transferable(zone)
	if version == nil {
		return nil, errNotReady
	}
	// RFC 1982: newer is up to half of all serials away.
	if !o.full && int32(serial-version.Zone.Serial) >= 0 {
		o.kind = "current"
		return func(yield func([]dns.RR) bool) { yield([]dns.RR{version.Zone.SOA()}) }, nil
	}
	if !o.full {
		if records, ok := journal.Since(serial, version); ok {
			o.kind = "ixfr"
			return records, nil
		}
	}
	o.kind = "axfr"
	return func(yield func([]dns.RR) bool) {
		for rrs := range version.Records() {
			if !yield(rrs) {
				return
			}
		}
		yield([]dns.RR{version.Zone.SOA()})
	}, nil
}

// stream sends records until there are no more, or nobody takes them any more.
func (o *outgoing) stream(ch chan<- []dns.RR, records iter.Seq[[]dns.RR]) {
	defer close(ch)
	patience := time.NewTimer(0)
	send := func(rrs []dns.RR) bool {
		patience.Reset(2 * stall)
		select {
		case ch <- rrs:
			return true
		case <-o.ctx.Done():
		case <-patience.C:
		}
		return false
	}
	var batch []dns.RR
	for rrs := range records {
		if batch = append(batch, rrs...); len(batch) < recordsAtOnce {
			continue
		}
		if !send(batch) {
			return
		}
		batch = make([]dns.RR, 0, recordsAtOnce+8)
	}
	if len(batch) > 0 {
		send(batch)
	}
}

func (o *outgoing) wait() { o.running.Wait() }

func (o *outgoing) count(kind string) { transfersTotal.WithLabelValues(o.zone, kind).Inc() }

// slots are how many transfers may still begin.
type slots chan struct{}

func newSlots(n int) slots { return make(slots, n) }

func (s slots) take() bool {
	select {
	case s <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s slots) give() { <-s }

// A stallWriter cuts the connection of a client that takes no more. Neither
// CoreDNS nor the library below it has a timeout for writing.
type stallWriter struct {
	dns.ResponseWriter
	cancel context.CancelFunc
	cut    atomic.Bool
}

func (w *stallWriter) WriteMsg(m *dns.Msg) error {
	timer := time.AfterFunc(stall, func() {
		w.cut.Store(true)
		w.cancel()
		w.ResponseWriter.Close()
	})
	defer timer.Stop()
	if len(m.Answer) > 0 {
		m.Authoritative = true
	}
	err := w.ResponseWriter.WriteMsg(m)
	if err != nil {
		w.cancel()
	}
	return err
}
