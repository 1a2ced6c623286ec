package answer

import (
	"context"
	"strings"
	"sync"

	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"

	"coredns-smimea/plugin/internal/neighbour"
	"coredns-smimea/plugin/internal/sign"
	"coredns-smimea/smimea/zone"
)

// A Query is one question about a name of ours, on its way to an answer. Queries
// are used again: nothing may keep one, or what it has room for, after Done. They
// are no local variables also because the stacks of CoreDNS's goroutines, one a
// query, are small: to outgrow one costs more than all else that we do.
type Query struct {
	question
	answer  Answer
	packing zone.Packing
	wire    [256]byte  // the name as it is on the wire
	asked   [256]byte  // the same in the case of the request
	reply   [1280]byte // the same of the reply
}

var queries = sync.Pool{New: func() any { return new(Query) }}

// question is what differs from query to query.
type question struct {
	*Block
	ctx   context.Context
	w     dns.ResponseWriter
	r     *dns.Msg
	qtype uint16
	point zone.Point

	opt    *dns.OPT
	over   transport
	zone   *zone.Zone
	name   zone.Name
	signed bool // the answer is to be signed
	// awaited says that an ACME challenge may come to be at the name.
	awaited bool
}

// challengeLabel is the label of names of DNS-01 challenges in wire form (RFC 8555
// section 8.4).
const challengeLabel = "\x0f_acme-challenge"

// transport is how an answer goes out, once somebody has asked.
type transport uint8

const (
	unknown transport = iota
	datagram
	stream
)

func transportOf(isDatagram bool) transport {
	if isDatagram {
		return datagram
	}
	return stream
}

// datagram reports whether the answer goes out over UDP.
func (q *Query) datagram() bool {
	if q.over == unknown {
		q.over = transportOf(neighbour.Datagram(q.ctx, q.w))
	}
	return q.over == datagram
}

