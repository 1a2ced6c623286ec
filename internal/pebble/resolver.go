package pebble

import (
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"coredns-smimea/internal/harness"
)

// Resolver starts a name server, over UDP and TCP, that says that every name is
// 127.0.0.1, and answers for TXT what values returns for the name, which is in
// lower case and without a final dot.
func Resolver(t testing.TB, values func(name string) []string) (addr string) {
	t.Helper()
	streams, packets, err := harness.Listen()
	if err != nil {
		t.Fatal(err)
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		m := new(dns.Msg).SetReply(r)
		m.Authoritative = true
		q := r.Question[0]
		header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET}
		switch q.Qtype {
		case dns.TypeA:
			m.Answer = append(m.Answer, &dns.A{Hdr: header, A: net.IPv4(127, 0, 0, 1)})
		case dns.TypeTXT:
			for _, value := range values(strings.TrimSuffix(strings.ToLower(q.Name), ".")) {
				m.Answer = append(m.Answer, &dns.TXT{Hdr: header, Txt: []string{value}})
			}
		}
		w.WriteMsg(m)
	})
	for _, s := range []*dns.Server{{PacketConn: packets, Handler: handler}, {Listener: streams, Handler: handler}} {
		go s.ActivateAndServe()
		t.Cleanup(func() { s.Shutdown() })
	}
	return packets.LocalAddr().String()
}
