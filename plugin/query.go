package plugin

import (
	"context"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"

	"coredns-smimea/smimea/zone"
)

// A query is one question about a name of ours, on its way to a reply. Queries
// are used again: nothing may keep one, or what it has room for, after its
// ServeDNS has returned. They are no local variables also because the stacks of
// CoreDNS's goroutines, one a query, are small: to outgrow one costs more than
// all else that we do.
type query struct {
	question
	packing zone.Packing
	wire    [256]byte  // the name as it is on the wire
	asked   [256]byte  // the same in the case of the request
	reply   [1280]byte // the same of the reply
}

var queryPool = sync.Pool{New: func() any { return new(query) }}

// question is what differs from query to query.
type question struct {
	*SMIMEA
	ctx   context.Context
	w     dns.ResponseWriter
	r     *dns.Msg
	qtype uint16
	point zone.Point
	opt   *dns.OPT

	zone   *zone.Zone
	name   zone.Name
	signed bool // the reply is to be signed by us
	// awaited says that an ACME challenge may come to be at the name.
	awaited bool
	result  result
}

// serve answers from the snapshot.
func (q *query) serve() (int, error) {
	question := q.r.Question[0]
	switch {
	case q.r.Opcode != dns.OpcodeQuery:
		return dns.RcodeNotImplemented, nil
	case question.Qclass != dns.ClassINET:
		return dns.RcodeRefused, nil
	case len(q.r.Question) > 1:
		return dns.RcodeFormatError, nil
	}
	switch q.qtype {
	case dns.TypeNXNAME, dns.TypeOPT, dns.TypeTSIG, dns.TypeTKEY, dns.TypeNone:
		return dns.RcodeFormatError, nil // RFC 9824 section 3.5; the others are no types to ask for
	case dns.TypeMAILA, dns.TypeMAILB:
		return dns.RcodeNotImplemented, nil
	case dns.TypeAXFR, dns.TypeIXFR:
		if q.point.Apex {
			return q.transfer()
		}
		return dns.RcodeRefused, nil
	}
	snap := q.publisher.current.Load()
	if snap == nil {
		return dns.RcodeServerFailure, nil // not read yet; ready says so
	}
	q.zone = snap.zones[q.point.Zone]
	q.name = q.zone.Lookup(q.point)
	q.opt = q.r.IsEdns0()
	q.signed = q.opt != nil && q.opt.Do() && q.signer.signs(q.point.Zone)
	switch {
	case q.name.Kind == zone.ApexName && q.qtype == dns.TypeDNSKEY && q.signer.signs(q.point.Zone):
		q.result = answered
		if q.ownSigner {
			return q.signer.dnssec.ServeDNS(q.ctx, q.w, q.r)
		}
		return plugin.NextOrFailure(name, q.Next, q.ctx, q.w, q.r)
	case q.acme && q.point.Tree == zone.Rest && q.name.Kind == zone.Absent && strings.HasPrefix(string(q.point.Rel), "\x0f_acme-challenge"):
		// The name has to be there before the challenge is: a resolver that was
		// told that it is not would not ask for the TXT record.
		q.awaited, q.name.Kind = true, zone.EmptyNonTerminal
		if q.qtype == dns.TypeTXT {
			if rcode, ok := q.challenge(); ok {
				return rcode, nil
			}
		}
	}
	q.limit()
	switch records, kept := q.records(); {
	case kept:
		return q.answerOwner()
	case len(records) > 0:
		return q.answer(records)
	}
	return q.deny()
}

// challenge answers what proves to an authority whose domain this is (RFC 8555
// section 8.4): our own challenges, or those of *tls*, which stands behind us.
func (q *query) challenge() (rcode int, ok bool) {
	if reply := challengeReply(q.r); reply != nil {
		p := zone.NewReply(q.r)
		p.Msg.Answer = reply.Answer
		if q.signed && !q.signBelow {
			if sigs, err := q.signer.sign(reply.Answer); err == nil {
				p.Msg.Answer = append(p.Msg.Answer, sigs...)
			}
		}
		rcode, _ = q.write(p, answered)
		return rcode, true
	}
	rcode, err := plugin.NextOrFailure(name, q.Next, q.ctx, q.w, q.r)
	if err != nil || !plugin.ClientWrite(rcode) {
		return 0, false
	}
	q.result = answered
	return rcode, true
}

