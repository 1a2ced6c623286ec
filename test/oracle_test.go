package test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// TestOracle asks the plugin and other name servers that hold the same records in a
// zone file, and compares. What may differ is in oracleView, with the reason.
func TestOracle(t *testing.T) {
	l := subZones(t, startServer, signing{}, "record 3 1 1\nrecord 3 0 0", "3 1 1", "3 0 0")
	zonefiles := map[string]string{}
	var directives []string
	for _, z := range l.zones {
		zonefiles[z.origin] = z.text(t)
		db := filepath.Join(t.TempDir(), "db")
		writeFile(t, db, z.text(t))
		directives = append(directives, "file "+db+" "+z.origin)
	}
	oracles := map[string]string{
		"file": startServer(t, block("_smimecert.example.com _smime.example.com", directives...)).addr,
		"NSD":  startNSD(t, zonefiles),
		"Knot": startKnot(t, zonefiles),
	}
	ways := []question{{}, {tcp: true}, {size: 512}, {size: 1232}, {size: 1232, do: true}, {size: 1232, do: true, co: true}, {tcp: true, size: 1232, do: true}, {size: 1232, randoms: true}}
	count := 0
	for _, name := range l.asked(t) {
		for _, rtype := range types {
			for _, q := range ways {
				q.name, q.qtype = name, rtype
				if q.randoms {
					q.name, q.randoms = randomCase(name), false
				}
				ours, b := ask(t, l.addr, q)
				sameBothWays(t, l.addr, q, b)
				for oracle, addr := range oracles {
					if oracle == "file" && rtype == dns.TypeANY {
						continue
					}
					theirs, _ := ask(t, addr, q)
					apex := slices.ContainsFunc(l.zones, func(z *zone) bool { return wire(t, z.origin) == wire(t, name) })
					if got, want := oracleView(t, oracle, ours, apex), oracleView(t, oracle, theirs, apex); got != want {
						t.Errorf("%s:\nours:\n%s\n%s:\n%s", q, got, oracle, want)
					}
					count++
				}
			}
		}
		if t.Failed() {
			break
		}
	}
	t.Logf("%d comparisons", count)
}

// oracleView is what has to be the same in two servers' answers:
//
//   - everything of a denial;
//   - of an answer not the authority section: CoreDNS's file fills it with the
//     zone's NS, we leave it empty as the issue says;
//   - of a truncated answer only that it is one: servers differ in what they keep;
//   - of ANY at an apex not the data: others give all RRsets, we give one (RFC 8482).
//     CoreDNS's file is not asked: it knows no ANY and says NODATA;
//   - the TTL of the SOA in a denial of CoreDNS's file, which is the SOA's own and not
//     lowered to its minimum (RFC 2308, Section 3);
//   - the order of records in a section: NSD and Knot have their own;
//   - OPT: whether there is one, but not its content (size, NSID).
func oracleView(t *testing.T, oracle string, m *dns.Msg, apex bool) string {
	t.Helper()
	var b strings.Builder
	file := oracle == "file"
	fmt.Fprintf(&b, "%s aa=%v tc=%v ra=%v rd=%v ad=%v cd=%v edns=%v\n", dns.RcodeToString[m.Rcode], m.Authoritative, m.Truncated,
		m.RecursionAvailable, m.RecursionDesired, m.AuthenticatedData, m.CheckingDisabled, m.IsEdns0() != nil)
	if m.Truncated || m.Question[0].Qtype == dns.TypeANY && apex {
		return b.String()
	}
	section := func(rrs []dns.RR) {
		var lines []string
		for _, rr := range rrs {
			if rr.Header().Rrtype != dns.TypeOPT {
				if file && rr.Header().Rrtype == dns.TypeSOA {
					rr = dns.Copy(rr)
					rr.Header().Ttl = 0
				}
				lines = append(lines, fmt.Sprintf("%q", record(t, rr)))
			}
		}
		slices.Sort(lines)
		fmt.Fprintf(&b, "%d records %s\n", len(lines), strings.Join(lines, "\n"))
	}
	section(m.Answer)
	if len(m.Answer) == 0 {
		section(m.Ns)
		section(m.Extra)
	}
	return b.String()
}
