package test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// A layout is one of the ways in which zones are served, running.
type layout struct {
	name   string
	addr   string
	keys   *keys
	zones  []*zone
	parent bool // the zone above is served at addr as well
}

// start runs a Corefile: startServer, or startProcess with a directory.
type start func(t *testing.T, corefile string) *server

// subZones serves layout 1: _smimecert and _smime are zones of their own.
func subZones(t *testing.T, run start, s signing, options string, forms ...string) *layout {
	t.Helper()
	dir := t.TempDir()
	pubs := users(t, dir, "example.com")
	k := newKeys(t, "example.com.", s)
	l := &layout{name: "sub-zones", keys: k}
	l.addr = run(t, block("_smimecert.example.com _smime.example.com", k.directive, smimea(dir, options))).addr
	rrs := records(t, dir, "example.com.", pubs, forms...)
	for _, origin := range []string{"_smimecert.example.com.", "_smime.example.com."} {
		ns := "ns." + origin
		if name, ok := strings.CutPrefix(options, "ns "); ok {
			ns = name
		}
		apex := apexRecords(t, l.addr, origin, "hostmaster.example.com.", 300, ns)
		mine := slices.DeleteFunc(slices.Clone(rrs), func(rr dns.RR) bool { return !dns.IsSubDomain(origin, rr.Header().Name) })
		l.zones = append(l.zones, newZone(t, origin, true, append(apex, mine...)))
	}
	return l
}

// wholeZone serves layout 2: the plugin serves all of the mail domain's zone.
func wholeZone(t *testing.T, run start, s signing, options string, forms ...string) *layout {
	t.Helper()
	dir := t.TempDir()
	pubs := users(t, dir, "example.com")
	k := newKeys(t, "example.com.", s)
	l := &layout{name: "whole zone", keys: k}
	l.addr = run(t, block("example.com", k.directive, smimea(dir, options))).addr
	apex := apexRecords(t, l.addr, "example.com.", "hostmaster.example.com.", 300, "ns.example.com.")
	rrs := records(t, dir, "example.com.", pubs, forms...)
	l.zones = []*zone{newZone(t, "example.com.", true, append(apex, rrs...))}
	return l
}

// besideFile serves layout 3: the two sub-trees beside a zone file.
func besideFile(t *testing.T, run start, s signing, options string, forms ...string) *layout {
	t.Helper()
	dir := t.TempDir()
	pubs := users(t, dir, "example.com")
	k := newKeys(t, "example.com.", s)
	db := filepath.Join(t.TempDir(), "db.example.com")
	writeFile(t, db, exampleZone(1, 900))
	l := &layout{name: "beside file", keys: k}
	l.addr = run(t, block("example.com", k.directive, smimea(dir, options), "file "+db)).addr
	soa, err := dns.NewRR(exampleSOA(1, 900))
	if err != nil {
		t.Fatal(err)
	}
	rrs := records(t, dir, "example.com.", pubs, forms...)
	l.zones = []*zone{newZone(t, "example.com.", false, append(rrs, soa))}
	return l
}

// smimea is the directive with these options, one a line.
func smimea(dir, options string) string {
	if options == "" {
		return "smimea " + dir
	}
	return "smimea " + dir + " {\n" + options + "\n}"
}

func exampleSOA(serial, minimum int) string {
	return fmt.Sprintf("example.com. 1800 IN SOA ns1.example.com. admin.example.com. %d 7200 3600 1209600 %d", serial, minimum)
}

// exampleZone is a zone file to stand beside the plugin. Its wildcard must not
// reach into our sub-trees.
func exampleZone(serial, minimum int) string {
	return exampleSOA(serial, minimum) + `
example.com.          3600 IN NS    ns1.example.com.
example.com.          3600 IN MX    10 mail.example.com.
ns1.example.com.      3600 IN A     192.0.2.1
mail.example.com.     3600 IN A     192.0.2.2
www.example.com.      3600 IN CNAME mail.example.com.
*.wild.example.com.   3600 IN TXT   "wild"
*.example.com.        3600 IN TXT   "v=spf1 -all"
child.example.com.    3600 IN NS    ns.child.example.com.
ns.child.example.com. 3600 IN A     192.0.2.3
`
}

