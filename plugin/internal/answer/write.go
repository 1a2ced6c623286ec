package answer

import (
	"strings"

	"github.com/coredns/coredns/plugin/pkg/edns"
	"github.com/miekg/dns"

	"coredns-smimea/plugin/internal/sign"
	"coredns-smimea/smimea/zone"
)

// Write sends an answer: as octets if it can be, as most can, or as a message. It
// returns what CoreDNS is to know of it, and how it went.
func (q *Query) Write(a *Answer) (rcode int, result Result, err error) {
	switch {
	case a.Refused, a.Passed:
		return a.Rcode, a.Result, nil
	case a.Owner && q.TakesOctets:
		if octets, ok := q.appendOctets(q.reply[:0]); ok {
			if _, err := q.w.Write(octets); err != nil {
				a.Result = Failed
			}
			return dns.RcodeSuccess, a.Result, nil
		}
	}
	reply, err := q.message(a)
	if err != nil {
		return dns.RcodeServerFailure, Failed, err
	}
	if err := q.w.WriteMsg(&reply.Msg); err != nil {
		a.Result = Failed
	}
	return dns.RcodeSuccess, a.Result, nil
}

// appendOctets appends the answer with an owner's records as it goes out. It
// reports false for what only a message can have.
func (q *Query) appendOctets(dst []byte) ([]byte, bool) {
	if q.signed && q.SignBelow {
		return dst, false
	}
	size := dns.MinMsgSize
	switch {
	case q.opt == nil && len(q.r.Extra) > 0, q.opt != nil && len(q.r.Extra) > 1:
		return dst, false // TSIG, or what else there may be
	case q.opt != nil:
		for _, option := range q.opt.Option {
			if edns.SupportedOption(option.Option()) {
				return dst, false // is given back
			}
		}
		size = max(size, int(q.opt.UDPSize()))
	}
	if !q.datagram() {
		size = dns.MaxMsgSize
	}
	question := &q.r.Question[0]
	q.packing = zone.Packing{
		ID: q.r.Id, Asked: append(q.asked[:0], question.Name...), Type: question.Qtype,
		Signed: q.signed, Size: size,
	}
	if q.r.RecursionDesired {
		q.packing.Flags |= 1 << 8
	}
	if q.r.CheckingDisabled {
		q.packing.Flags |= 1 << 4
	}
	if q.opt != nil {
		q.packing.EDNS, q.packing.UDPSize, q.packing.EDNSFlags = true, q.opt.UDPSize(), uint16(q.opt.Hdr.Ttl)
	}
	if q.signed {
		q.packing.Keys, q.packing.Now, q.packing.Margin = q.Signer.Keys(q.point.Zone), q.Now(), sign.Margin
	}
	return q.name.AppendAnswer(dst, &q.point, &q.packing)
}

// message makes a message of an answer. The error is one of signing.
func (q *Query) message(a *Answer) (*zone.Reply, error) {
	reply := zone.NewReply(q.r)
	reply.Msg.Rcode = a.Rcode
	switch {
	case a.Truncated:
		reply.Truncate()
	case a.Owner:
		return reply, q.addOwner(reply)
	default:
		reply.Msg.Answer, reply.Msg.Ns = a.Records, a.Denial
	}
	return reply, nil
}

// addOwner adds the records of an owner, and the signatures kept with them, or new
// ones.
func (q *Query) addOwner(reply *zone.Reply) error {
	// The name as the zone has it. Most ask in lower case, and then it is the same.
	reply.Answer(q.name, strings.ToLower(q.r.Question[0].Name))
	keys := q.Signer.Keys(q.point.Zone)
	if !q.signed || q.SignBelow || reply.AddSignatures(q.name, keys, q.Now(), sign.Margin) {
		return nil
	}
	rrset := q.zone.RRset(q.point, q.name)
	sigs, err := q.Signer.Sign(rrset.Records)
	if err != nil {
		return err
	}
	sign.ForQuery.Count()
	reply.Msg.Answer = append(reply.Msg.Answer, sigs...)
	q.Offer(sign.Batch{Zone: q.point.Zone, Keys: keys, RRsets: []zone.RRset{rrset}, Sigs: [][]dns.RR{sigs}})
	return nil
}
