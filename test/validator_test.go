package test

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// validated are the ways in which a zone is signed that the resolvers see.
var validated = []signing{{dns.ECDSAP256SHA256, false}, {dns.ECDSAP256SHA256, true}, {dns.ED25519, true}, {dns.RSASHA256, false}}

// TestResolvers puts validating resolvers in front of the server. They are asked
// first what a resolver, a scanner or an attacker may have asked before: an answer
// to that must not hide the record (aggressive use of NSEC, RFC 8198) nor make it
// insecure (a denial of DS with an NS bit).
func TestResolvers(t *testing.T) {
	resolvers := map[string]func(*testing.T, []zoneAt) string{
		"Unbound": func(t *testing.T, zones []zoneAt) string { return startUnbound(t, zones) },
		"Unbound strict": func(t *testing.T, zones []zoneAt) string {
			return startUnbound(t, zones, "qname-minimisation-strict: yes", "use-caps-for-id: yes")
		},
		"BIND": startBIND,
	}
	layouts := map[string]func(*testing.T, start, signing, string, ...string) *layout{
		"sub-zones": subZones, "whole zone": wholeZone, "beside file": besideFile,
	}
	for layout, serve := range layouts {
		for _, s := range validated {
			t.Run(layout+"/"+s.String(), func(t *testing.T) {
				t.Parallel()
				l := serve(t, startServer, s, "", "3 1 1")
				for resolver, start := range resolvers {
					t.Run(resolver, func(t *testing.T) {
						l.resolve(t, start(t, l.at()))
					})
				}
			})
		}
	}
}

// at returns where the layout's zones are, for a resolver.
func (l *layout) at() []zoneAt {
	var zones []zoneAt
	for _, z := range l.zones {
		zones = append(zones, zoneAt{z.origin, l.addr, l.keys.anchors(z.origin)})
	}
	return zones
}

// probes are asked at a name before the types that are there.
var probes = []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeDS, dns.TypeNS, 65400, dns.TypeSMIMEA}

// resolve asks the resolver at addr for every name.
func (l *layout) resolve(t *testing.T, addr string) {
	for _, name := range l.asked(t) {
		z := l.zone(t, name)
		node, exists := z.nodes[wire(t, name)]
		for range 2 { // the second time from the resolver's cache
			for _, rtype := range probes {
				if node[rtype] == nil {
					l.denied(t, addr, name, rtype, exists)
				}
			}
			for rtype, rrs := range node {
				q := question{name: name, qtype: rtype, size: 1232, do: true, rd: true, tcp: true}
				m, _ := ask(t, addr, q)
				var got []dns.RR
				for _, rr := range m.Answer {
					if rr.Header().Rrtype == rtype {
						rr.Header().Ttl = rrs[0].Header().Ttl // a cache counts down
						got = append(got, rr)
					}
				}
				if m.Rcode != dns.RcodeSuccess || !m.AuthenticatedData {
					t.Errorf("%s: want NOERROR and ad:\n%s", q, m)
				}
				z.compare(t, q, got, rrs, false)
			}
		}
		if t.Failed() {
			return
		}
	}
}

// denied asks a resolver for what is not there: the denial has to be authenticated.
func (l *layout) denied(t *testing.T, addr, name string, rtype uint16, exists bool) {
	t.Helper()
	q := question{name: name, qtype: rtype, size: 1232, do: true, rd: true}
	m, _ := ask(t, addr, q)
	if m.Truncated {
		q.tcp = true
		m, _ = ask(t, addr, q)
	}
	// RFC 9824: a resolver that does not know NXNAME takes the absent name for an
	// empty one.
	rcode := m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError && !exists
	if !rcode || !m.AuthenticatedData || len(m.Answer) != 0 {
		t.Errorf("%s: want an authenticated denial:\n%s", q, m)
	}
}

// TestDelv has BIND's stand-alone validator check every name.
func TestDelv(t *testing.T) {
	for _, s := range []signing{{dns.ECDSAP256SHA256, false}, {dns.ED25519, true}} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			l := subZones(t, startServer, s, "", "3 1 1")
			for _, name := range l.asked(t) {
				z := l.zone(t, name)
				at := zoneAt{z.origin, l.addr, l.keys.anchors(z.origin)}
				node := z.nodes[wire(t, name)]
				for _, rtype := range []uint16{dns.TypeSMIMEA, dns.TypeTXT, dns.TypeDS} {
					want := "; negative response, fully validated"
					if node[rtype] != nil {
						want = "; fully validated"
					}
					if out := delv(t, at, name, dns.Type(rtype).String()); !strings.Contains(out, want) {
						t.Errorf("%s %s: delv does not say %q:\n%s", name, dns.Type(rtype), want, out)
					}
				}
			}
		})
	}
}
