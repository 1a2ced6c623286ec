package plugin

import (
	"slices"
	"time"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin/pkg/edns"
	"github.com/coredns/coredns/plugin/pkg/transport"
	"github.com/miekg/dns"

	"coredns-smimea/smimea/zone"
)

// onlyPass are the plugins that pass the writer that they got on to the next, or
// one that takes packed messages as well as others.
var onlyPass = []string{"metadata", "geoip", "cancel", "bufsize", "prometheus", "errors", "local", "any", "chaos", "acl", "tls"}

// packs reports whether answers may be written as they go out: over plain DNS,
// and if all plugins that come before us let them pass. The others are to see
// messages: *log* says what is in them, *dnstap* copies them, *header* changes them.
func packs(server *dnsserver.Config) bool {
	var handlers []string
	for _, h := range server.Handlers() {
		handlers = append(handlers, h.Name())
	}
	return passes(server.Transport, handlers)
}

// passes is packs for a block of these handlers, in the order of a query.
func passes(over string, handlers []string) bool {
	at := slices.Index(handlers, name)
	return over == transport.DNS && at >= 0 && !slices.ContainsFunc(handlers[:at], func(handler string) bool {
		return !slices.Contains(onlyPass, handler)
	})
}

// writePacked answers with an owner's records, if the answer can be written as
// it goes out, as most can. It reports whether it has.
func (q *query) writePacked() bool {
	if !q.packs || q.signed && q.signBelow {
		return false
	}
	size := dns.MinMsgSize
	switch {
	case q.opt == nil && len(q.r.Extra) > 0, q.opt != nil && len(q.r.Extra) > 1:
		return false // TSIG, or what else there may be
	case q.opt != nil:
		for _, option := range q.opt.Option {
			if edns.SupportedOption(option.Option()) {
				return false // is given back
			}
		}
		size = max(size, int(q.opt.UDPSize()))
	}
	if !q.udp() {
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
		q.packing.Keys, q.packing.Now, q.packing.Margin = q.keys(), time.Now(), notWithin
	}
	reply, ok := q.name.AppendAnswer(q.reply[:0], &q.point, &q.packing)
	if !ok {
		return false
	}
	q.result = answered
	if _, err := q.w.Write(reply); err != nil {
		q.result = failed
	}
	return true
}
