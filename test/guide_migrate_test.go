package test

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestGuideMigrate moves a zone that BIND serves, as docs/migrate.md has it.
func TestGuideMigrate(t *testing.T) {
	t.Parallel()
	const file = "../docs/migrate.md"
	steps := scripts(t, file, 4)
	g := newGuide(t)
	zone := exampleSOA(1, 900) + "\nexample.com. 3600 IN NS ns1.example.com.\nns1.example.com. 3600 IN A 127.0.0.1\n"
	var gone string
	for _, c := range []struct {
		local string
		cert  cert
	}{
		{"hugh", cert{addresses: []string{"hugh@example.com"}}},
		{"mary", cert{addresses: []string{"mary@example.com"}, rsa: true}},
		{"old", cert{addresses: []string{"old@example.com"}, notAfter: time.Now().Add(-time.Hour), notBefore: time.Now().AddDate(-1, 0, 0)}},
	} {
		der, _ := c.cert.make(t)
		zone += fmt.Sprintf("%s 3600 IN SMIMEA 3 0 0 %s\n", hashOwner(c.local, "example.com."), hex.EncodeToString(der))
		if c.local == "old" {
			gone = hashOwner(c.local, "example.com")
		}
	}
	bind := peer(t, "named", func(dir string, port int) string {
		writeFile(t, filepath.Join(dir, "db"), zone)
		return fmt.Sprintf("options { directory %q; pid-file none; session-keyfile none; recursion no; notify no; listen-on port %d { 127.0.0.1; }; listen-on-v6 { none; }; allow-transfer { any; }; };\ncontrols { };\nzone \"example.com\" { type primary; file \"db\"; };\n", dir, port)
	}, func(conf string) []string { return []string{"named", "-g", "-n", "1", "-c", conf} })
	g.paths = append(g.paths, "@192.0.2.1", "@127.0.0.1 -p "+portOf(bind))

	if n := strings.TrimSpace(g.run(steps[0])); n != "3" {
		t.Errorf("%s records in the old zone", n)
	}
	if said := g.run(steps[1]); !strings.Contains(said, "expired") {
		t.Errorf("check says\n%s", said)
	}
	if files, _ := filepath.Glob(g.at("certs/*.crt")); len(files) != 3 {
		t.Errorf("%d certificates", len(files))
	}
	diff := g.run(steps[2])
	if strings.Count(diff, "\n< ") != 1 || strings.Contains(diff, "\n> ") || !strings.Contains(diff, gone) {
		t.Errorf("the difference is not that the expired one goes:\n%s", diff)
	}
	if err := os.CopyFS(g.at("/srv/certs"), os.DirFS(g.at("certs"))); err != nil {
		t.Fatal(err)
	}
	g.keys("", "example.com.", "Kexample.com.+013+12345")
	s := g.serve(blocks(t, file, "corefile", 1)[0])
	m, _ := ask(t, s.addr, question{name: hashOwner("hugh", "example.com."), qtype: dns.TypeSMIMEA, tcp: true})
	if text := texts(m.Answer); len(m.Answer) != 2 || !strings.Contains(text, "3 0 0") || !strings.Contains(text, "3 1 1") {
		t.Errorf("hugh's records:\n%s", m)
	}
	if said := g.run(steps[3]); !strings.Contains(said, "OK") {
		t.Errorf("the zone of the directory:\n%s", said)
	}
}
