package neighbour

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/parse"
	"github.com/coredns/coredns/plugin/pkg/transport"
)

// A Corefile is the server blocks of a Corefile, in their order. What other
// directives say is found nowhere else: caddy shows a plugin its own only, and most
// export nothing.
type Corefile []caddyfile.ServerBlock

// ReadCorefile returns the Corefile of the instance that has a value under a key,
// which may still be starting; nil if there is none.
func ReadCorefile(key, value any) Corefile {
	for _, i := range caddy.Instances() {
		if i.Storage[key] != value || i.Caddyfile() == nil {
			continue
		}
		// Mistakes are told by who reads it to serve it.
		blocks, err := caddyfile.Parse(i.Caddyfile().Path(), bytes.NewReader(i.Caddyfile().Body()), nil)
		if err == nil {
			return blocks
		}
	}
	return nil
}

// CheckDoH refuses an address that a DoH block listens on. CoreDNS would say only
// that the address is in use.
func (c Corefile) CheckDoH(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil
	}
	for _, block := range c {
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

// Notified is whom *transfer* announces a zone to.
type Notified struct {
	To     []string // addresses with ports
	Source net.IP   // the address that this goes out from, nil for any
}

// Notified returns whom *transfer* of a block, by its index, announces a zone to.
func (c Corefile) Notified(block int, zone string) (n Notified) {
	if block >= len(c) {
		return n
	}
	d := caddyfile.NewDispenserTokens("", c[block].Tokens["transfer"])
	longest := ""
	for d.Next() {
		zones := plugin.Zones(plugin.OriginsFromArgsOrServerBlock(d.RemainingArgs(), c[block].Keys))
		matched := zones.Matches(zone)
		var here Notified
		for d.NextBlock() {
			property, args := d.Val(), d.RemainingArgs()
			for _, host := range args {
				if property == "source" {
					here.Source = net.ParseIP(host)
				} else if address, err := parse.HostPort(host, transport.Port); property == "to" && err == nil && host != "*" {
					here.To = append(here.To, address)
				}
			}
		}
		if len(matched) > len(longest) || len(matched) == len(longest) && matched > longest { // as *transfer* decides
			longest, n = matched, here
		}
	}
	return n
}
