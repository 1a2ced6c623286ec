package lane

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// packed returns a query as it is on the wire, after a change.
func packed(tb testing.TB, name string, qtype uint16, change func(*dns.Msg)) []byte {
	tb.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	if change != nil {
		change(m)
	}
	b, err := m.Pack()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestParse(t *testing.T) {
	const name = "Alice.Example."
	do := func(m *dns.Msg) { m.SetEdns0(1232, true) }
	for what, packet := range map[string][]byte{
		"plain":           packed(t, name, dns.TypeTXT, nil),
		"no RD":           packed(t, name, dns.TypeTXT, func(m *dns.Msg) { m.RecursionDesired = false }),
		"EDNS":            packed(t, name, dns.TypeTXT, do),
		"an unknown type": packed(t, name, 65280, do),
	} {
		q := new(Query)
		if !q.Parse(packet) {
			t.Errorf("%s: not parsed", what)
			continue
		}
		m := new(dns.Msg)
		if err := m.Unpack(packet); err != nil {
			t.Fatal(err)
		}
		if string(q.Name) != "\x05alice\x07example\x00" || string(q.Asked) != "\x05Alice\x07Example\x00" || q.Type != m.Question[0].Qtype || q.ID != m.Id {
			t.Errorf("%s: %q, %q, type %d, id %d, of\n%v", what, q.Name, q.Asked, q.Type, q.ID, m)
		}
		if opt := m.IsEdns0(); q.EDNS != (opt != nil) || opt != nil && (q.UDPSize != 1232 || !q.DO()) {
			t.Errorf("%s: EDNS %v, size %d, DO %v", what, q.EDNS, q.UDPSize, q.DO())
		}
	}
	cut := packed(t, name, dns.TypeTXT, do)
	for what, packet := range map[string][]byte{
		"nothing":        nil,
		"a reply":        packed(t, name, dns.TypeTXT, func(m *dns.Msg) { m.Response = true }),
		"a notification": packed(t, name, dns.TypeSOA, func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }),
		"class CHAOS":    packed(t, name, dns.TypeTXT, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }),
		"two questions":  packed(t, name, dns.TypeTXT, func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }),
		"no question":    packed(t, name, dns.TypeTXT, func(m *dns.Msg) { m.Question = nil }),
		"an answer":      packed(t, name, dns.TypeTXT, func(m *dns.Msg) { m.Answer = []dns.RR{&dns.NULL{Hdr: dns.RR_Header{Name: "."}}} }),
		"an authority":   packed(t, name, dns.TypeTXT, func(m *dns.Msg) { m.Ns = []dns.RR{&dns.NULL{Hdr: dns.RR_Header{Name: "."}}} }),
		"EDNS 1":         packed(t, name, dns.TypeTXT, func(m *dns.Msg) { do(m); m.IsEdns0().SetVersion(1) }),
		"a cookie": packed(t, name, dns.TypeTXT, func(m *dns.Msg) {
			do(m)
			m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Cookie: "24a5ac1212121212"}}
		}),
		"two OPT records": packed(t, name, dns.TypeTXT, func(m *dns.Msg) { do(m); do(m) }),
		"another record":  packed(t, name, dns.TypeTXT, func(m *dns.Msg) { m.Extra = []dns.RR{&dns.NULL{Hdr: dns.RR_Header{Name: "."}}} }),
		"a dot in it":     packed(t, `a\.b.example.`, dns.TypeTXT, nil),
		"a space in it":   packed(t, `a\032b.example.`, dns.TypeTXT, nil),
		"an octet more":   append(slices.Clip(cut), 0),
		"a pointer":       append(slices.Clone(cut[:headerSize]), 0xc0, headerSize, 0, 16, 0, 1),
		"a long name":     append(append(slices.Clone(cut[:headerSize]), strings.Repeat("\x3f"+strings.Repeat("a", 63), 4)...), 0, 0, 16, 0, 1),
	} {
		if new(Query).Parse(packet) {
			t.Errorf("%s: parsed, want it left to the plugins", what)
		}
	}
	for n := range cut {
		if new(Query).Parse(cut[:n]) {
			t.Errorf("parsed %d octets of %d", n, len(cut))
		}
	}
}

// FuzzParse wants what is parsed to be what miekg/dns takes it to be.
func FuzzParse(f *testing.F) {
	for _, name := range []string{".", "example.", "ALICE._smime.Example.", `a\.b.c.`, `\255.`} {
		for _, do := range []bool{false, true} {
			f.Add(packed(f, name, dns.TypeSMIMEA, func(m *dns.Msg) {
				if m.Id = 1; do {
					m.SetEdns0(512, true)
				}
			}))
		}
	}
	q := new(Query)
	f.Fuzz(func(t *testing.T, packet []byte) {
		before := bytes.Clone(packet)
		parsed := q.Parse(packet)
		if !bytes.Equal(before, packet) {
			t.Fatalf("the packet was changed")
		}
		if !parsed {
			return
		}
		m := new(dns.Msg)
		if err := m.Unpack(packet); err != nil {
			t.Fatalf("parsed what is no message: %v", err)
		}
		wire := make([]byte, maxName)
		n, err := dns.PackDomainName(m.Question[0].Name, wire, 0, nil, false)
		if err != nil || !bytes.Equal(wire[:n], q.Asked) || !bytes.Equal(bytes.ToLower(wire[:n]), q.Name) {
			t.Errorf("asked for %q, in lower case %q, want %q (%v)", q.Asked, q.Name, wire[:n], err)
		}
		opt := m.IsEdns0()
		if m.Id != q.ID || m.Response || m.Opcode != dns.OpcodeQuery || len(m.Question) != 1 || m.Question[0].Qtype != q.Type || m.Question[0].Qclass != dns.ClassINET ||
			len(m.Answer)+len(m.Ns) > 0 || len(m.Extra) > 1 || q.EDNS != (opt != nil) {
			t.Errorf("%+v is not\n%v", q, m)
		}
		if opt != nil && (opt.Hdr.Class != q.UDPSize || uint16(opt.Hdr.Ttl) != q.EDNSFlags || opt.Version() != 0 || len(opt.Option) > 0 || opt.Do() != q.DO()) {
			t.Errorf("%+v is not\n%v", q, opt)
		}
	})
}
