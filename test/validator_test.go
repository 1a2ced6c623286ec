package test

import (
	"os"
	"path/filepath"
	"regexp"
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
						l.resolve(t, start(t, l.at(t)))
					})
				}
			})
		}
	}
}

// TestDelegation has the resolvers find the sub-zones' keys by the DS records in the
// zone above, which the same server serves, as README.md recommends.
func TestDelegation(t *testing.T) {
	parentKeys := newKeys(t, "example.com.", signing{dns.ECDSAP256SHA256, false})
	var ds []string
	l := subZones(t, func(t *testing.T, corefile string) *server {
		// The sub-zones' keys are known by now, and are in the Corefile.
		db := filepath.Join(t.TempDir(), "db.example.com")
		text := exampleZone(1, 900)
		files := regexp.MustCompile(`key file (.*)`).FindStringSubmatch(corefile)[1]
		for _, origin := range []string{"_smimecert.example.com.", "_smime.example.com."} {
			text += origin + " 3600 IN NS ns1.example.com.\n"
			for _, file := range strings.Fields(files) {
				b, err := os.ReadFile(file + ".key")
				if err != nil {
					t.Fatal(err)
				}
				rr, err := dns.NewRR(string(b))
				if err != nil {
					t.Fatal(err)
				}
				if key := rr.(*dns.DNSKEY); key.Flags == 257 {
					key.Hdr.Name = origin
					ds = append(ds, key.ToDS(dns.SHA256).String())
				}
			}
		}
		text += strings.Join(ds, "\n") + "\n"
		writeFile(t, db, text)
		return startServer(t, corefile+block("example.com", parentKeys.directive, "file "+db))
	}, signing{dns.ECDSAP256SHA256, true}, "ns ns1.example.com.", "3 1 1")
	// CoreDNS has the parent's block answer all DS questions below it, also those that
	// are not at a zone cut, which then get a referral.
	l.parent = true
	addr := bothWays(t, l.addr)
	zones := []zoneAt{{"example.com.", addr, parentKeys.anchors("example.com.")}}
	for _, z := range l.zones {
		zones = append(zones, zoneAt{z.origin, addr, nil})
	}
	for resolver, addr := range map[string]string{
		"Unbound":        startUnbound(t, zones),
		"Unbound strict": startUnbound(t, zones, "qname-minimisation-strict: yes", "use-caps-for-id: yes"),
		"BIND":           startBIND(t, zones),
	} {
		t.Run(resolver, func(t *testing.T) {
			for _, z := range l.zones {
				m, _ := ask(t, addr, question{name: z.origin, qtype: dns.TypeDS, size: 1232, do: true, rd: true})
				if len(m.Answer) != 2 || !m.AuthenticatedData {
					t.Errorf("DS of %s:\n%s", z.origin, m)
				}
			}
			l.resolve(t, addr)
		})
	}
}

// at returns where the layout's zones are, for a resolver, whose queries go both ways
// there.
func (l *layout) at(t *testing.T) []zoneAt {
	t.Helper()
	addr := bothWays(t, l.addr)
	var zones []zoneAt
	for _, z := range l.zones {
		zones = append(zones, zoneAt{z.origin, addr, l.keys.anchors(z.origin)})
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
				if rtype == dns.TypeDS && (l.parent || wire(t, name) == wire(t, z.origin)) {
					continue // the parent's to answer
				}
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
			addr := bothWays(t, l.addr)
			for _, name := range l.asked(t) {
				z := l.zone(t, name)
				at := zoneAt{z.origin, addr, l.keys.anchors(z.origin)}
				node := z.nodes[wire(t, name)]
				for _, rtype := range []uint16{dns.TypeSMIMEA, dns.TypeTXT, dns.TypeDS} {
					if rtype == dns.TypeDS && wire(t, name) == wire(t, z.origin) {
						continue // the parent's
					}
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

// TestStockDenialHides shows what README.md says of CoreDNS's own denials, and that
// TestResolvers would notice: the same record in a zone file is hidden by one query
// for another type.
func TestStockDenialHides(t *testing.T) {
	owner := hashOwner("alice", "example.com.")
	db := filepath.Join(t.TempDir(), "db.example.com")
	writeFile(t, db, exampleZone(1, 900)+owner+" 3600 IN SMIMEA 3 1 1 "+strings.Repeat("00", 32)+"\n")
	k := newKeys(t, "example.com.", signing{dns.ECDSAP256SHA256, false})
	s := startServer(t, block("example.com", k.directive, "file "+db))
	for _, first := range []uint16{dns.TypeSMIMEA, dns.TypeA} {
		resolver := startUnbound(t, []zoneAt{{"example.com.", s.addr, k.anchors("example.com.")}})
		ask(t, resolver, question{name: owner, qtype: first, size: 1232, do: true, rd: true})
		m, _ := ask(t, resolver, question{name: owner, qtype: dns.TypeSMIMEA, size: 1232, do: true, rd: true})
		if hidden := len(m.Answer) == 0; hidden != (first == dns.TypeA) || !m.AuthenticatedData {
			t.Errorf("asked for %s first, then for SMIMEA:\n%s", dns.Type(first), m)
		}
	}
}
