package discover

import (
	"testing"

	"github.com/miekg/dns"

	"coredns-smimea/discover/dnssec"
)

// TestUnsignedServersFail has servers that do not know SMIMEA. Where the zone is
// proven unsigned nothing could come of it, and nobody has to try again; where it
// is signed, or the TXT record is not to be had, there can.
func TestUnsignedServersFail(t *testing.T) {
	w := newWorld(t)
	c := w.client()
	fail := func(qtype uint16) func(*dns.Msg) *dns.Msg {
		return func(m *dns.Msg) *dns.Msg {
			if m.Question[0].Qtype == qtype {
				m.Rcode, m.Answer, m.Ns = dns.RcodeNotImplemented, nil, nil
			}
			return m
		}
	}
	w.names.Lie(fail(dns.TypeSMIMEA))
	if r := w.expect(c, "user@unsigned.test", Unverified); r.SMIMEA.Err != nil || r.SMIMEA.Security != dnssec.Insecure {
		t.Errorf("%+v", r.SMIMEA)
	}
	w.expect(c, "user@example.test", Unknown)
	w.names.Lie(fail(dns.TypeTXT))
	w.expect(c, "user@unsigned.test", Unknown)
}

// TestTrustedAliasWithoutEnd holds that an alias that leads nowhere is no denial,
// although the resolver says that it is signed.
func TestTrustedAliasWithoutEnd(t *testing.T) {
	w := newWorld(t)
	c := w.client()
	server, err := ParseServer(w.names.Address)
	if err != nil {
		t.Fatal(err)
	}
	if c.Resolver, err = TrustAD(server); err != nil {
		t.Fatal(err)
	}
	w.names.Lie(func(m *dns.Msg) *dns.Msg { m.AuthenticatedData = true; return m })
	w.expect(c, "user@example.test", None)
	w.names.Lie(func(m *dns.Msg) *dns.Msg {
		m.AuthenticatedData, m.Rcode = true, dns.RcodeSuccess
		name := m.Question[0].Name
		hdr := dns.RR_Header{Name: name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: 60}
		m.Answer = []dns.RR{&dns.CNAME{Hdr: hdr, Target: "x." + parentName(name)}}
		if name[:2] == "x." {
			m.Answer[0].(*dns.CNAME).Target = name
		}
		return m
	})
	w.expect(c, "user@example.test", Unknown)
}

func parentName(name string) string {
	next, _ := dns.NextLabel(name, 0)
	return name[next:]
}
