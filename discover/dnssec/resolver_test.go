package dnssec

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/miekg/dns"

	"coredns-smimea/discover/discovertest"
)

// TestThroughResolvers looks up over resolvers in front of the server: one that
// validates itself, one that only passes on, and BIND.
func TestThroughResolvers(t *testing.T) {
	z := makeZones(t, recipes)
	unbound := func(modules string) func() string {
		return func() string {
			port := discovertest.FreePort(t)
			name := fmt.Sprintf("unbound%d.conf", port)
			z.write(name, fmt.Sprintf(`server:
  interface: 127.0.0.1
  port: %d
  do-daemonize: no
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  module-config: %q
  trust-anchor-file: %q
  do-not-query-localhost: no
  local-zone: "test." nodefault
forward-zone:
  name: "test."
  forward-addr: %s
remote-control:
  control-enable: no
`, port, modules, z.anchors, atPort(z.address)))
			address := fmt.Sprintf("127.0.0.1:%d", port)
			discovertest.StartDaemon(t, z.dir, address, "test", "unbound", "-d", "-c", filepath.Join(z.dir, name))
			return address
		}
	}
	for name, start := range map[string]func() string{
		"unbound, validating":     unbound("validator iterator"),
		"unbound, not validating": unbound("iterator"),
		"bind":                    func() string { return z.bindResolver() },
	} {
		t.Run(name, func(t *testing.T) {
			address := start()
			v := z.validator(nil)
			v.Exchange = func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) { return exchangeTCP(ctx, q, address) }
			for _, c := range cases {
				a, err := v.Lookup(t.Context(), c.name, dns.TypeSMIMEA)
				if err != nil {
					// Some resolvers do not pass on what is broken.
					if c.want != Bogus {
						t.Errorf("%s: %v", c.name, err)
					}
					continue
				}
				found := len(a.Records)
				if a.NameError {
					found = -1
				}
				if a.Security != c.want || found != c.found {
					t.Errorf("%s: %v, %d records; want %v, %d (%s)", c.name, a.Security, found, c.want, c.found, a.Why)
				}
			}
		})
	}
}

// bindResolver starts BIND as a resolver in front of the server.
func (z *testZones) bindResolver() string {
	z.t.Helper()
	port := discovertest.FreePort(z.t)
	z.write("named.conf", fmt.Sprintf(`options {
	directory %q;
	listen-on port %d { 127.0.0.1; };
	listen-on-v6 { none; };
	pid-file none;
	session-keyfile none;
	recursion yes;
	dnssec-validation no;
	empty-zones-enable no;
};
controls { };
zone "test" { type forward; forward only; forwarders { 127.0.0.1 port %s; }; };
`, z.dir, port, z.address[len("127.0.0.1:"):]))
	address := fmt.Sprintf("127.0.0.1:%d", port)
	discovertest.StartDaemon(z.t, z.dir, address, "test", "named", "-g", "-c", filepath.Join(z.dir, "named.conf"))
	return address
}

// atPort writes an address as Unbound wants it.
func atPort(address string) string {
	return address[:len("127.0.0.1")] + "@" + address[len("127.0.0.1:"):]
}
