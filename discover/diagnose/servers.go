package diagnose

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/discover"
	"coredns-smimea/smimea"
)

// A nameServer is one address of a zone's.
type nameServer struct {
	*discover.Server
	where string // its name and address
}

// testOnlyServerPort is where the servers of NS records listen.
var testOnlyServerPort = "53"

// nameServers returns the servers of a zone, with their names.
func (e *examination) nameServers(ctx context.Context, apex string) (servers []nameServer) {
	if len(e.NameServers) > 0 {
		for _, s := range e.NameServers {
			servers = append(servers, nameServer{s, s.String()})
		}
		return servers
	}
	a, err := e.resolver.Lookup(ctx, apex, dns.TypeNS)
	if err != nil || len(a.Records) == 0 {
		e.blame(apex, Finding{Level: Error, Code: "no_ns", Where: apex, Text: "no NS records are found", Remedy: "publish them, in the zone and in its parent"})
		return nil
	}
	e.parentServers(ctx, apex, namesOf(a.Records))
	for _, name := range namesOf(a.Records) {
		found := e.addressesOf(ctx, name)
		if len(found) == 0 {
			e.say(Error, "no_address", name, "the name server of "+apex+" has no address", "give it an A or AAAA record")
		}
		servers = append(servers, found...)
	}
	return servers
}

func (e *examination) addressesOf(ctx context.Context, name string) (servers []nameServer) {
	addresses, err := discover.Addresses(ctx, e.resolver, name)
	if err != nil {
		return nil
	}
	for _, address := range addresses {
		if server, err := discover.ParseServer(net.JoinHostPort(address.String(), testOnlyServerPort)); err == nil {
			servers = append(servers, nameServer{server, name + " (" + address.String() + ")"})
		}
	}
	return servers
}

// namesOf returns the names of NS records, sorted.
func namesOf(records []dns.RR) (names []string) {
	for _, rr := range records {
		if ns, ok := rr.(*dns.NS); ok {
			names = append(names, dns.CanonicalName(ns.Ns))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// parentServers holds the NS records of a zone against those that its parent has:
// resolvers begin with the latter, and many go on with the former.
func (e *examination) parentServers(ctx context.Context, apex string, own []string) {
	parent, err := discover.Apex(ctx, e.exchange, apex[strings.IndexByte(apex, '.')+1:])
	if err != nil {
		return
	}
	a, err := e.resolver.Lookup(ctx, parent, dns.TypeNS)
	if err != nil {
		return
	}
	for _, name := range namesOf(a.Records) {
		for _, server := range e.addressesOf(ctx, name) {
			q := question(apex, dns.TypeNS)
			q.RecursionDesired = false
			m, err := server.Exchange(ctx, q)
			if err != nil || m.Rcode != dns.RcodeSuccess || m.Authoritative {
				continue // silent, or one that has both zones
			}
			above := namesOf(slices.DeleteFunc(m.Ns, func(rr dns.RR) bool { return dns.CanonicalName(rr.Header().Name) != apex }))
			if len(above) == 0 {
				continue
			}
			if slices.Equal(above, own) {
				e.say(OK, "same_ns", apex, "has the same name servers in its parent "+parent, "")
				return
			}
			e.say(Warning, "ns_differ", apex, fmt.Sprintf("its parent %s has the name servers %s, and the zone itself %s", parent, strings.Join(above, " "), strings.Join(own, " ")),
				difference("add to the parent", own, above)+difference("add to the zone, or take out of the parent", above, own))
			return
		}
	}
}

// difference is "what: " and those of a that are not in b.
func difference(what string, a, b []string) string {
	missing := slices.DeleteFunc(slices.Clone(a), func(name string) bool { return slices.Contains(b, name) })
	if len(missing) == 0 {
		return ""
	}
	return what + ": " + strings.Join(missing, " ") + ". "
}

// zone looks at every name server of a zone.
func (e *examination) zone(ctx context.Context, apex string, addresses []smimea.Address) {
	serials := map[uint32][]string{}
	for _, server := range e.nameServers(ctx, apex) {
		m, err := server.Exchange(ctx, question(apex, dns.TypeSOA))
		if err != nil {
			e.blame(server.where, Finding{Level: Error, Code: "dead", Where: server.where, Text: "does not answer for " + apex + ": " + err.Error(),
				Remedy: "start it, let UDP and TCP through, or take it out of the NS records"})
			continue
		}
		soa := firstSOA(m)
		if soa == nil || !m.Authoritative {
			e.say(Error, "lame", server.where, "does not have the zone "+apex, "configure the zone there, or take it out of the NS records")
			continue
		}
		serials[soa.Serial] = append(serials[soa.Serial], server.where)
		e.say(OK, "serial", server.where, fmt.Sprintf("has %s with serial %d", apex, soa.Serial), "")
		v := discover.Through(e.resolver, apex, server.Exchange)
		for _, t := range trees {
			if e.apexes[t.label] != apex {
				continue
			}
			e.denial(ctx, v, apex, server.where+": ", randomLabel()+"."+t.label+"."+e.domain+".", t.qtype)
			for _, a := range addresses {
				if owner, ok := t.owner(a); ok {
					e.serverOwner(ctx, server.Server, v, server.where, apex, owner, t.qtype)
				}
			}
		}
	}
	e.serials(apex, serials)
}

// serials says who is behind, and by how much.
func (e *examination) serials(apex string, at map[uint32][]string) {
	if len(at) < 2 {
		return
	}
	var newest uint32
	first := true
	for serial := range at {
		if first || int32(serial-newest) > 0 { // RFC 1982
			newest, first = serial, false
		}
	}
	var behind []string
	for serial, servers := range at {
		if serial != newest {
			behind = append(behind, fmt.Sprintf("%s has %d, which is behind by %s", strings.Join(servers, " and "), serial, lag(serial, newest)))
		}
	}
	slices.Sort(behind)
	e.say(Warning, "serials", apex, fmt.Sprintf("the name servers have different serials: %s has %d; %s", strings.Join(at[newest], " and "), newest, strings.Join(behind, "; ")),
		"see that NOTIFY and transfers reach those that are behind; for a while after a change this is as it should be")
}

// lag is how far a serial is behind: as a time, if both are seconds since 1970.
func lag(serial, newest uint32) string {
	now := uint32(time.Now().Unix())
	const year = 365 * 24 * 3600
	isTime := func(s uint32) bool { return s > now-20*year && s < now+year }
	if isTime(serial) && isTime(newest) {
		return (time.Duration(newest-serial) * time.Second).String()
	}
	return fmt.Sprint(newest - serial)
}

func firstSOA(m *dns.Msg) *dns.SOA {
	for _, rr := range m.Answer {
		if soa, ok := rr.(*dns.SOA); ok {
			return soa
		}
	}
	return nil
}
