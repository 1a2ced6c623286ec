package diagnose

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/discover"
	"coredns-smimea/discover/discovertest"
	"coredns-smimea/discover/dnssec"
	"coredns-smimea/internal/testcert"
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

// TestUnusable holds that what is published, and says nothing, is named with the reason.
func TestUnusable(t *testing.T) {
	owner := strings.Fields(records("example.test")[0])[0]
	for text, want := range map[string]string{
		owner + " IN SMIMEA 3 0 1 abcd":                                "3 0 1: its digest has 2 octets, and not 32",
		owner + " IN SMIMEA 3 0 9 abcd":                                "3 0 9: there is no such matching type",
		owner + " IN SMIMEA 3 7 1 " + strings.Repeat("ab", 32):         "3 7 1: there is no such selector",
		owner + " IN SMIMEA 9 0 1 " + strings.Repeat("ab", 32):         "9 0 1: there is no such usage",
		`hugh._smime IN TXT "example.test/.well-known/smime/hugh.crt"`: `"example.test/.well-known/smime/hugh.crt" is no URL`,
	} {
		d, _ := doctor(t, discovertest.Zone{Name: "example.test", Records: []string{text}})
		found := false
		for _, f := range d.Examine(t.Context(), "example.test", []smimea.Address{hugh}) {
			found = found || f.Level == Warning && f.Code == "unusable" && strings.Contains(f.Text, want) && f.Remedy != ""
		}
		if !found {
			t.Errorf("of %s it is not said that %s", text, want)
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

// told are the errors and warnings that do not follow from others.
func told(findings []Finding) (own []Finding) {
	for _, f := range findings {
		if f.Level != OK && f.Follows == "" {
			own = append(own, f)
		}
	}
	return own
}

// one returns the finding of a code.
func one(t *testing.T, findings []Finding, code string) Finding {
	t.Helper()
	for _, f := range findings {
		if f.Code == code {
			return f
		}
	}
	t.Fatalf("no finding %s: %+v", code, findings)
	return Finding{}
}

// TestSMIMEAOnly has a domain without TXT records, as RFC 8162 has it.
func TestSMIMEAOnly(t *testing.T) {
	d, _ := doctor(t, discovertest.Zone{Name: "example.test", Records: records("example.test")})
	if findings := told(d.Examine(t.Context(), "example.test", nil)); len(findings) > 0 {
		t.Errorf("what is amiss: %+v", findings)
	}
}

// TestOneZone has nothing but the zone of SMIMEA records, which is not delegated yet: the
// name server that is to have it, and its key, are all there is.
func TestOneZone(t *testing.T) {
	const zone = "_smimecert.example.test"
	names := discovertest.Serve(t, discovertest.Zone{Name: zone, Records: records(zone)})
	server, err := discover.ParseServer(names.Address)
	if err != nil {
		t.Fatal(err)
	}
	d := &Doctor{Server: server, NameServers: []*discover.Server{server}, Anchors: dnssec.Anchors{zone + ".": {names.Key(zone)}}}
	findings := d.Examine(t.Context(), "example.test", nil)
	if causes := told(findings); len(causes) > 0 {
		t.Errorf("what is amiss: %+v", causes)
	}
	if f := one(t, findings, "no_txt"); f.Where != "_smime.example.test." {
		t.Errorf("%+v", f)
	}
	// The key of the domain is to be of both zones.
	key := *names.Key(zone)
	key.Hdr.Name = "example.test."
	d.Anchors = dnssec.Anchors{"example.test.": {&key}}
	if causes := told(d.Examine(t.Context(), "example.test", nil)); len(causes) == 0 {
		t.Error("that a zone is missing is not said")
	}
}

// TestOneCause holds that what follows from one cause is not told as a cause of its
// own, and that the remedy has the record to publish.
func TestOneCause(t *testing.T) {
	d, _ := doctor(t, discovertest.Zone{Name: "example.test"},
		discovertest.Zone{Name: "_smimecert.example.test", Records: records("_smimecert.example.test"), Unsigned: true})
	findings := d.Examine(t.Context(), "example.test", []smimea.Address{hugh})
	if causes := told(findings); len(causes) != 1 || causes[0].Code != "no_ds" {
		t.Errorf("causes: %+v", causes)
	}
	if f := one(t, findings, "insecure"); f.Follows != "no_ds" {
		t.Errorf("that it is insecure follows from %q", f.Follows)
	}

	// The parent has the DS record of another key.
	key := &dns.DNSKEY{Hdr: dns.RR_Header{Name: "_smimecert.example.test.", Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 300}, Flags: 257, Protocol: 3, Algorithm: dns.ECDSAP256SHA256}
	if _, err := key.Generate(256); err != nil {
		t.Fatal(err)
	}
	wrong := key.ToDS(dns.SHA256)
	d, names := doctor(t, discovertest.Zone{Name: "example.test"}, discovertest.Zone{Name: "_smimecert.example.test", Records: records("_smimecert.example.test")})
	names.Lie(func(m *dns.Msg) *dns.Msg {
		if q := m.Question[0]; q.Qtype == dns.TypeDS && q.Name == wrong.Hdr.Name {
			m.Answer = names.Sign("example.test", wrong)
		}
		return m
	})
	findings = d.Examine(t.Context(), "example.test", []smimea.Address{hugh})
	causes := told(findings)
	right := names.Key("_smimecert.example.test").ToDS(dns.SHA256)
	if len(causes) != 1 || causes[0].Code != "bogus" || !strings.Contains(causes[0].Text, strings.ToUpper(wrong.Digest)) || !strings.Contains(causes[0].Remedy, strings.ToUpper(right.Digest)) {
		t.Errorf("causes: %+v; want one, with %s and %s", causes, wrong.Digest, right.Digest)
	}
}

// TestLag holds that serials are told apart by time where they are times.
func TestLag(t *testing.T) {
	now := uint32(time.Now().Unix())
	for _, test := range []struct {
		serial, newest uint32
		want           string
	}{{now - 3600, now, "1h0m0s"}, {7, 9, "2"}, {4294967295, 1, "2"}, {2026112401, 2026112403, "2"}} {
		if got := lag(test.serial, test.newest); got != test.want {
			t.Errorf("lag(%d, %d) = %s; want %s", test.serial, test.newest, got, test.want)
		}
	}
	e := &examination{Doctor: &Doctor{}}
	e.serials("example.test.", map[uint32][]string{now: {"a"}, now - 60: {"b"}})
	if f := e.findings[0]; !strings.Contains(f.Text, fmt.Sprintf("b has %d, which is behind by 1m0s", now-60)) {
		t.Errorf("%s", f.Text)
	}
}

// TestAuthorization holds what is said of CAA records.
func TestAuthorization(t *testing.T) {
	for record, want := range map[string]struct {
		level Level
		text  string
	}{
		"":                                      {OK, "has no CAA records"},
		"@ IN CAA 0 issue \"ca.test\"":          {OK, "without issuemail"},
		"@ IN CAA 0 issuemail \"ca.test; x=1\"": {OK, "by ca.test"},
		"@ IN CAA 0 issuemail \";\"":            {Warning, "forbids every authority"},
	} {
		d, _ := doctor(t, discovertest.Zone{Name: "example.test", Records: append(records("example.test"), record)})
		if f := one(t, d.Examine(t.Context(), "example.test", nil), "caa"); f.Level != want.level || !strings.Contains(f.Text, want.text) {
			t.Errorf("%q: %s %q; want %s %q", record, f.Level, f.Text, want.level, want.text)
		}
	}
}

// TestKeyOfSeveralZones has zones that are not delegated yet, and are signed with one
// key, which has the domain's name: as smimea keygen makes it.
func TestKeyOfSeveralZones(t *testing.T) {
	const domain = "example.test"
	names := discovertest.Serve(t,
		discovertest.Zone{Name: "_smimecert." + domain, Records: records("_smimecert." + domain)},
		discovertest.Zone{Name: "_smime." + domain, KeyOf: "_smimecert." + domain})
	elsewhere := discovertest.Serve(t, discovertest.Zone{Name: domain, Unsigned: true, Records: []string{"@ IN A 127.0.0.1"}})
	key := *names.Key("_smimecert." + domain)
	key.Hdr.Name = domain + "."
	server, err := discover.ParseServer(names.Address)
	if err != nil {
		t.Fatal(err)
	}
	other, err := discover.ParseServer(elsewhere.Address)
	if err != nil {
		t.Fatal(err)
	}
	d := &Doctor{Server: server, Elsewhere: other, NameServers: []*discover.Server{server},
		Anchors: dnssec.Anchors{domain + ".": {&key}}, Client: discover.Client{AllowPrivate: true}}
	findings := d.Examine(t.Context(), domain, nil)
	if causes := told(findings); len(causes) > 0 {
		t.Errorf("what is amiss: %+v", causes)
	}
	f := one(t, findings, "delegated")
	if ds := names.Key("_smimecert." + domain).ToDS(dns.SHA256); !strings.Contains(f.Text, strings.ToUpper(ds.Digest)) {
		t.Errorf("%q does not name the DS record %s", f.Text, ds.Digest)
	}
	// The web server's address is one that only the other server has.
	e := &examination{Doctor: d}
	e.resolver = &dnssec.Validator{Exchange: e.exchange, Anchors: dnssec.Anchors{"_smimecert." + domain + ".": {names.Key("_smimecert." + domain)}}}
	if addresses, err := discover.Addresses(t.Context(), beforehand{e}, domain); err != nil || len(addresses) != 1 {
		t.Errorf("addresses %v, %v", addresses, err)
	}
}

// TestParentServers has a parent that names other servers than the zone.
func TestParentServers(t *testing.T) {
	d, names := doctor(t, discovertest.Zone{Name: "example.test", Records: []string{"other IN A 127.0.0.1"}},
		discovertest.Zone{Name: "_smimecert.example.test", Records: records("_smimecert.example.test")})
	_, testOnlyServerPort, _ = net.SplitHostPort(names.Address)
	defer func() { testOnlyServerPort = "53" }()
	d.NameServers = nil
	names.Lie(func(m *dns.Msg) *dns.Msg {
		if q := m.Question[0]; q.Qtype == dns.TypeNS && q.Name == "_smimecert.example.test." && !m.RecursionDesired {
			referral, err := dns.NewRR("_smimecert.example.test. 300 IN NS other.example.test.")
			if err != nil {
				panic(err)
			}
			m.Authoritative, m.Answer, m.Ns = false, nil, []dns.RR{referral}
		}
		return m
	})
	f := one(t, d.Examine(t.Context(), "example.test", nil), "ns_differ")
	for _, want := range []string{"add to the parent: ns._smimecert.example.test.", "take out of the parent: other.example.test."} {
		if !strings.Contains(f.Remedy, want) {
			t.Errorf("the remedy %q has no %q", f.Remedy, want)
		}
	}
}

// TestDownloads holds what is said of the web server, and of a file that the records
// are not of.
func TestDownloads(t *testing.T) {
	old, err := testcert.Template{Addresses: []string{hugh.String()}}.DER()
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := testcert.Template{Addresses: []string{hugh.String()}}.DER()
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/hugh", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/there", http.StatusFound) })
	mux.HandleFunc("/there", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Write(renewed)
	})
	web := discovertest.ServeWebUntil(t, time.Now().Add(72*time.Hour), mux, "example.test")
	txt, err := hugh.TextOwner()
	if err != nil {
		t.Fatal(err)
	}
	digest := func(der []byte) string { return fmt.Sprintf("%x", sha256.Sum256(der)) }
	d, _ := doctor(t, discovertest.Zone{Name: "example.test", Records: []string{
		"@ IN A 127.0.0.1", hugh.Owner() + " IN SMIMEA 3 0 1 " + digest(old),
		fmt.Sprintf("%s IN TXT \"https://example.test:%s/hugh\"", txt, web.Port),
	}})
	d.Client.WebRoots = web.Roots
	findings := d.Examine(t.Context(), "example.test", []smimea.Address{hugh})
	if f := one(t, findings, "tls_expires"); f.Level != Warning || !strings.Contains(f.Text, "in 72h") {
		t.Errorf("%+v", f)
	}
	if f := one(t, findings, "media_type"); !strings.Contains(f.Where, "redirected to https://example.test:"+web.Port+"/there") {
		t.Errorf("%+v", f)
	}
	if f := one(t, findings, "wrong"); !strings.Contains(f.Remedy, digest(old)) || !strings.Contains(f.Remedy, digest(renewed)) {
		t.Errorf("%+v", f)
	}
}

