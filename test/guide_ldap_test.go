package test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// TestGuideLDAP copies certificates from OpenLDAP's server, as docs/from-ldap.md has it.
func TestGuideLDAP(t *testing.T) {
	t.Parallel()
	const file = "../docs/from-ldap.md"
	step := scripts(t, file, 1)[0]
	g := newGuide(t)
	s := g.world()

	uri := startSlapd(t, g.at("/srv/ldap"), "dc=example,dc=com", "")
	ldif := "dn: dc=example,dc=com\nobjectClass: domain\ndc: example\n\n"
	entry := func(local string, ders ...[]byte) string {
		text := fmt.Sprintf("dn: uid=%s,dc=example,dc=com\nobjectClass: inetOrgPerson\nuid: %[1]s\ncn: %[1]s\nsn: %[1]s\nmail: %[1]s@example.com\n", local)
		for _, der := range ders {
			text += "userCertificate;binary:: " + base64.StdEncoding.EncodeToString(der) + "\n"
		}
		return text + "\n"
	}
	issue := func(local string) []byte {
		der, _ := cert{addresses: []string{local + "@example.com"}}.make(t)
		return der
	}
	writeFile(t, g.at("/etc/users.ldif"), ldif+entry("hugh", issue("hugh"), issue("hugh"))+entry("mary", issue("mary"))+entry("nobody"))
	admin := []string{"-x", "-H", uri, "-D", "cn=admin,dc=example,dc=com", "-w", "secret"}
	command(t, "ldapadd", append(admin, "-f", g.at("/etc/users.ldif"))...)

	writeFile(t, g.at("/usr/local/sbin/certificates-from-ldap"), blocks(t, file, "script", 1)[0])
	g.paths = append(g.paths, "ldap://ldap.example.com", uri)
	if said := g.run(step); !strings.Contains(said, "3 ") {
		t.Errorf("check says\n%s", said)
	}
	g.published(s, "hugh", 2)
	g.published(s, "mary", 1)

	// A user leaves; those who stay keep their files.
	before := g.run("ls -i /etc/coredns-smimea/certs/ldap")
	command(t, "ldapdelete", append(admin, "uid=mary,dc=example,dc=com")...)
	g.run(step)
	g.published(s, "mary", 0)
	g.published(s, "hugh", 2)
	for line := range strings.Lines(g.run("ls -i /etc/coredns-smimea/certs/ldap")) {
		if !strings.Contains(before, line) {
			t.Errorf("%s was written anew", line)
		}
	}
	// LDAP that does not answer withdraws nobody.
	if out, err := g.try(strings.ReplaceAll(step, "ldap://ldap.example.com", "ldap://127.0.0.1:9")); err == nil {
		t.Errorf("without LDAP:\n%s", out)
	}
	if n := strings.Count(g.run("ls /etc/coredns-smimea/certs/ldap"), ".crt"); n != 2 {
		t.Errorf("%d files are left without LDAP", n)
	}

	for i, ending := range []string{"service", "timer"} {
		unit := g.at("/etc/certificates-from-ldap." + ending)
		writeFile(t, unit, strings.NewReplacer("/usr/local/sbin/certificates-from-ldap", "/bin/true").Replace(blocks(t, file, "systemd", 2)[i]))
		verifyUnits(t, "certificates-from-ldap", unit)
	}
}
