package test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"coredns-smimea/internal/harness"
)

// startSlapd runs OpenLDAP's server with the entries of an LDIF below a suffix, with
// its files in dir, until the test ends, and returns its URI. Who binds as
// cn=admin below the suffix, with the password secret, may add more.
func startSlapd(t *testing.T, dir, suffix, ldif string) (uri string) {
	t.Helper()
	in := func(name string) string { return filepath.Join(dir, name) }
	writeFile(t, in("db/keep"), "")
	writeFile(t, in("slapd.conf"), fmt.Sprintf(`include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile %[1]s/pid
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
maxsize 10485760
suffix %[2]q
rootdn "cn=admin,%[2]s"
rootpw secret
directory %[1]s/db
index mail eq
`, dir, suffix))
	if ldif != "" {
		writeFile(t, in("entries.ldif"), ldif)
		command(t, "slapadd", "-f", in("slapd.conf"), "-l", in("entries.ldif"))
	}
	var p *harness.Process
	err := harness.OnFreePort(func(port int) (err error) {
		uri = "ldap://" + harness.Loopback(port)
		p, err = harness.Start(exec.Command("slapd", "-d", "0", "-h", uri, "-f", in("slapd.conf")), &harness.Log{})
		if err != nil {
			return err
		}
		return p.Until("it answers", harness.Patience, func() bool {
			return exec.CommandContext(t.Context(), "ldapsearch", "-x", "-H", uri, "-s", "base", "-b", "").Run() == nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return uri
}