// asked are the names to ask a zone for: all that exist, and such that do not.
func (l *layout) asked(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, z := range l.zones {
		for owner := range z.nodes {
			if !z.apex && owner == wire(t, z.origin) {
				continue
			}
			name, _, err := dns.UnpackDomainName([]byte(owner), 0)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, name)
		}
	}
	slices.Sort(names)
	alice := hashOwner("alice", "example.com.")
	names = append(names,
		hashOwner("nobody", "example.com."),
		hashOwner("", "example.com."),
		"below."+alice, "_25._tcp."+alice, "*."+alice,
		"x"+alice, strings.TrimPrefix(alice, alice[:1]), "g"+alice[1:],
		"*._smimecert.example.com.", "a.b.c._smimecert.example.com.",
		"nobody._smime.example.com.", "a.b.nobody._smime.example.com.", "below.alice._smime.example.com.",
		"*._smime.example.com.", "*.jones._smime.example.com.", "other.jones._smime.example.com.",
		`bob\.jones._smime.example.com.`, `\000._smime.example.com.`, `\000.alice._smime.example.com.`, `alice\000._smime.example.com.`,
		`a\.b._smime.example.com.`, `a\ b._smime.example.com.`, `\255._smime.example.com.`,
		strings.Repeat("x", 63)+"._smime.example.com.",
		hashOwner("frank", "example.com.")[:56]+"._smime.example.com.",
	)
	for _, local := range unpublished {
		names = append(names, hashOwner(local, "example.com."), local+"._smime.example.com.")
	}
	if l.name == "whole zone" {
		names = append(names, "www.example.com.", "a.b.example.com.", "ns.example.com.", "_smimecert.www.example.com.",
			"_smimecer.example.com.", "x_smime.example.com.", `_smime\.example.com.`, "*.example.com.", "_tcp.example.com.")
	}
	return slices.DeleteFunc(names, func(name string) bool { return l.zone(t, name) == nil })
}

// zone returns the zone that holds name; nil if it is another's.
func (l *layout) zone(t testing.TB, name string) *zone {
	for _, z := range l.zones {
		if owner, end := wire(t, name), wire(t, z.origin); strings.HasSuffix(owner, end) {
			return z
		}
	}
	return nil
}

// types are those to ask each name for: what there is, and what differs from it in
// some way; then what resolvers probe with, what could be there, and an unknown one.
var types = []uint16{
	dns.TypeSMIMEA, dns.TypeTXT, dns.TypeSOA, dns.TypeDS, dns.TypeANY,
	dns.TypeA, dns.TypeAAAA, dns.TypeNS, dns.TypeCNAME, dns.TypeDNAME, dns.TypeMX, dns.TypeCERT, dns.TypeTLSA, dns.TypeHTTPS,
	dns.TypeCDS, dns.TypeCDNSKEY, dns.TypeNULL, 65400,
}

// transports are the ways to ask.
func transports() []question {
	qs := []question{{}, {tcp: true}}
	for _, size := range []uint16{512, 1232, 4096} {
		qs = append(qs, question{size: size}, question{size: size, do: true}, question{size: size, do: true, co: true})
	}
	return append(qs,
		question{size: 1, do: true}, // below 512 is 512
		question{size: 1232, co: true},
		question{size: 1232, do: true, randoms: true},
		question{tcp: true, size: 1232, do: true},
		question{tcp: true, size: 1232, do: true, co: true},
	)
}

func (l *layout) checkAll(t *testing.T) {
	for _, name := range l.asked(t) {
		z := l.zone(t, name)
		for i, rtype := range types {
			ways := transports()
			if i >= 5 { // with and without signatures is enough for these
				ways = []question{{}, {size: 1232, do: true}}
			}
			for _, q := range ways {
				q.name, q.qtype = name, rtype
				z.check(t, l.addr, l.keys, q)
			}
			if t.Failed() {
				return // the failures of one name and type are enough to read
			}
		}
	}
}

// TestAnswers asks the table of answers of every layout, however it is signed.
func TestAnswers(t *testing.T) {
	layouts := map[string]func(*testing.T, start, signing, string, ...string) *layout{
		"sub-zones": subZones, "whole zone": wholeZone, "beside file": besideFile,
	}
	for name, serve := range layouts {
		signings := []signing{{}, {dns.ECDSAP256SHA256, false}, {dns.ECDSAP256SHA256, true}}
		if name == "sub-zones" { // the algorithm is of no concern to the layout
			signings = append(signings, signing{dns.ED25519, false}, signing{dns.RSASHA256, true})
		}
		for _, s := range signings {
			t.Run(name+"/"+s.String(), func(t *testing.T) {
				t.Parallel()
				l := serve(t, startServer, s, "", "3 1 1")
				l.checkAll(t)
				l.checkDNSKEY(t)
				if n := metric(t, "lane_queries_total", "server=dns://"+l.addr, "how=answered"); n < 100 {
					t.Errorf("the fast lane answered %.0f queries, want more", n)
				}
			})
		}
	}
}

// TestAnswersOfBinary asks the binary that is shipped, with other records than the
// default ones: big answers, which are truncated over UDP.
func TestAnswersOfBinary(t *testing.T) {
	run := func(t *testing.T, corefile string) *server { return startProcess(t, "", corefile) }
	l := subZones(t, run, signing{dns.ECDSAP256SHA256, true}, "record 3 0 0\nrecord 3 1 2", "3 0 0", "3 1 2")
	l.checkAll(t)
	m, _ := ask(t, l.addr, question{name: hashOwner("dave", "example.com."), qtype: dns.TypeSMIMEA, size: 1232})
	if !m.Truncated {
		t.Errorf("four records with two certificates fit into 1232 octets:\n%s", m)
	}
}

