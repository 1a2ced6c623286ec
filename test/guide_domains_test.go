package test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"coredns-smimea/internal/harness"
)

// TestGuideDomains serves the fifty domains of docs/fifty-domains.md, and has Knot DNS
// learn of them.
func TestGuideDomains(t *testing.T) {
	t.Parallel()
	const file = "../docs/fifty-domains.md"
	steps := scripts(t, file, 4)
	corefile := blocks(t, file, "corefile", 1)[0]
	g := newGuide(t)
	g.run(steps[0])
	g.keys("/srv", "example.net.", "Kexample.net.+013+45330")
	for _, domain := range []string{"customer7.example", "customer51.example"} {
		cert{addresses: []string{"hugh@" + domain}}.write(t, g.at("/srv/certs/"+domain+".crt"))
	}

	// The secondary, which is told of changes.
	knot := freePort(t)
	corefile = strings.Replace(corefile, "192.0.2.53", harness.Loopback(knot), 1)
	// The key's owner is not above the domains: that it signs them is said by its zones.
	s := g.serve(corefile)
	conf := filepath.Join(g.dir, "knot.conf")
	writeFile(t, conf, fmt.Sprintf("server:\n    listen: 127.0.0.1@%d\n    rundir: %q\ndatabase:\n    storage: %q\nlog:\n  - target: stderr\n    any: info\n", knot, g.dir, g.dir)+
		strings.NewReplacer("192.0.2.1@53", "127.0.0.1@"+portOf(s.addr), "192.0.2.1", "127.0.0.1").Replace(blocks(t, file, "knot", 1)[0]))
	if err := run(t, exec.Command("knotd", "-c", conf), &harness.Log{}, harness.Loopback(knot)); err != nil {
		t.Fatal(err)
	}
	has := func(domain string) bool {
		m, err := exchangeMsg(harness.Loopback(knot), question{name: hashOwner("hugh", domain), qtype: dns.TypeSMIMEA, tcp: true, size: 1232, do: true})
		return err == nil && len(m.Answer) == 2
	}
	waitFor(t, "the secondary to have a domain of the fifty", func() bool { return has("customer7.example.") })

	if said := g.run(steps[1]); !strings.Contains(said, "customer51.example.crt") || strings.Contains(said, "customer7.example.crt") {
		t.Errorf("what is not published:\n%s", said)
	}
	g.paths = append(g.paths, "@127.0.0.1", "@127.0.0.1 -p "+portOf(s.addr))
	said := g.run(steps[2])
	if n := strings.Count(said, " IN DS "); n != 100 || !strings.Contains(said, "_smime.customer50.example. IN DS ") {
		t.Errorf("%d DS records in\n%s", n, said)
	}
	for line := range strings.Lines(said) {
		if _, err := dns.NewRR(line); err != nil {
			t.Errorf("%v: %s", err, line)
		}
	}
	g.run(steps[3])
	waitFor(t, "the secondary to have the new domain", func() bool { return has("customer51.example.") })
	for line := range strings.Lines(blocks(t, file, "zone", 1)[0]) {
		if _, err := dns.NewRR("$ORIGIN customer1.example.\n" + line); err != nil {
			t.Errorf("%v: %s", err, line)
		}
	}
}