// TestNearEnd holds that a certificate near its end is warned of, but not beside its renewal.
func TestNearEnd(t *testing.T) {
	const encrypts, signs = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement, x509.KeyUsageDigitalSignature
	type cert struct {
		days  int
		usage x509.KeyUsage
	}
	for name, test := range map[string]struct {
		certs []cert
		warns bool
	}{
		"alone":                {[]cert{{20, encrypts}}, true},
		"renewed":              {[]cert{{20, encrypts}, {300, encrypts}}, false},
		"renewed to sign only": {[]cert{{20, encrypts}, {300, signs}}, true},
		"signs, and renewed":   {[]cert{{20, signs}, {300, signs}}, false},
		"not near":             {[]cert{{300, encrypts}}, false},
	} {
		var all []string
		for _, c := range test.certs {
			der, err := testcert.Template{Addresses: []string{hugh.String()}, NotAfter: time.Now().AddDate(0, 0, c.days), KeyUsage: c.usage}.DER()
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, fmt.Sprintf("%s IN SMIMEA 3 0 0 %x", hugh.Owner(), der))
		}
		d, _ := doctor(t, discovertest.Zone{Name: "example.test", Records: all})
		if findings := d.Examine(t.Context(), "example.test", []smimea.Address{hugh}); !has(findings, OK, "verified") || has(findings, Warning, "expires") != test.warns {
			t.Errorf("%s: %+v", name, findings)
		}
	}
}

