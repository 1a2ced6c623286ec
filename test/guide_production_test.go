package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"coredns-smimea/internal/harness"
)

// TestGuideProduction takes the steps of docs/production.md, but for those that TestDebian
// takes.
func TestGuideProduction(t *testing.T) {
	t.Parallel()
	const file = "../docs/production.md"
	steps := scripts(t, file, 6)
	g := newGuide(t)
	hugh := cert{addresses: []string{"hugh@example.com"}}
	hugh.write(t, g.at("/etc/coredns-smimea/certs/hugh.crt"))
	hugh.write(t, g.at("/srv/certs/hugh.crt"))
	g.world()
	if said := g.run(steps[0]); strings.Contains(said, "/etc/coredns-smimea/certs") {
		t.Errorf("others can write:\n%s", said)
	}

	// The two servers.
	key := g.keys("", "example.com.", "Kexample.com.+013+12345")
	second := freePort(t)
	s := g.serve(strings.Replace(blocks(t, file, "corefile", 1)[0], "192.0.2.53", harness.Loopback(second), 1))
	conf := g.at("/etc/nsd.conf")
	writeFile(t, conf, fmt.Sprintf(`server:
    ip-address: 127.0.0.1@%d
    username: ""
    zonesdir: %[2]q
    database: ""
    pidfile: ""
    logfile: ""
    xfrdfile: ""
    xfrdir: %[2]q
    zonelistfile: %[3]q
    cookie-secret-file: ""
remote-control:
    control-enable: no
`, second, g.dir, g.at("zone.list"))+strings.NewReplacer("request-xfr: 192.0.2.1", "request-xfr: 127.0.0.1@"+portOf(s.addr), "192.0.2.1", "127.0.0.1").Replace(blocks(t, file, "nsd", 1)[0]))
	command(t, "nsd-checkconf", conf)
	if err := run(t, exec.Command("nsd", "-d", "-c", conf), &harness.Log{}, harness.Loopback(second)); err != nil {
		t.Fatal(err)
	}
	k := &keys{dnskeys: []*dns.DNSKEY{key}}
	var m *dns.Msg
	waitFor(t, "the secondary", func() (ok bool) { // whose processes change when a zone comes
		var err error
		m, err = exchangeMsg(harness.Loopback(second), question{name: hashOwner("hugh", "example.com."), qtype: dns.TypeSMIMEA, tcp: true, size: 1232, do: true})
		return err == nil && len(m.Answer) == 2
	})
	k.verify(t, "secondary", "_smimecert.example.com.", m.Answer)

	// A stranger, from another address of loopback than the secondary's.
	g.paths = append(g.paths, "@ns1.example.com", "@127.0.0.1 -p "+portOf(s.addr))
	if said, _ := g.try(strings.Replace(steps[1], "dig ", "dig -b 127.0.0.9 ", 1)); !strings.Contains(said, "Transfer failed") {
		t.Errorf("a stranger's transfer:\n%s", said)
	}

	for line := range strings.Lines(blocks(t, file, "zone", 1)[0]) {
		if _, err := dns.NewRR("$ORIGIN example.com.\n" + line); err != nil {
			t.Errorf("%v: %s", err, line)
		}
	}
	var want string
	for _, origin := range rolled {
		c := dns.Copy(key).(*dns.DNSKEY)
		c.Hdr.Name = origin
		ds := c.ToDS(dns.SHA256)
		want += fmt.Sprintf("%d %d %d %s\n", ds.KeyTag, ds.Algorithm, ds.DigestType, strings.ToUpper(ds.Digest))
	}
	if said := g.run(steps[2]); strings.ReplaceAll(said, " ", "") != strings.ReplaceAll(want, " ", "") {
		t.Errorf("the DS records are\n%s, want\n%s", said, want)
	}
	if said := g.run(steps[3]); !strings.Contains(said, " 0 warnings, 0 errors") || !strings.Contains(said, "verified: ") {
		t.Errorf("from outside:\n%s", said)
	}

	rules, err := filepath.Abs("../monitoring")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, g.at("/etc/prometheus.yml"), strings.ReplaceAll(blocks(t, file, "prometheus", 1)[0], "/usr/share/coredns-smimea", rules))
	command(t, "promtool", "check", "config", g.at("/etc/prometheus.yml"))
	for line := range strings.Lines(g.run(steps[4])) {
		if !strings.Contains(line, " 0 warnings") { // a summary, if there is one
			t.Errorf("amiss: %s", line)
		}
	}
	if said := g.run(steps[5]); !strings.Contains(said, "./certs/hugh.crt\n") {
		t.Errorf("the backup has\n%s", said)
	}
	if info, err := os.Stat(g.at("/srv/coredns-smimea.tar.gz")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup: %v, %v", info, err)
	}
}