// Query finds the zone that a question is about. It reports false if that is none
// of ours. A query that is found must be ended by Done.
func (b *Block) Query(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (*Query, bool) {
	if b.Index.Foreign(r.Question[0].Name) {
		return nil, false
	}
	q := queries.Get().(*Query)
	owner, err := zone.AppendWire(q.wire[:0], r.Question[0].Name)
	if err == nil {
		var ok bool
		if q.point, ok = b.Index.Find(owner); ok {
			q.Block, q.ctx, q.w, q.r, q.qtype = b, ctx, w, r, r.Question[0].Qtype
			return q, true
		}
	}
	queries.Put(q)
	return nil, false
}

// Done ends a query.
func (q *Query) Done() {
	q.question, q.answer = question{}, Answer{}
	queries.Put(q)
}

// Zone returns the index of the zone that the name is in.
func (q *Query) Zone() int { return q.point.Zone }

// Type returns the type that is asked for.
func (q *Query) Type() uint16 { return q.qtype }

// Transfer reports whether the query is for a transfer of the whole zone.
func (q *Query) Transfer() bool {
	return (q.qtype == dns.TypeAXFR || q.qtype == dns.TypeIXFR) && q.point.Apex && q.proper()
}

// proper reports whether the query is an ordinary one.
func (q *Query) proper() bool {
	return q.r.Opcode == dns.OpcodeQuery && q.r.Question[0].Qclass == dns.ClassINET && len(q.r.Question) == 1
}

// Answer decides what there is to say, by the snapshot of the moment. The answer is
// good until Done. The error is one of signing.
func (q *Query) Answer() (*Answer, error) {
	a := &q.answer
	*a = Answer{}
	err := q.decide(a)
	if err != nil && !a.Passed {
		a.refuse(dns.RcodeServerFailure)
	}
	return a, err
}

func (q *Query) decide(a *Answer) error {
	if q.improper(a) {
		return nil
	}
	if !q.look() {
		a.refuse(dns.RcodeServerFailure) // not read yet; *ready* says so
		return nil
	}
	if q.name.Kind == zone.ApexName && q.qtype == dns.TypeDNSKEY && q.Signer.Signs(q.point.Zone) {
		if q.OwnKeys {
			return a.pass(q.Signer.ServeKeys(q.ctx, q.w, q.r))
		}
		return a.pass(plugin.NextOrFailure(neighbour.Self, q.Next, q.ctx, q.w, q.r))
	}
	if q.Challenges != nil && q.point.Tree == zone.Rest && q.name.Kind == zone.Absent && strings.HasPrefix(string(q.point.Rel), challengeLabel) {
		// The name has to be there before the challenge is: a resolver that was
		// told that it is not would not ask for the TXT record.
		q.awaited, q.name.Kind = true, zone.EmptyNonTerminal
		if q.qtype == dns.TypeTXT && q.challenge(a) {
			return nil
		}
	}
	q.limit()
	if q.kept() {
		a.Owner = true
		if q.TCPOnly && q.name.Tree == zone.Certs && q.datagram() {
			a.truncate() // RFC 8162 section 9.1: never REFUSED, which would end the search
		}
		return nil
	}
	if a.Records = q.records(); len(a.Records) > 0 {
		return q.sign(a)
	}
	return q.deny(a)
}

// improper answers questions that are none.
func (q *Query) improper(a *Answer) bool {
	switch {
	case q.r.Opcode != dns.OpcodeQuery:
		a.refuse(dns.RcodeNotImplemented)
	case q.r.Question[0].Qclass != dns.ClassINET:
		a.refuse(dns.RcodeRefused)
	case len(q.r.Question) > 1:
		a.refuse(dns.RcodeFormatError)
	default:
		switch q.qtype {
		case dns.TypeNXNAME, dns.TypeOPT, dns.TypeTSIG, dns.TypeTKEY, dns.TypeNone:
			a.refuse(dns.RcodeFormatError) // RFC 9824 section 3.5; the others are no types to ask for
		case dns.TypeMAILA, dns.TypeMAILB:
			a.refuse(dns.RcodeNotImplemented)
		case dns.TypeAXFR, dns.TypeIXFR:
			a.refuse(dns.RcodeRefused) // below the apex
		}
	}
	return a.Refused
}

// look looks the name up. It reports false if the zone has not been read yet.
func (q *Query) look() bool {
	snap := q.Snapshot.Load()
	if snap == nil || snap.Zones[q.point.Zone] == nil {
		return false
	}
	q.zone = snap.Zones[q.point.Zone]
	q.name = q.zone.Lookup(q.point)
	q.opt = q.r.IsEdns0()
	q.signed = q.opt != nil && q.opt.Do() && q.Signer.Signs(q.point.Zone)
	return true
}

// challenge answers what proves to an authority whose domain this is (RFC 8555
// section 8.4): our own challenges, or those of *tls*, which stands behind us. It
// reports whether there is one.
func (q *Query) challenge(a *Answer) bool {
	if a.Records = q.Challenges(q.r); a.Records != nil {
		_ = q.sign(a) // an authority takes one without a signature as well
		return true
	}
	err := a.pass(plugin.NextOrFailure(neighbour.Self, q.Next, q.ctx, q.w, q.r))
	if err == nil && plugin.ClientWrite(a.Rcode) {
		return true
	}
	*a = Answer{}
	return false
}

// limit lowers the size that a UDP client says it takes: what is larger than
// our limit is to be asked for over TCP, and not worth being spoofed for.
func (q *Query) limit() {
	if q.opt != nil && int(q.opt.UDPSize()) > q.UDPLimit && q.datagram() {
		q.opt.SetUDPSize(uint16(q.UDPLimit))
	}
}

// kept reports whether what is asked for is the records of an owner, which stay in
// the zone's table.
func (q *Query) kept() bool {
	return q.name.Kind == zone.Owner && (q.qtype == dns.TypeANY || q.qtype == q.name.Type())
}

// records returns what other names than owners have of the type: copies.
func (q *Query) records() []dns.RR {
	switch q.name.Kind {
	case zone.ApexName:
		switch q.qtype {
		case dns.TypeSOA, dns.TypeANY: // RFC 8482: one RRset is enough
			return []dns.RR{q.zone.SOA()}
		case dns.TypeNS:
			return q.zone.NS()
		case dns.TypeCDS, dns.TypeCDNSKEY:
			return q.Signer.ExtraOf(q.point.Zone, q.qtype)
		}
	case zone.ServerName:
		if q.qtype == dns.TypeANY {
			return sign.Copies(q.name.Addresses(q.name.Types()[0]))
		}
		return sign.Copies(q.name.Addresses(q.qtype))
	}
	return nil
}

// sign adds the signatures of an answer's records, which were made for it.
func (q *Query) sign(a *Answer) error {
	if !q.signed || q.SignBelow {
		return nil
	}
	sigs, err := q.Signer.Sign(a.Records)
	if err == nil {
		a.Records = append(a.Records[:len(a.Records):len(a.Records)], sigs...)
	}
	return err
}