// TestMissingIssuer holds what is said where an issuer's certificate is not given out:
// a warning if the certificate names a place of it, which has nothing.
func TestMissingIssuer(t *testing.T) {
	issuer, err := testcert.NewAuthority("Issuer", testcert.Shared())
	if err != nil {
		t.Fatal(err)
	}
	// caIssuers at http://127.0.0.1:1/ (RFC 5280 section 4.2.2.1).
	access := testcert.Extension{ID: []int{1, 3, 6, 1, 5, 5, 7, 1, 1}, Value: append([]byte{0x30, 33, 0x30, 31, 0x06, 8, 0x2b, 6, 1, 5, 5, 7, 48, 2, 0x86, 19}, "http://127.0.0.1:1/"...)}
	for name, test := range map[string]struct {
		extensions []testcert.Extension
		behind     bool
		level      Level // "" : nothing is said
	}{
		"no place": {nil, false, OK},
		"a place":  {[]testcert.Extension{access}, false, Warning},
		"behind":   {[]testcert.Extension{access}, true, ""},
	} {
		der, err := testcert.Template{Addresses: []string{hugh.String()}, Issuer: issuer, Extensions: test.extensions, EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}}.DER()
		if err != nil {
			t.Fatal(err)
		}
		file := [][]byte{der}
		if test.behind {
			file = append(file, issuer.Certificate)
		}
		mux := http.NewServeMux()
		mux.HandleFunc("/hugh", func(w http.ResponseWriter, r *http.Request) { w.Write(testcert.PEM(file...)) })
		web := discovertest.ServeWebUntil(t, time.Now().AddDate(0, 3, 0), mux, "example.test")
		txt, err := hugh.TextOwner()
		if err != nil {
			t.Fatal(err)
		}
		d, _ := doctor(t, discovertest.Zone{Name: "example.test", Records: []string{
			"@ IN A 127.0.0.1", fmt.Sprintf("%s IN SMIMEA 3 0 1 %x", hugh.Owner(), sha256.Sum256(der)),
			fmt.Sprintf("%s IN TXT \"https://example.test:%s/hugh\"", txt, web.Port),
		}})
		d.Client.WebRoots = web.Roots
		findings := d.Examine(t.Context(), "example.test", []smimea.Address{hugh})
		if !has(findings, OK, "verified") {
			t.Errorf("%s: %+v", name, findings)
		}
		for _, level := range []Level{OK, Warning, Error} {
			if has(findings, level, "chain") != (level == test.level) {
				t.Errorf("%s: %s %v, want %q", name, level, has(findings, level, "chain"), test.level)
			}
		}
	}
}
