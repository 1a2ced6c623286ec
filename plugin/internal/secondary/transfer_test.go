package secondary

import (
	"bytes"
	"context"
	golog "log"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin/transfer"
	"github.com/miekg/dns"
)

// from is a client at an address.
type from struct {
	dns.ResponseWriter
	addr net.Addr
}

func (f *from) RemoteAddr() net.Addr { return f.addr }

// TestRefusedOverQUIC holds that the log says why there is no transfer over QUIC:
// *transfer* takes what comes from a UDP address for UDP, whoever it names.
func TestRefusedOverQUIC(t *testing.T) {
	var log bytes.Buffer
	golog.SetOutput(&log)
	defer golog.SetOutput(os.Stderr)
	for _, c := range []struct{ server, want string }{
		{"quic://:853", "it came over QUIC"},
		{"dns://:53", "it came over UDP"},
	} {
		log.Reset()
		p := NewPrimary(nil, Options{Transfer: &transfer.Transfer{}})
		ctx := context.WithValue(t.Context(), dnsserver.Key{}, &dnsserver.Server{Addr: c.server})
		r := new(dns.Msg).SetQuestion("example.com.", dns.TypeAXFR)
		rcode, done := p.Serve(ctx, &from{addr: &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1)}}, r)
		if rcode != dns.RcodeRefused || done {
			t.Errorf("at %s: %s, done %v", c.server, dns.RcodeToString[rcode], done)
		}
		if !strings.Contains(log.String(), c.want) {
			t.Errorf("at %s the log has %q", c.server, log.String())
		}
	}
}
