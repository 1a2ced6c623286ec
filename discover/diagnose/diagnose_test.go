package diagnose

import (
	"strings"
	"testing"

	"github.com/miekg/dns"

	"coredns-smimea/discover"
	"coredns-smimea/discover/discovertest"
	"coredns-smimea/discover/dnssec"
	"coredns-smimea/smimea"
)

var hugh = smimea.Address{Local: "hugh", Domain: "example.test"}

// doctor serves zones, and asks them.
func doctor(t *testing.T, zones ...discovertest.Zone) (*Doctor, *discovertest.Names) {
	t.Helper()
	names := discovertest.Serve(t, zones...)
	anchors, err := dnssec.ReadAnchors(strings.NewReader(names.Anchors))
	if err != nil {
		t.Fatal(err)
	}
	server, err := discover.ParseServer(names.Address)
	if err != nil {
		t.Fatal(err)
	}
	return &Doctor{Server: server, Anchors: anchors, NameServers: []*discover.Server{server}, Client: discover.Client{AllowPrivate: true}}, names
}

// has reports whether there is a finding of a level and code.
func has(findings []Finding, level Level, code string) bool {
	for _, f := range findings {
		if f.Level == level && f.Code == code {
			return true
		}
	}
	return false
}

func records(zone string) []string {
	owner := strings.TrimSuffix(hugh.Owner(), zone+".")
	owner = strings.TrimSuffix(owner, ".")
	return []string{owner + " IN SMIMEA 3 1 1 " + strings.Repeat("ab", 32)}
}

// TestSubZone holds that a sub-zone's delegation is looked at.
func TestSubZone(t *testing.T) {
	parent := discovertest.Zone{Name: "example.test"}
	d, _ := doctor(t, parent, discovertest.Zone{Name: "_smimecert.example.test", Records: records("_smimecert.example.test")})
	findings := d.Examine(t.Context(), "example.test", nil)
	if !has(findings, OK, "delegated") || has(findings, Error, "no_ds") || has(findings, Error, "insecure") {
		t.Errorf("a sub-zone with DS: %+v", findings)
	}

	d, _ = doctor(t, parent, discovertest.Zone{Name: "_smimecert.example.test", Records: records("_smimecert.example.test"), Unsigned: true})
	findings = d.Examine(t.Context(), "example.test", nil)
	if !has(findings, Error, "no_ds") || !has(findings, Error, "insecure") {
		t.Errorf("a sub-zone without DS: %+v", findings)
	}
	for _, f := range findings {
		if (f.Level == OK) != (f.Remedy == "") || f.Text == "" || f.Where == "" || f.Code == "" {
			t.Errorf("a finding is incomplete: %+v", f)
		}
	}
}

func TestFaults(t *testing.T) {
	zone := discovertest.Zone{Name: "example.test", Records: records("example.test")}
	for _, test := range []struct {
		code string
		lie  func(*dns.Msg) *dns.Msg
	}{
		{"no_answer", func(m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeServerFailure; return m }},
		{"lame", func(m *dns.Msg) *dns.Msg { m.Authoritative = false; return m }},
		{"bogus", func(m *dns.Msg) *dns.Msg {
			if len(m.Ns) > 0 {
				m.Ns = m.Ns[:1] // the SOA
			}
			return m
		}},
		{"empty_denied", nil},
	} {
		d, names := doctor(t, zone)
		names.Lie(test.lie)
		if test.code == "empty_denied" {
			names.DenyWith(dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNXNAME)
		}
		if findings := d.Examine(t.Context(), "example.test", []smimea.Address{hugh}); !has(findings, Error, test.code) {
			t.Errorf("%s is not found: %+v", test.code, findings)
		}
	}
}

// TestSerials has two servers that differ.
func TestSerials(t *testing.T) {
	zone := discovertest.Zone{Name: "example.test", Records: records("example.test")}
	d, _ := doctor(t, zone)
	other := discovertest.Serve(t, zone)
	other.Lie(func(m *dns.Msg) *dns.Msg {
		for _, rr := range m.Answer {
			if soa, ok := rr.(*dns.SOA); ok {
				soa.Serial++
			}
		}
		return m
	})
	server, err := discover.ParseServer(other.Address)
	if err != nil {
		t.Fatal(err)
	}
	d.NameServers = append(d.NameServers, server)
	if findings := d.Examine(t.Context(), "example.test", nil); !has(findings, Warning, "serials") {
		t.Errorf("different serials are not found: %+v", findings)
	}
}
