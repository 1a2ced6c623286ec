package test

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// rawQuery is a query of octets: no library has a say in them.
func rawQuery(flags uint16, name []byte, qtype, class uint16) []byte {
	b := []byte{0x12, 0x34, byte(flags >> 8), byte(flags), 0, 1, 0, 0, 0, 0, 0, 0}
	b = append(b, name...)
	b = binary.BigEndian.AppendUint16(b, qtype)
	return binary.BigEndian.AppendUint16(b, class)
}

func withOPT(query []byte, extendedRcode, version byte, flags uint16, options ...byte) []byte {
	b := slices.Clone(query)
	b[11] = 1
	b = append(b, 0, 0, 41, 0x04, 0xd0, extendedRcode, version, byte(flags>>8), byte(flags))
	b = binary.BigEndian.AppendUint16(b, uint16(len(options)))
	return append(b, options...)
}

// labels is a name in wire form of labels that may hold any octet.
func labels(ls ...string) []byte {
	var b []byte
	for _, l := range ls {
		b = append(append(b, byte(len(l))), l...)
	}
	return append(b, 0)
}

// TestOddQuestions asks what no well-behaved client asks. Each has a defined answer,
// or none for what is no query, and the server lives. debug in the Corefile makes a
// panic end this test.
func TestOddQuestions(t *testing.T) {
	const in, ch, any, none = dns.ClassINET, dns.ClassCHAOS, dns.ClassANY, dns.ClassNONE
	alice := strings.Split(strings.TrimSuffix(hashOwner("alice", "example.com."), "."), ".")
	owner := labels(alice...)
	text := labels("alice", "_smime", "example", "com")
	absent := labels("nobody", "_smime", "example", "com")
	x := strings.Repeat("x", 63)
	long := labels(x, x, x, strings.Repeat("x", 255-3*64-len("_smime.example.com.")-2), "_smime", "example", "com")
	deep := []byte{}
	for len(deep) < 255-len(labels("_smime", "example", "com"))-1 {
		deep = append(deep, 1, 'a')
	}
	deep = append(deep, labels("_smime", "example", "com")...)
	if len(long) != 255 || len(deep) < 254 {
		t.Fatalf("names of %d and %d octets, want 255 and at least 254", len(long), len(deep))
	}
	ok, nx, formerr, refused, notimp := dns.RcodeSuccess, dns.RcodeNameError, dns.RcodeFormatError, dns.RcodeRefused, dns.RcodeNotImplemented
	cases := []struct {
		what   string
		query  []byte
		rcodes []int
	}{
		{"class CH", rawQuery(0, owner, dns.TypeSMIMEA, ch), []int{refused}},
		{"class ANY", rawQuery(0, owner, dns.TypeSMIMEA, any), []int{refused}},
		{"class NONE", rawQuery(0, owner, dns.TypeSMIMEA, none), []int{refused}},
		{"class 65280", rawQuery(0, owner, dns.TypeSMIMEA, 65280), []int{refused}},
		{"class 0", rawQuery(0, owner, dns.TypeSMIMEA, 0), []int{refused}},
		{"opcode IQUERY", rawQuery(1<<11, owner, dns.TypeSMIMEA, in), []int{notimp}},
		{"opcode STATUS", rawQuery(2<<11, owner, dns.TypeSMIMEA, in), []int{notimp}},
		{"opcode NOTIFY", rawQuery(4<<11, labels("_smime", "example", "com"), dns.TypeSOA, in), []int{notimp, refused, ok}},
		{"opcode UPDATE", rawQuery(5<<11, labels("_smime", "example", "com"), dns.TypeSOA, in), []int{notimp, refused}},
		{"opcode DSO", rawQuery(6<<11, owner, dns.TypeSMIMEA, in), []int{notimp}},
		{"opcode 15", rawQuery(15<<11, owner, dns.TypeSMIMEA, in), []int{notimp}},
		{"AXFR over UDP", rawQuery(0, labels("_smime", "example", "com"), dns.TypeAXFR, in), []int{refused, notimp}},
		{"IXFR over UDP", rawQuery(0, labels("_smime", "example", "com"), dns.TypeIXFR, in), []int{refused, notimp}},
		{"AXFR below the apex", rawQuery(0, owner, dns.TypeAXFR, in), []int{refused, notimp}},
		{"NXNAME", rawQuery(0, owner, dns.TypeNXNAME, in), []int{formerr}},
		{"NXNAME of an absent name", rawQuery(0, absent, dns.TypeNXNAME, in), []int{formerr}},
		{"NXNAME with DO", withOPT(rawQuery(0, owner, dns.TypeNXNAME, in), 0, 0, 1<<15), []int{formerr}},
		{"type OPT", rawQuery(0, owner, dns.TypeOPT, in), []int{formerr, refused, notimp, ok}},
		{"type TSIG", rawQuery(0, owner, dns.TypeTSIG, in), []int{formerr, refused, notimp, ok}},
		{"type TKEY", rawQuery(0, owner, dns.TypeTKEY, in), []int{formerr, refused, notimp, ok}},
		{"type MAILB", rawQuery(0, owner, dns.TypeMAILB, in), []int{formerr, refused, notimp, ok}},
		{"type MAILA", rawQuery(0, owner, dns.TypeMAILA, in), []int{formerr, refused, notimp, ok}},
		{"type 0", rawQuery(0, owner, 0, in), []int{formerr, refused, notimp, ok}},
		{"type 65535", rawQuery(0, owner, 65535, in), []int{formerr, refused, notimp, ok}},
		{"type RRSIG", rawQuery(0, owner, dns.TypeRRSIG, in), []int{ok}},
		{"type RRSIG with DO", withOPT(rawQuery(0, owner, dns.TypeRRSIG, in), 0, 0, 1<<15), []int{ok, refused}},
		{"type NSEC with DO", withOPT(rawQuery(0, owner, dns.TypeNSEC, in), 0, 0, 1<<15), []int{ok}},
		{"type NSEC of an absent name, with DO", withOPT(rawQuery(0, absent, dns.TypeNSEC, in), 0, 0, 1<<15), []int{ok}},
		{"root", rawQuery(0, []byte{0}, dns.TypeNS, in), []int{refused}},
		{"above the zone", rawQuery(0, labels("example", "com"), dns.TypeSOA, in), []int{refused}},
		{"beside the zone", rawQuery(0, labels("x_smime", "example", "com"), dns.TypeTXT, in), []int{refused}},
		{"a dot in the zone's label", rawQuery(0, labels("_smime.example", "com"), dns.TypeTXT, in), []int{refused}},
		{"a dot before the zone", rawQuery(0, labels("alice._smime", "example", "com"), dns.TypeTXT, in), []int{refused}},
		{"255 octets", rawQuery(0, long, dns.TypeTXT, in), []int{nx}},
		{"255 octets with DO", withOPT(rawQuery(0, long, dns.TypeTXT, in), 0, 0, 1<<15), []int{ok}},
		{"127 labels with DO", withOPT(rawQuery(0, deep, dns.TypeA, in), 0, 0, 1<<15), []int{ok}},
		{"a dot in a label", rawQuery(0, labels("alice.b", "_smime", "example", "com"), dns.TypeTXT, in), []int{nx}},
		{"a dot for a label's end", rawQuery(0, labels("carol.m.smith", "_smime", "example", "com"), dns.TypeTXT, in), []int{nx}},
		{"NUL in a label", rawQuery(0, labels("alice\x00", "_smime", "example", "com"), dns.TypeTXT, in), []int{nx}},
		{"NUL before an owner, with DO", withOPT(rawQuery(0, append([]byte{1, 0}, owner...), dns.TypeSMIMEA, in), 0, 0, 1<<15), []int{ok}},
		{"a backslash in a label", rawQuery(0, labels(`alice\`, "_smime", "example", "com"), dns.TypeTXT, in), []int{nx}},
		{"an escape's text in a label", rawQuery(0, labels(`\097lice`, "_smime", "example", "com"), dns.TypeTXT, in), []int{nx}},
		{"octets above 127", rawQuery(0, labels("\xff\xfe\x80", "_smime", "example", "com"), dns.TypeTXT, in), []int{nx}},
		{"UTF-8 in upper case is another name", rawQuery(0, labels("J\xc3\x96RG", "_smime", "example", "com"), dns.TypeTXT, in), []int{nx}},
		{"hash of 55 digits", rawQuery(0, labels(alice[0][1:], "_smimecert", "example", "com"), dns.TypeSMIMEA, in), []int{nx}},
		{"hash of 63 digits", rawQuery(0, labels(alice[0]+"0000000", "_smimecert", "example", "com"), dns.TypeSMIMEA, in), []int{nx}},
		{"hash that is none", rawQuery(0, labels("z"+alice[0][1:], "_smimecert", "example", "com"), dns.TypeSMIMEA, in), []int{nx}},
		{"hash in upper case", rawQuery(0, labels(strings.ToUpper(alice[0]), "_SMIMECERT", "EXAMPLE", "COM"), dns.TypeSMIMEA, in), []int{ok}},
		{"EDNS version 1", withOPT(rawQuery(0, owner, dns.TypeSMIMEA, in), 0, 1, 0), []int{dns.RcodeBadVers}},
		{"all EDNS flags", withOPT(rawQuery(0, owner, dns.TypeA, in), 0, 0, 0xffff), []int{ok}},
		{"an unknown EDNS option", withOPT(rawQuery(0, owner, dns.TypeSMIMEA, in), 0, 0, 1<<15, 0xff, 0xfe, 0, 1, 'x'), []int{ok}},
		{"QR, no query", rawQuery(1<<15, owner, dns.TypeSMIMEA, in), nil},
		{"all header flags", rawQuery(0x07ff&^0x0f, owner, dns.TypeSMIMEA, in), []int{ok}},
		{"no question", []byte{0x12, 0x34, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, []int{formerr, refused}},
		{"two questions", append(withCount(rawQuery(0, owner, dns.TypeSMIMEA, in), 2), rawQuery(0, text, dns.TypeTXT, in)[12:]...), []int{formerr}},
		{"a name that points to itself", rawQuery(0, []byte{0xc0, 12}, dns.TypeSMIMEA, in), []int{formerr}},
		{"cut off in the name", rawQuery(0, owner, dns.TypeSMIMEA, in)[:40], []int{formerr}},
		{"header alone, one question promised", rawQuery(0, owner, dns.TypeSMIMEA, in)[:12], []int{formerr, dns.RcodeServerFailure}}, // CoreDNS takes it for no question
	}
	for _, s := range []signing{{}, {dns.ECDSAP256SHA256, false}} {
		t.Run(s.String(), func(t *testing.T) {
			dir := t.TempDir()
			users(t, dir, "example.com")
			addr := startServer(t, block("_smimecert.example.com _smime.example.com", newKeys(t, "example.com.", s).directive, "smimea "+dir)).addr
			for _, c := range cases {
				for _, network := range []string{"udp", "tcp"} {
					what := fmt.Sprintf("%s over %s", c.what, network)
					rcodes := c.rcodes
					if s.algorithm == 0 && strings.Contains(c.what, "DO") { // unsigned, absent is NXDOMAIN
						rcodes = append(slices.Clone(rcodes), nx)
					}
					if network == "tcp" && strings.Contains(c.what, "over UDP") {
						continue
					}
					oddQuestion(t, addr, network, what, c.query, rcodes)
				}
			}
			m, _ := ask(t, addr, question{name: hashOwner("alice", "example.com."), qtype: dns.TypeSMIMEA})
			if len(m.Answer) != 1 {
				t.Errorf("after all this: %s", m)
			}
		})
	}
}

// oddQuestion sends one query and checks the rcode; no rcodes: nothing may come.
func oddQuestion(t *testing.T, addr, network, what string, query []byte, rcodes []int) {
	t.Helper()
	timeout := 10 * time.Second
	if rcodes == nil {
		timeout = 300 * time.Millisecond
	}
	b, err := exchange(addr, network, query, timeout)
	if rcodes == nil {
		if err == nil {
			t.Errorf("%s: an answer to what is no query: %x", what, b)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		t.Errorf("%s: %v in %x", what, err, b)
		return
	}
	if !slices.Contains(rcodes, m.Rcode) || !m.Response || m.Opcode != int(query[2]>>3&15) {
		var want []string
		for _, r := range rcodes {
			want = append(want, dns.RcodeToString[r])
		}
		t.Errorf("%s: want one of %v:\n%s", what, want, m)
	}
	if m.Rcode != dns.RcodeSuccess && len(m.Answer) > 0 {
		t.Errorf("%s: data beside an error:\n%s", what, m)
	}
}

func withCount(query []byte, questions byte) []byte {
	query[5] = questions
	return query
}

// TestLongURL holds that a URL of more than 255 octets comes in several strings that
// are one URL together.
func TestLongURL(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(strings.Repeat("a", 100), strings.Repeat("b", 100), strings.Repeat("c", 100), "alice.pem")
	cert{addresses: []string{"alice@example.com"}}.write(t, filepath.Join(dir, deep))
	s := startServer(t, block("_smime.example.com", "smimea "+dir))
	m, _ := ask(t, s.addr, question{name: "alice._smime.example.com.", qtype: dns.TypeTXT, size: 1232})
	if len(m.Answer) != 1 {
		t.Fatalf("no TXT:\n%s", m)
	}
	txt := m.Answer[0].(*dns.TXT)
	if got, want := strings.Join(txt.Txt, ""), "https://example.com/.well-known/smime/"+deep; got != want || len(txt.Txt) != 2 {
		t.Errorf("URL in %d strings\n got %s\nwant %s", len(txt.Txt), got, want)
	}
}
