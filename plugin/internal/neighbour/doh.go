package neighbour

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/plugin/pkg/transport"
)

// CheckDoH refuses an address that a DoH block of the same Corefile listens on.
// CoreDNS would say only that the address is in use. A block that is not ours is
// seen by nothing but the Corefile, so that is read again.
func CheckDoH(c *caddy.Controller, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil
	}
	f, err := os.Open(c.File())
	if err != nil {
		return nil // not from a file: the address in use will have to do
	}
	defer f.Close()
	blocks, err := caddyfile.Parse(c.File(), f, nil)
	if err != nil {
		return nil // is told by who reads it to serve it
	}
	for _, block := range blocks {
		for _, key := range block.Keys {
			rest, ok := strings.CutPrefix(key, transport.HTTPS+"://")
			if !ok || elsewhere(host, block.Tokens["bind"]) {
				continue
			}
			doh := transport.HTTPSPort
			if i := strings.LastIndexByte(rest, ':'); i >= 0 {
				doh = rest[i+1:]
			}
			if doh == port {
				return fmt.Errorf("port %s is the one that %s listens on for DNS over HTTPS, which serves nothing else: give one of them another port", port, key)
			}
		}
	}
	return nil
}

// elsewhere reports whether a *bind* directive names only addresses that host is not.
func elsewhere(host string, bind []caddyfile.Token) bool {
	ours, err := netip.ParseAddr(host)
	if err != nil || ours.IsUnspecified() || len(bind) < 2 {
		return false
	}
	return !slices.ContainsFunc(bind[1:], func(token caddyfile.Token) bool {
		other, err := netip.ParseAddr(token.Text)
		return err != nil || other == ours || other.IsUnspecified()
	})
}
