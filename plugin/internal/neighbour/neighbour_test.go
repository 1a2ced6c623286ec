package neighbour

import (
	"context"
	"net"
	"slices"
	"testing"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/miekg/dns"
)

// TestPasses says before which plugins answers may be written as octets.
func TestPasses(t *testing.T) {
	type handlers []string
	for _, c := range []struct {
		transport string
		above     handlers
		want      bool
	}{
		{"dns", nil, true},
		{"dns", handlers{"errors", "prometheus", "bufsize", "acl"}, true},
		{"dns", handlers{"log"}, false},
		{"dns", handlers{"errors", "dnstap"}, false},
		{"dns", handlers{"some plugin of others"}, false},
		{"tls", nil, false},
		{"https", nil, false},
	} {
		got := passes(c.transport, append(c.above, Self, "log"))
		if got != c.want {
			t.Errorf("passes(%q, %q) = %v, want %v", c.transport, c.above, got, c.want)
		}
	}
	if passes("dns", []string{"errors"}) {
		t.Errorf("passes without this plugin in the block")
	}
	for _, p := range passers {
		if !slices.Contains(dnsserver.Directives, p) {
			t.Errorf("there is no plugin %s", p)
		}
	}
}

type from struct {
	probe
	addr net.Addr
}

func (w *from) RemoteAddr() net.Addr { return w.addr }

// proxied is an address as *proxyproto* gives it with tlv_metadata.
type proxied struct{ net.Addr }

func (p proxied) Unwrap() net.Addr { return p.Addr }

// TestDatagram holds that only plain DNS over UDP is one, whatever address the
// client has.
func TestDatagram(t *testing.T) {
	udp, tcp := &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1)}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}
	for _, c := range []struct {
		server string // its address, "" for none
		client net.Addr
		want   bool
	}{
		{"", udp, true},
		{"", tcp, false},
		{"dns://:53", udp, true},
		{"dns://:53", tcp, false},
		{"quic://:853", udp, false},
		{"https3://:443", udp, false},
		{"https://:443", tcp, false},
		{"dns://:53", proxied{udp}, true},
		{"dns://:53", proxied{tcp}, false},
	} {
		ctx := context.Background()
		if c.server != "" {
			ctx = context.WithValue(ctx, dnsserver.Key{}, &dnsserver.Server{Addr: c.server})
		}
		var w dns.ResponseWriter = &from{addr: c.client}
		if got := Datagram(ctx, w); got != c.want {
			t.Errorf("at %q, from %T: %v, want %v", c.server, c.client, got, c.want)
		}
	}
}
