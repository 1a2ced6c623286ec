package discover

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"

	"github.com/miekg/dns"

	"coredns-smimea/discover/dnssec"
)

// Addresses returns the addresses of a host, which can be one itself, those of
// IPv6 first. A host without any is no error; answers that are bogus are.
func Addresses(ctx context.Context, resolver Resolver, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all resolved
	for answer := range resolve(ctx, resolver, host) {
		if answer.qtype == dns.TypeAAAA {
			all.list = append(answer.list, all.list...)
		} else {
			all.list = append(all.list, answer.list...)
		}
		if answer.err != nil {
			all.err = answer.err
		}
	}
	if len(all.list) == 0 && all.err != nil {
		return nil, all.err
	}
	return all.list, nil
}

// resolved are the addresses of one family.
type resolved struct {
	qtype uint16
	list  []netip.Addr
	err   error
}

// resolve asks for both families of addresses at the same time. The channel is
// closed when both have answered, or the context has ended.
func resolve(ctx context.Context, resolver Resolver, host string) <-chan resolved {
	answers := make(chan resolved, 2)
	if address, err := netip.ParseAddr(host); err == nil {
		answers <- resolved{dns.TypeAAAA, []netip.Addr{address}, nil}
		close(answers)
		return answers
	}
	var asked sync.WaitGroup
	for _, qtype := range []uint16{dns.TypeAAAA, dns.TypeA} {
		asked.Go(func() {
			list, err := addressesOf(ctx, resolver, host, qtype)
			answers <- resolved{qtype, list, err}
		})
	}
	go func() {
		asked.Wait()
		close(answers)
	}()
	return answers
}

func addressesOf(ctx context.Context, resolver Resolver, host string, qtype uint16) (list []netip.Addr, err error) {
	a, err := resolver.Lookup(ctx, dns.Fqdn(host), qtype)
	if err != nil {
		return nil, err
	}
	// TLS protects what is downloaded: an address need not be signed. One that
	// should be, and does not validate, leads astray.
	if a.Security < dnssec.Insecure {
		return nil, errors.New("the address of " + host + " is " + a.Security.String() + ": " + a.Why)
	}
	for _, rr := range a.Records {
		var ip net.IP
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A
		case *dns.AAAA:
			ip = rr.AAAA
		}
		if address, ok := netip.AddrFromSlice(ip); ok {
			list = append(list, address.Unmap())
		}
	}
	return list, nil
}

// notPublic4 are IPv4 addresses that are global unicast ones by their form, but do
// not lead to the Internet (IANA's IPv4 special-purpose address registry, RFC 6890).
var notPublic4 = prefixes("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24",
	"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4")

// IANA has given out addresses from 2000::/3 only (IPv6 address space registry).
// All others are local, or have an IPv4 address in them, such as ::ffff:0:0:0/96
// (RFC 2765) and 64:ff9b::/96 (RFC 6052), or are no hosts' (5f00::/16, RFC 9602).
var global6 = netip.MustParsePrefix("2000::/3")

// notPublic6 are addresses within global6 that do not lead to the Internet (IANA's
// IPv6 special-purpose address registry): protocols (2001::/23, with Teredo),
// documentation (RFC 3849, RFC 9637) and 6to4.
var notPublic6 = prefixes("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")

func prefixes(list ...string) (all []netip.Prefix) {
	for _, text := range list {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

func isPublic(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	special := notPublic4
	if a.Is6() {
		if special = notPublic6; !global6.Contains(a) {
			return false
		}
	}
	for _, prefix := range special {
		if prefix.Contains(a) {
			return false
		}
	}
	return true
}
