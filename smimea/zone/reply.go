package zone

import (
	"time"

	"github.com/miekg/dns"
)

// A Reply is a message to be sent, with the records of the common answer (one
// record, one signature) in the same piece of memory.
type Reply struct {
	Msg dns.Msg

	question [1]dns.Question
	answer   [2]dns.RR
	smimea   dns.SMIMEA
	txt      dns.TXT
	strings  [1]string
	rrsig    dns.RRSIG
}

// NewReply returns an authoritative reply to r without any records.
func NewReply(r *dns.Msg) *Reply {
	p := new(Reply)
	p.Msg.MsgHdr = dns.MsgHdr{
		Id:               r.Id,
		Response:         true,
		Opcode:           r.Opcode,
		Authoritative:    true,
		RecursionDesired: r.RecursionDesired,
		CheckingDisabled: r.CheckingDisabled,
	}
	p.question[0] = r.Question[0]
	p.Msg.Question = p.question[:]
	return p
}

// Answer puts the records of an owner into the answer section. Name is the
// owner in presentation form, lower case.
func (p *Reply) Answer(n Name, name string) {
	p.Msg.Answer = p.answer[:0]
	for data := range n.node.data() {
		var rr dns.RR
		header := dns.RR_Header{Name: name, Rrtype: n.Tree.rrtype(), Class: dns.ClassINET, Ttl: n.zone.TTL}
		switch first := len(p.Msg.Answer) == 0; {
		case !first:
			rr = n.zone.record(n.Tree, name, data)
		case n.Tree == Certs:
			p.smimea.Hdr = header
			setCert(&p.smimea, data)
			rr = &p.smimea
		default:
			p.txt.Hdr = header
			p.txt.Txt = n.zone.strings(p.strings[:0:1], data)
			rr = &p.txt
		}
		p.Msg.Answer = append(p.Msg.Answer, rr)
	}
}

// AddSignatures appends the signatures that are kept with an owner's records, which are
// in the answer section already. It reports whether there are any by these keys
// that have begun and do not expire within margin; if not, it appends nothing.
func (p *Reply) AddSignatures(n Name, k Keys, now time.Time, margin time.Duration) bool {
	stored := n.node.signatures()
	if !fresh(stored, k, now, margin) {
		return false
	}
	next := func() *dns.RRSIG {
		if p.rrsig.Hdr.Rrtype == 0 {
			return &p.rrsig
		}
		return new(dns.RRSIG)
	}
	for sig := range eachRRSIG(stored, p.Msg.Answer[0].Header(), k.Signer, next) {
		p.Msg.Answer = append(p.Msg.Answer, sig)
	}
	return true
}

// Truncate empties the reply and sets TC, so that the question is asked again
// over TCP.
func (p *Reply) Truncate() {
	p.Msg.Answer, p.Msg.Ns = nil, nil
	p.Msg.Truncated = true
}
