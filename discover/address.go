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
