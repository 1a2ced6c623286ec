// Package neighbour finds out about CoreDNS's other plugins what they do not
// export, by asking them.
package neighbour

import (
	"context"
	"net"
	"slices"
	"strings"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/transport"
	"github.com/coredns/coredns/plugin/transfer"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// Self is the name of our directive.
const Self = "smimea"

// A probe is a client inside the server: it keeps the reply instead of sending it.
// Access lists see an address that no host has (RFC 5737).
type probe struct {
	reply *dns.Msg
	tcp   bool
}

func (w *probe) WriteMsg(m *dns.Msg) error   { w.reply = m; return nil }
func (w *probe) Write(b []byte) (int, error) { return len(b), nil }
func (w *probe) LocalAddr() net.Addr         { return w.RemoteAddr() }
func (w *probe) Close() error                { return nil }
func (w *probe) TsigStatus() error           { return nil }
func (w *probe) TsigTimersOnly(bool)         {}
func (w *probe) Hijack()                     {}
func (w *probe) Network() string             { return "" }
func (w *probe) RemoteAddr() net.Addr {
	if w.tcp {
		return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 255)}
	}
	return &net.UDPAddr{IP: net.IPv4(192, 0, 2, 255)}
}

// Ask asks a handler a question, and returns its reply, nil if it has none.
func Ask(ctx context.Context, h plugin.Handler, name string, qtype uint16) *dns.Msg {
	if h == nil {
		return nil
	}
	r := new(dns.Msg)
	r.SetQuestion(name, qtype)
	w := new(probe)
	if _, err := h.ServeDNS(ctx, w, r); err != nil {
		return nil
	}
	return w.reply
}

// Transfers reports whether a block's *transfer* gives a zone to anybody. *transfer*
// exports no list of its zones, so we probe it with an AXFR: of a zone that it does
// not know it passes the question on to Next; of one that it knows it asks the
// access list first.
func Transfers(h plugin.Handler, zone string) bool {
	t, ok := h.(*transfer.Transfer)
	if !ok || t == nil {
		return false
	}
	passed := false
	copied := *t
	source := &noZones{}
	copied.Transferers = []transfer.Transferer{source}
	copied.Next = plugin.HandlerFunc(func(context.Context, dns.ResponseWriter, *dns.Msg) (int, error) {
		passed = true
		return dns.RcodeRefused, nil
	})
	r := new(dns.Msg)
	r.SetAxfr(zone)
	if _, err := copied.ServeDNS(context.Background(), &probe{tcp: true}, r); err != nil {
		return false
	}
	return !passed || source.asked
}

// noZones has no zone to transfer, and remembers that it was asked for one.
type noZones struct{ asked bool }

func (s *noZones) Transfer(string, uint32) (<-chan []dns.RR, error) {
	s.asked = true
	return nil, transfer.ErrNotAuthoritative
}

// ServesZones reports whether a plugin of a block may serve the zone that our
// names are in: every one that comes after us but those that only help.
func ServesZones(handler string) bool {
	at := slices.Index(dnsserver.Directives, handler)
	if at < slices.Index(dnsserver.Directives, Self) {
		return false
	}
	switch handler {
	case Self, "dnssec", "tls", "minimal", "transfer", "loop", "sign", "view":
		return false
	}
	return true
}

// passers are the plugins that pass the writer that they got on to the next, or
// one that takes packed messages as well as others.
var passers = []string{"metadata", "geoip", "cancel", "bufsize", "prometheus", "errors", "local", "any", "chaos", "acl", "tls"}

// TakesOctets reports whether answers of a block may be written as octets: over
// plain DNS, and if all plugins that come before us let them pass. The others are
// to see messages: *log* says what is in them, *dnstap* copies them, *header*
// changes them.
func TakesOctets(server *dnsserver.Config) bool {
	var handlers []string
	for _, h := range server.Handlers() {
		handlers = append(handlers, h.Name())
	}
	return passes(server.Transport, handlers)
}

// passes is TakesOctets for a block of these handlers, in the order of a query.
func passes(over string, handlers []string) bool {
	at := slices.Index(handlers, Self)
	return over == transport.DNS && at >= 0 && !slices.ContainsFunc(handlers[:at], func(handler string) bool {
		return !slices.Contains(passers, handler)
	})
}

// Datagram reports whether an answer goes out as one datagram of UDP, in which
// size matters. Behind *proxyproto* the request knows; that DNS over QUIC and
// HTTP/3, which run over UDP, have streams, only their server knows.
func Datagram(ctx context.Context, w dns.ResponseWriter) bool {
	switch w.RemoteAddr().(type) {
	case *net.UDPAddr:
	case *net.TCPAddr:
		return false
	default:
		if state := (request.Request{W: w}); state.Proto() != "udp" {
			return false
		}
	}
	server, ok := ctx.Value(dnsserver.Key{}).(*dnsserver.Server)
	return !ok || !strings.Contains(server.Addr, "://") || strings.HasPrefix(server.Addr, transport.DNS+"://")
}
