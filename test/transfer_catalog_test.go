package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// TestCatalog adds a mail domain by a line in a file: the server serves it, signed,
// and Knot and BIND take it up by the catalog (RFC 9432).
func TestCatalog(t *testing.T) {
	t.Parallel()
	dir, conf := t.TempDir(), t.TempDir()
	for _, domain := range []string{"example.com", "example.org", "example.net"} {
		cert{addresses: []string{"alice@" + domain}}.write(t, filepath.Join(dir, domain+".pem"))
	}
	list := filepath.Join(conf, "zones")
	writeFile(t, list, "# mail domains\nexample.com\n")
	_, key := newKey(t, conf, "example.com.", 257, dns.ECDSAP256SHA256)
	to := []int{freePort(t), freePort(t)}
	p := newPrimary(t, []string{"."}, to, false, smimea(dir, fmt.Sprintf("zones %s\ncatalog catalog.test\nkey file %s\ntransfer_signed\nns ns1.example.net", list, key)))
	var who []*secondary
	for i, kind := range []string{"knot", "bind"} {
		s := newSecondary(t, kind, to[i], p.addr, nil, false)
		path := filepath.Join(s.dir, kind+".conf")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		switch kind {
		case "knot":
			text = append(text, `  - domain: catalog.test
    master: primary
    acl: anybody
    catalog-role: interpret
    catalog-template: member
template:
  - id: member
    master: primary
    acl: anybody
`...)
			// A template stands before the zones that use it.
			head, zone, _ := strings.Cut(string(text), "zone:\n")
			zone, template, _ := strings.Cut(zone, "template:\n")
			text = []byte(head + "template:\n" + template + "zone:\n" + zone)
		case "bind":
			text = []byte(strings.Replace(string(text), "options {\n", fmt.Sprintf("options {\n\tcatalog-zones { zone \"catalog.test\" default-primaries { 127.0.0.1 port %s; } min-update-interval 1; };\n", portOf(p.addr)), 1))
			text = fmt.Appendf(text, "zone \"catalog.test\" { type secondary; file \"catalog\"; primaries { 127.0.0.1 port %s; }; };\n", portOf(p.addr))
		}
		writeFile(t, path, string(text))
		s.start(t)
		who = append(who, s)
	}
	has := func(domain string) {
		t.Helper()
		for _, zone := range []string{"_smimecert." + domain + ".", "_smime." + domain + "."} {
			waitFor(t, zone+" at the primary", func() bool { _, ok := serialAt(p.addr, zone); return ok })
			waitFor(t, zone+" in transfers", func() bool { _, err := transferIn(p.addr, zone, nil, false); return err == nil })
			for _, s := range who {
				waitFor(t, zone+" at "+s.name, func() bool { _, ok := serialAt(s.addr, zone); return ok })
			}
			follow(t, p, zone, false, who...)
		}
	}
	has("example.com")
	before, _ := serialAt(p.addr, "catalog.test.")
	old, _ := serialAt(p.addr, "_smimecert.example.com.")
	replaceFile(t, list, "# mail domains\nexample.com\nexample.org # a new one\n")
	has("example.org")
	if now, _ := serialAt(p.addr, "catalog.test."); int32(now-before) <= 0 {
		t.Errorf("the catalog's serial is %d after %d", now, before)
	}
	has("example.com")
	if now, _ := serialAt(p.addr, "_smimecert.example.com."); int32(now-old) < 0 {
		t.Errorf("the serial of a zone that stays is %d after %d", now, old)
	}
	// A mistake changes nothing.
	writeFile(t, list, "example.com\nno domain at all\n")
	waitFor(t, "word of the mistake", func() bool { return strings.Contains(p.log.String(), "The zones stay as they are") })
	has("example.org")
	// One that goes goes from the secondaries as well.
	writeFile(t, list, "example.org\n")
	for _, s := range who {
		waitFor(t, "example.com to go from "+s.name, func() bool { _, ok := serialAt(s.addr, "_smimecert.example.com."); return !ok })
	}
	has("example.org")
	if m, _ := ask(t, p.addr, question{name: "version.catalog.test.", qtype: dns.TypeTXT}); m.Rcode != dns.RcodeRefused {
		t.Errorf("the catalog is open to queries:\n%s", m)
	}
}
