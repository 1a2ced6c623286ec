package plugin

import (
	"context"
	"net"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/transfer"
	"github.com/miekg/dns"
)

// inside is a client inside the server: it keeps the reply instead of sending
// it. To access lists it is a stranger (RFC 5737's network has no hosts).
type inside struct {
	reply *dns.Msg
	tcp   bool
}

func (w *inside) WriteMsg(m *dns.Msg) error   { w.reply = m; return nil }
func (w *inside) Write(b []byte) (int, error) { return len(b), nil }
func (w *inside) LocalAddr() net.Addr         { return w.RemoteAddr() }
func (w *inside) Close() error                { return nil }
func (w *inside) TsigStatus() error           { return nil }
func (w *inside) TsigTimersOnly(bool)         {}
func (w *inside) Hijack()                     {}
func (w *inside) Network() string             { return "" }
func (w *inside) RemoteAddr() net.Addr {
	if w.tcp {
		return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 255)}
	}
	return &net.UDPAddr{IP: net.IPv4(192, 0, 2, 255)}
}

// ask asks a handler a question, and returns its reply, nil if it has none.
func ask(ctx context.Context, h plugin.Handler, zone string, qtype uint16) *dns.Msg {
	r := new(dns.Msg)
	r.SetQuestion(zone, qtype)
	w := new(inside)
	if h == nil {
		return nil
	}
	if _, err := h.ServeDNS(ctx, w, r); err != nil {
		return nil
	}
	return w.reply
}

// transfersZone reports whether a block's *transfer* gives a zone to anybody.
// What it has been told it does not tell. But a zone that it has not been told
// of it passes on, and one that it has it never does before it has asked who
// may have it.
func transfersZone(h plugin.Handler, zone string) bool {
	t, ok := h.(*transfer.Transfer)
	if !ok || t == nil {
		return false
	}
	passed := false
	probe := *t
	source := &transferSource{}
	probe.Transferers = []transfer.Transferer{source}
	probe.Next = plugin.HandlerFunc(func(context.Context, dns.ResponseWriter, *dns.Msg) (int, error) {
		passed = true
		return dns.RcodeRefused, nil
	})
	r := new(dns.Msg)
	r.SetAxfr(zone)
	if _, err := probe.ServeDNS(context.Background(), &inside{tcp: true}, r); err != nil {
		return false
	}
	return !passed || source.asked
}

// transferSource has no zone, and remembers that it was asked for one.
type transferSource struct{ asked bool }

func (s *transferSource) Transfer(string, uint32) (<-chan []dns.RR, error) {
	s.asked = true
	return nil, transfer.ErrNotAuthoritative
}
