package discover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/discover/dnssec"
	"coredns-smimea/internal/download"
)

// Limits of asking a zone's own servers.
const (
	refreshTime = 5 * time.Second // for all of it
	maxServers  = 4               // addresses
)

// refresh asks the zone's own servers for the SMIMEA records, if those that a cache
// had are of another certificate than the one found: after a renewal resolvers have
// the old ones for as long as their TTL. It reports whether they have others.
// Without a [dnssec.Validator] what servers say could not be believed.
func (l *lookup) refresh(ctx context.Context) bool {
	v, ok := l.Resolver.(*dnssec.Validator)
	if !ok {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, refreshTime)
	defer cancel()
	own, err := l.ownServers(ctx, v, l.at)
	if err != nil {
		l.tell("the domain's own servers could not be asked whether the SMIMEA records are out of date: %v", err)
		return false
	}
	fresh := l.askRecords(ctx, own, l.Address.Owner(), dns.TypeSMIMEA)
	if fresh.Err != nil || fresh.Security != dnssec.Secure {
		l.tell("the domain's own servers have no SMIMEA records that could be used: %s", fresh.why())
		return false
	}
	before := l.SMIMEA.Data
	l.takeSMIMEA(fresh)
	if slices.Equal(before, l.SMIMEA.Data) {
		l.tell("the domain's own servers have the same SMIMEA records")
		return false
	}
	l.tell("the resolver's SMIMEA records were out of date; these are of the domain's own servers")
	for _, c := range l.Certificates {
		c.Untrusted, c.issuer = "", nil
		l.name(c)
	}
	for _, authorities := range l.authorities {
		for _, a := range authorities {
			a.named = l.associations.of(a.parsed.Raw, a.parsed.RawSubjectPublicKeyInfo)
		}
	}
	l.addFromRecords()
	return true
}

// ownServers returns a Resolver that asks the servers of the zone that a name is in,
// and the usual one for what leads there.
func (l *lookup) ownServers(ctx context.Context, v *dnssec.Validator, name string) (Resolver, error) {
	apex, err := Apex(ctx, v.Exchange, name)
	if err != nil {
		return nil, err
	}
	a, err := v.Lookup(ctx, apex, dns.TypeNS)
	if err != nil {
		return nil, err
	}
	var servers []*Server
	for _, rr := range a.Records {
		addresses, err := Addresses(ctx, v, dns.CanonicalName(rr.(*dns.NS).Ns))
		if err != nil {
			continue
		}
		for _, address := range addresses {
			if len(servers) == maxServers || !l.AllowPrivate && !download.Public(address) {
				continue
			}
			server, err := ParseServer(net.JoinHostPort(address.String(), testOnlyServerPort))
			if err != nil {
				return nil, err
			}
			servers = append(servers, server)
		}
	}
	if len(servers) == 0 {
		return nil, fmt.Errorf("no name server of %s has an address that can be asked", apex)
	}
	return Through(v, apex, func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
		var failed error
		for i, server := range servers {
			limit, cancel := context.WithTimeout(ctx, refreshTime/time.Duration(len(servers)-i+1))
			m, err := server.Exchange(limit, q)
			cancel()
			if err == nil && m.Authoritative {
				return m, nil
			}
			if failed = err; err == nil {
				failed = errors.New(server.String() + " does not have the zone")
			}
		}
		return nil, failed
	}), nil
}

// testOnlyServerPort is where the servers of a zone listen.
var testOnlyServerPort = "53"

// Through returns a Validator that asks otherwise for what is in a zone, and as v does
// for all else: its parent has the DS records, say.
func Through(v *dnssec.Validator, apex string, exchange func(context.Context, *dns.Msg) (*dns.Msg, error)) *dnssec.Validator {
	return &dnssec.Validator{Anchors: v.Anchors, Now: v.Now, Exchange: func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
		name := q.Question[0].Name
		if dns.IsSubDomain(apex, name) && !(strings.EqualFold(name, apex) && q.Question[0].Qtype == dns.TypeDS) {
			return exchange(ctx, q)
		}
		return v.Exchange(ctx, q)
	}}
}

// Apex returns the name of the zone that a name is in, as the SOA record of the answer
// says. It is not validated.
func Apex(ctx context.Context, exchange func(context.Context, *dns.Msg) (*dns.Msg, error), name string) (string, error) {
	q := new(dns.Msg)
	q.SetQuestion(name, dns.TypeSOA)
	q.SetEdns0(1232, true)
	q.CheckingDisabled = true
	m, err := exchange(ctx, q)
	if err != nil {
		return "", fmt.Errorf("asking for %s SOA: %w", name, err)
	}
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return "", &dnssec.ServerError{Name: name, Type: dns.TypeSOA, Rcode: m.Rcode}
	}
	for _, rr := range append(slices.Clone(m.Answer), m.Ns...) {
		if soa, ok := rr.(*dns.SOA); ok && dns.IsSubDomain(soa.Hdr.Name, name) {
			return dns.CanonicalName(soa.Hdr.Name), nil
		}
	}
	return "", fmt.Errorf("no SOA record is above %s", name)
}
