package plugin

import (
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/transfer"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"

	"coredns-smimea/smimea/zone"
)

const (
	// stall is how long a secondary may take for one message of a transfer, 64
	// kilobytes at most, before its connection is cut.
	stall = 20 * time.Second
	// recordsAtOnce are handed over to *transfer* in one piece.
	recordsAtOnce = 256
	// defaultTransfers run at once in a server block.
	defaultTransfers = 10
)

var (
	errManyTransfers = errors.New("as many transfers run as may run at once")
	errNotReady      = errors.New("the zone has not been read, or not been signed, yet")
)

// transfer serves AXFR and IXFR of an apex: *transfer* does, with its access
// list, and gets the records from us. It is asked directly, and not by the chain,
// in which *dnssec* would sign each message of the transfer for itself, without
// room for it, and *minimal* would throw all but the last one away. *cache*,
// which stands before us, keeps out of our zones.
func (q *query) transfer() (int, error) {
	if q.transferrer == nil {
		return dns.RcodeRefused, nil
	}
	if q.udp() {
		if q.qtype == dns.TypeIXFR {
			return q.unfit()
		}
		return dns.RcodeRefused, nil
	}
	ctx, cancel := context.WithCancel(q.ctx)
	defer cancel()
	out := &outgoing{SMIMEA: q.SMIMEA, ctx: ctx, full: q.qtype == dns.TypeAXFR, client: remote(q.w)}
	defer out.wait()
	defer cancel()
	t := *q.transferrer
	t.Transferers = []transfer.Transferer{out}
	t.Next = plugin.HandlerFunc(func(context.Context, dns.ResponseWriter, *dns.Msg) (int, error) {
		return dns.RcodeRefused, nil // not a zone that *transfer* has been told of
	})
	w := &stallWriter{ResponseWriter: q.w, cancel: cancel}
	rcode, err := t.ServeDNS(ctx, w, q.r)
	switch {
	case errors.Is(err, errManyTransfers):
		out.count("refused")
		log.Warningf("Refusing a transfer of %s to %s: %d run already; raise transfers if that is right", q.r.Question[0].Name, out.client, q.config.transfers)
		return dns.RcodeRefused, nil
	case errors.Is(err, errNotReady):
		out.count("refused")
		log.Infof("Not giving %s to %s: %v", q.r.Question[0].Name, out.client, err)
		return dns.RcodeServerFailure, nil
	case w.cut.Load():
		out.count("cut")
		log.Warningf("Cutting a transfer of %s to %s: no message of it was taken for %v", q.r.Question[0].Name, out.client, stall)
		return dns.RcodeSuccess, nil
	case err != nil:
		out.count("broken")
		log.Warningf("Transferring %s to %s: %v", q.r.Question[0].Name, out.client, err)
		return dns.RcodeSuccess, nil // there is nobody left to tell
	}
	if rcode == dns.RcodeSuccess && out.kind != "" {
		q.result = answered
		out.count(out.kind)
	}
	return rcode, nil
}

// unfit answers IXFR over UDP with the SOA alone, as if what has changed did not
// fit: whoever is behind then asks over TCP (RFC 1995 section 2).
func (q *query) unfit() (int, error) {
	var soa *dns.SOA
	if q.catalog.holds(q.r.Question[0].Name) {
		soa = &q.catalog.soa
	} else if soa = q.transferSOA(q.point.Zone); soa == nil {
		return dns.RcodeServerFailure, nil
	}
	reply := zone.NewReply(q.r)
	reply.Msg.Answer = []dns.RR{soa}
	return q.write(reply, answered)
}

func (s *SMIMEA) transferSOA(zone int) *dns.SOA {
	e, _ := s.publisher.edition(zone)
	if e == nil {
		return nil
	}
	return e.Zone.SOA()
}

func remote(w dns.ResponseWriter) string { return (&request.Request{W: w}).IP() }

// Transfer implements transfer.Transferer.
func (s *SMIMEA) Transfer(zone string, serial uint32) (<-chan []dns.RR, error) {
	out := &outgoing{SMIMEA: s, ctx: context.Background(), full: serial == 0, client: "a plugin"}
	return out.Transfer(zone, serial)
}

// An outgoing is one transfer.
type outgoing struct {
	*SMIMEA
	ctx    context.Context // ends with the connection
	full   bool            // AXFR, not IXFR
	client string

	zone    string
	kind    string // "axfr", "ixfr", or "current" if there is nothing to send
	running sync.WaitGroup
}

// Transfer implements transfer.Transferer, after *transfer* has looked who asks.
func (o *outgoing) Transfer(zone string, serial uint32) (<-chan []dns.RR, error) {
	i, ok := o.apexes[zone]
	listed := o.catalog != nil && zone == o.catalog.origin
	if !ok && !listed || o.publisher == nil {
		return nil, transfer.ErrNotAuthoritative
	}
	o.zone = zone
	if !o.slots.take() {
		return nil, errManyTransfers
	}
	var records iter.Seq[[]dns.RR]
	var err error
	if listed {
		records = o.list(serial)
	} else if records, err = o.records(i, serial); err != nil {
		o.slots.give()
		return nil, err
	}
	ch := make(chan []dns.RR)
	o.running.Go(func() {
		defer o.slots.give()
		o.stream(ch, records)
	})
	return ch, nil
}

// list returns what a secondary that has a serial is to get of the catalog.
func (o *outgoing) list(serial uint32) iter.Seq[[]dns.RR] {
	if !o.full && int32(serial-o.catalog.soa.Serial) >= 0 {
		o.kind = "current"
		return func(yield func([]dns.RR) bool) { yield(o.catalog.apex(dns.TypeSOA)) }
	}
	o.kind = "axfr"
	return o.catalog.records()
}

// records returns what a secondary that has a serial is to get of a zone.
func (o *outgoing) records(zone int, serial uint32) (records iter.Seq[[]dns.RR], err error) {
	edition, journal := o.publisher.edition(zone)
	if edition == nil {
		return nil, errNotReady
	}
	// RFC 1982: newer is up to half of all serials away.
	if !o.full && int32(serial-edition.Zone.Serial) >= 0 {
		o.kind = "current"
		return func(yield func([]dns.RR) bool) { yield([]dns.RR{edition.Zone.SOA()}) }, nil
	}
	if !o.full {
		if records, ok := journal.Since(serial, edition); ok {
			o.kind = "ixfr"
			return records, nil
		}
	}
	o.kind = "axfr"
	return func(yield func([]dns.RR) bool) {
		for rrs := range edition.Records() {
			if !yield(rrs) {
				return
			}
		}
		yield([]dns.RR{edition.Zone.SOA()})
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