// checkDNSKEY checks that the keys are still dnssec's to give.
func (l *layout) checkDNSKEY(t *testing.T) {
	for _, z := range l.zones {
		q := question{name: z.origin, qtype: dns.TypeDNSKEY, tcp: true, size: 4096, do: true}
		m, _ := ask(t, l.addr, q)
		if len(l.keys.dnskeys) == 0 {
			if z.apex {
				z.check(t, l.addr, l.keys, q)
			}
			continue
		}
		var want []dns.RR
		for _, key := range l.keys.dnskeys {
			want = append(want, l.keys.owned(key, z.origin))
		}
		z.compare(t, q, m.Answer, want, true)
		l.keys.verify(t, q.String(), z.origin, m.Answer)
	}
}

// TestOrder holds that answers with several records come in one order: dnssec keeps
// signatures by it.
func TestOrder(t *testing.T) {
	l := subZones(t, startServer, signing{dns.ECDSAP256SHA256, false}, "record 3 1 1\nrecord 3 0 0", "3 1 1", "3 0 0")
	for _, q := range []question{
		{name: hashOwner("dave", "example.com."), qtype: dns.TypeSMIMEA, tcp: true},
		{name: textOwner([]string{"dave"}, "example.com."), qtype: dns.TypeTXT, tcp: true},
	} {
		first, _ := ask(t, l.addr, q)
		if len(first.Answer) < 2 {
			t.Errorf("%s: %d records, want several", q, len(first.Answer))
		}
		for range 20 {
			m, _ := ask(t, l.addr, q)
			if texts(m.Answer) != texts(first.Answer) {
				t.Errorf("%s: order changed:%s\nto%s", q, texts(first.Answer), texts(m.Answer))
			}
		}
	}
}

// TestManyZones serves several mail domains from one directory: a certificate is
// published where its addresses are, and nowhere else.
func TestManyZones(t *testing.T) {
	dir := t.TempDir()
	cert{addresses: []string{"a@one.test", "a@TWO.test"}}.write(t, filepath.Join(dir, "both.pem"))
	cert{addresses: []string{"b@one.test"}}.write(t, filepath.Join(dir, "one.pem"))
	cert{addresses: []string{"c@sub.one.test"}}.write(t, filepath.Join(dir, "below.pem"))
	s := startServer(t, block("_smimecert.one.test _smime.one.test _smimecert.two.test _smime.two.test three.test", "smimea "+dir))
	for _, c := range []struct {
		local, domain string
		rcode         int
	}{
		{"a", "one.test.", dns.RcodeSuccess},
		{"a", "two.test.", dns.RcodeSuccess},
		{"b", "one.test.", dns.RcodeSuccess},
		{"b", "two.test.", dns.RcodeNameError},
		{"c", "one.test.", dns.RcodeNameError},
		{"a", "three.test.", dns.RcodeNameError},
	} {
		for owner, rtype := range map[string]uint16{
			hashOwner(c.local, c.domain):           dns.TypeSMIMEA,
			textOwner([]string{c.local}, c.domain): dns.TypeTXT,
		} {
			m, _ := ask(t, s.addr, question{name: owner, qtype: rtype})
			if m.Rcode != c.rcode || (len(m.Answer) == 1) != (c.rcode == dns.RcodeSuccess) {
				t.Errorf("%s@%s: %s", c.local, c.domain, m)
			}
		}
	}
	m, _ := ask(t, s.addr, question{name: hashOwner("c", "sub.one.test."), qtype: dns.TypeSMIMEA})
	if m.Rcode != dns.RcodeRefused {
		t.Errorf("a zone that is not ours: %s", m)
	}
}

// TestUnsignedWarning holds that a start without dnssec says once what that is worth.
func TestUnsignedWarning(t *testing.T) {
	dir := t.TempDir()
	cert{addresses: []string{"a@example.com"}}.write(t, filepath.Join(dir, "a.pem"))
	s := startProcess(t, "", block("_smimecert.example.com _smime.example.com", "smimea "+dir))
	warnings := func() (n int) {
		for line := range strings.Lines(s.log.String()) {
			if strings.Contains(line, "WARNING") && strings.Contains(strings.ToLower(line), "dnssec") {
				n++
			}
		}
		return n
	}
	if n := warnings(); n != 1 {
		t.Errorf("%d warnings about DNSSEC, want 1:\n%s", n, s.log)
	}
	signed := startProcess(t, "", block("_smimecert.example.com _smime.example.com", newKeys(t, "example.com.", signing{dns.ED25519, false}).directive, "smimea "+dir))
	if log := signed.log.String(); strings.Contains(log, "WARNING") && strings.Contains(log, "without") {
		t.Errorf("a signed zone is warned about:\n%s", log)
	}
}