// limit lowers the size that a UDP client says it takes: what is larger than
// our limit is to be asked for over TCP, and not worth being spoofed for.
func (q *query) limit() {
	if q.opt != nil && int(q.opt.UDPSize()) > q.config.udpLimit && q.udp() {
		q.opt.SetUDPSize(uint16(q.config.udpLimit))
	}
}

func (q *query) udp() bool {
	_, tcp := q.w.RemoteAddr().(*net.TCPAddr)
	return !tcp
}

// records returns what the name has of the type. Kept is true if that is the
// records of an owner, which stay in the zone's table.
func (q *query) records() (records []dns.RR, kept bool) {
	switch q.name.Kind {
	case zone.Owner:
		return nil, q.qtype == dns.TypeANY || q.qtype == q.name.Type()
	case zone.ApexName:
		switch q.qtype {
		case dns.TypeSOA, dns.TypeANY: // RFC 8482: one RRset is enough
			return []dns.RR{q.zone.SOA()}, false
		case dns.TypeNS:
			return q.zone.NS(), false
		case dns.TypeCDS, dns.TypeCDNSKEY:
			return ofType(q.signer.extra(q.point.Zone), q.qtype), false
		}
	case zone.HostName:
		if q.qtype == dns.TypeANY {
			return q.name.Host(q.name.Types()[0]), false
		}
		return q.name.Host(q.qtype), false
	}
	return nil, false
}

// ownerName returns the name that was asked for as the zone has it. Most ask
// in lower case, and then it is the same string.
func (q *query) ownerName() string { return strings.ToLower(q.r.Question[0].Name) }

// answerOwner answers with an owner's records and the signatures kept with them.
func (q *query) answerOwner() (int, error) {
	if q.config.tcpOnly && q.name.Tree == zone.Certs && q.udp() {
		// RFC 8162 section 9.1: never REFUSED, which would end the search.
		return q.truncate(zone.NewReply(q.r))
	}
	if q.writePacked() {
		return dns.RcodeSuccess, nil
	}
	return q.answerMessage()
}

// answerMessage is answerOwner for plugins above us that want messages.
func (q *query) answerMessage() (int, error) {
	reply := zone.NewReply(q.r)
	reply.Answer(q.name, q.ownerName())
	keys := q.keys()
	if q.signed && !q.signBelow && !reply.Sign(q.name, keys, time.Now(), notWithin) {
		rrset := q.zone.RRset(q.point, q.name)
		sigs, err := q.signer.sign(rrset.Records)
		if err != nil {
			return dns.RcodeServerFailure, err
		}
		signatures.WithLabelValues("query").Inc()
		reply.Msg.Answer = append(reply.Msg.Answer, sigs...)
		q.publisher.signing.offer(signed{zone: q.point.Zone, keys: keys, rrsets: []zone.RRset{rrset}, sigs: [][]dns.RR{sigs}})
	}
	return q.write(reply, answered)
}

func (q *query) keys() zone.Keys {
	if q.signer == nil {
		return zone.Keys{}
	}
	return q.signer.keys[q.point.Zone]
}

// answer answers with records that are made for this reply.
func (q *query) answer(records []dns.RR) (int, error) {
	reply := zone.NewReply(q.r)
	reply.Msg.Answer = records
	if q.signed && !q.signBelow {
		sigs, err := q.signer.sign(records)
		if err != nil {
			return dns.RcodeServerFailure, err
		}
		reply.Msg.Answer = append(records[:len(records):len(records)], sigs...)
	}
	return q.write(reply, answered)
}

func (q *query) truncate(reply *zone.Reply) (int, error) {
	reply.Truncate()
	return q.write(reply, truncated)
}

func (q *query) write(reply *zone.Reply, result result) (int, error) {
	q.result = result
	if err := q.w.WriteMsg(&reply.Msg); err != nil {
		q.result = failed
	}
	return dns.RcodeSuccess, nil
}
