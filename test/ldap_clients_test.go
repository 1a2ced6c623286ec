package test

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"

	"coredns-smimea/ldap/bridge"
)

// ldapsearch asks a gateway until it does not answer any more that it has not found out
// in time, and returns what it prints and its exit status, which is the result code.
func ldapsearch(t *testing.T, environment []string, args ...string) (out string, code int) {
	t.Helper()
	waitFor(t, "an answer to "+strings.Join(args, " "), func() bool {
		out, code = ldapsearchOnce(t, environment, args...)
		return code != goldap.LDAPResultBusy
	})
	return out, code
}

// ldapsearchOnce is ldapsearch that asks once.
func ldapsearchOnce(t *testing.T, environment []string, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ldapsearch", append([]string{"-LLL", "-o", "ldif-wrap=no", "-b", "o=smimea"}, args...)...)
	cmd.Env = append(os.Environ(), environment...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// known asks a gateway for an address until it has found out, for programs that ask once.
func known(t *testing.T, addr, address string) {
	t.Helper()
	ldapsearch(t, nil, "-x", "-H", "ldap://"+addr, "(mail="+address+")", "mail")
}

// certificatesIn returns the values of an attribute in LDIF.
func certificatesIn(t *testing.T, ldif, attribute string) (ders [][]byte) {
	t.Helper()
	for _, match := range regexp.MustCompile(`(?m)^`+attribute+`:: (.*)$`).FindAllStringSubmatch(ldif, -1) {
		der, err := base64.StdEncoding.DecodeString(match[1])
		if err != nil {
			t.Fatal(err)
		}
		ders = append(ders, der)
	}
	return ders
}

// TestLDAPClients has those who speak LDAP find the certificates of strangers:
// through a validating Unbound, and asking our server itself.
func TestLDAPClients(t *testing.T) {
	t.Parallel()
	c := newCorrespondence(t)
	cert, key := c.root.server(t)
	tls := []string{"LDAPTLS_CACERT=" + c.roots}
	direct := c.gateway(t, c.direct)
	middle := newAuthority(t, "Test Intermediate", c.root)
	dir := t.TempDir()
	writeBundle(t, filepath.Join(dir, "chain.pem"), middle.user(t, "chain@example.com"), middle.cert.Raw)
	g := c.gateway(t, c.unbound, "-dir", dir, "-listen", "ldaps://127.0.0.1:0", "-tls-cert", cert, "-tls-key", key)
	mail := func(address string) string { return "(mail=" + address + ")" }

	for what, ask := range map[string]func(filter string, more ...string) (string, int){
		"plain": func(filter string, more ...string) (string, int) {
			return ldapsearch(t, nil, append([]string{"-x", "-H", "ldap://" + g.addr, filter}, more...)...)
		},
		"direct": func(filter string, more ...string) (string, int) {
			return ldapsearch(t, nil, append([]string{"-x", "-H", "ldap://" + direct.addr, filter}, more...)...)
		},
		"StartTLS": func(filter string, more ...string) (string, int) {
			return ldapsearch(t, tls, append([]string{"-x", "-ZZ", "-H", "ldap://" + g.addr, filter}, more...)...)
		},
		"ldaps": func(filter string, more ...string) (string, int) {
			return ldapsearch(t, tls, append([]string{"-x", "-H", "ldaps://" + g.secure, filter}, more...)...)
		},
	} {
		t.Run("ldapsearch "+what, func(t *testing.T) {
			out, code := ask(mail("hugh@example.com"), "usercertificate;binary")
			if got := certificatesIn(t, out, "usercertificate;binary"); code != 0 || len(got) != 1 || !bytes.Equal(got[0], c.hugh) {
				t.Errorf("hugh: %d\n%s", code, out)
			}
			if out, code := ask(mail("nobody@example.com")); code != 0 || strings.Contains(out, "dn:") {
				t.Errorf("nobody: %d\n%s", code, out)
			}
			// What is not to be had of the one server is a failure.
			out, code = ask(mail("anybody@example.org"))
			if code != 52 || strings.Contains(out, "dn:") {
				t.Errorf("bogus: %d\n%s", code, out)
			}
			if what == "direct" {
				return
			}
			out, code = ask(mail("dave@example.net"), "userCertificate")
			if got := certificatesIn(t, out, "userCertificate;binary"); code != 0 || len(got) != 1 || !bytes.Equal(got[0], c.dave) {
				t.Errorf("dave: %d\n%s", code, out)
			}
			if out, code := ask(mail("expired@example.net")); code != 0 || strings.Contains(out, "dn:") {
				t.Errorf("expired: %d\n%s", code, out)
			}
		})
	}

	t.Run("pages and the root", func(t *testing.T) {
		out, code := ldapsearch(t, nil, "-x", "-E", "pr=10/noprompt", "-H", "ldap://"+g.addr, mail("hugh@example.com"), "mail")
		if code != 0 || strings.Count(out, "mail: hugh@example.com") != 1 {
			t.Errorf("%d\n%s", code, out)
		}
		out, code = ldapsearch(t, nil, "-x", "-b", "", "-s", "base", "-H", "ldap://"+g.addr, "+")
		for _, want := range []string{"namingContexts: o=smimea", "supportedLDAPVersion: 3", "supportedExtension: 1.3.6.1.4.1.1466.20037", "subschemaSubentry: cn=Subschema"} {
			if code != 0 || !strings.Contains(out, want) {
				t.Errorf("no %s: %d\n%s", want, code, out)
			}
		}
	})

	t.Run("gpgsm", func(t *testing.T) {
		home := gnupg(t, "ldapserver "+g.addr+":::o=smimea:plain\n")
		for who, found := range map[string]bool{"<hugh@example.com>": true, "hugh@example.com": true, "<chain@example.com>": true, "<nobody@example.com>": false, "<anybody@example.org>": false} {
			known(t, g.addr, strings.Trim(who, "<>"))
			cmd := exec.CommandContext(t.Context(), "gpgsm", "--homedir", home, "--batch", "--with-colons", "--list-external-keys", who)
			out, _ := cmd.CombinedOutput()
			if got := strings.Contains(string(out), "uid:") && strings.Contains(string(out), "<"+strings.Trim(who, "<>")+">"); got != found {
				t.Errorf("%s: found is %v; want %v\n%s", who, got, found, out)
			}
		}
	})

	t.Run("python3-ldap", func(t *testing.T) {
		out := command(t, "/usr/bin/python3", "-c", `
import ldap, sys
c = ldap.initialize(sys.argv[1])
c.simple_bind_s()
def search(*args):
    while True:
        try:
            return c.search_s("o=smimea", ldap.SCOPE_SUBTREE, *args)
        except ldap.BUSY:
            pass
found = search("(|(mail=hugh@example.com)(mail=nobody@example.com))", ["userCertificate;binary", "mail"])
print(len(found), found[0][1]["mail"], found[0][1]["userCertificate;binary"][0].hex())
try:
    search("(mail=anybody@example.org)")
except ldap.UNAVAILABLE:
    print("unavailable")
try:
    c.delete_s("o=smimea")
except ldap.UNWILLING_TO_PERFORM:
    print("read-only")
`, "ldap://"+g.addr)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if len(lines) != 3 || !strings.HasPrefix(lines[0], "1 [b'hugh@example.com'] 3082") || lines[1] != "unavailable" || lines[2] != "read-only" {
			t.Errorf("%s", out)
		}
	})

	t.Run("openssl cms", func(t *testing.T) {
		dir := t.TempDir()
		in := func(name string) string { return filepath.Join(dir, name) }
		out, _ := ldapsearch(t, nil, "-x", "-H", "ldap://"+g.addr, mail("hugh@example.com"), "userCertificate", "userSMIMECertificate")
		writeBundle(t, in("hugh.pem"), certificatesIn(t, out, "userCertificate;binary")...)
		writePEM(t, in("hugh.p7c"), "PKCS7", certificatesIn(t, out, "userSMIMECertificate;binary")[0])
		if text := command(t, "openssl", "pkcs7", "-in", in("hugh.p7c"), "-print_certs", "-noout"); strings.Count(text, "subject=") != 1 {
			t.Errorf("the bundle:\n%s", text)
		}
		writeFile(t, in("message"), "We have never met.\n")
		key, err := rsaKey()
		if err != nil {
			t.Fatal(err)
		}
		writeKey(t, in("hugh.key"), key)
		command(t, "openssl", "cms", "-encrypt", "-aes256", "-in", in("message"), "-out", in("mail.eml"), in("hugh.pem"))
		if got := command(t, "openssl", "cms", "-decrypt", "-in", in("mail.eml"), "-recip", in("hugh.pem"), "-inkey", in("hugh.key")); !strings.Contains(got, "We have never met.") {
			t.Errorf("the message is %q", got)
		}
	})

	t.Run("bridge", func(t *testing.T) {
		dir := t.TempDir()
		in := func(name string) string { return filepath.Join(dir, name) }
		g := c.gateway(t, c.unbound, "-bridge", dir)
		root := in(bridge.RootFile)
		for address, want := range map[string]struct {
			leaf  []byte
			scope string
		}{"alice@example.edu": {c.alice, "email:alice@example.edu"}, "erin@example.edu": {c.erin, "email:example.edu"}} {
			var found [2][][]byte
			for i := range found {
				out, _ := ldapsearch(t, nil, "-x", "-H", "ldap://"+g.addr, mail(address), "userCertificate")
				found[i] = certificatesIn(t, out, "userCertificate;binary")
			}
			if len(found[0]) != 2 || !bytes.Equal(found[0][0], want.leaf) || !bytes.Equal(found[0][1], found[1][1]) {
				t.Fatalf("%s: %d certificates, or others", address, len(found[0]))
			}
			writeBundle(t, in("leaf"), found[0][0])
			writeBundle(t, in("cross"), found[0][1])
			command(t, "openssl", "verify", "-x509_strict", "-purpose", "smimesign", "-CAfile", root, "-untrusted", in("cross"), in("leaf"))
			text := command(t, "openssl", "x509", "-in", in("cross"), "-noout", "-ext", "nameConstraints,extendedKeyUsage,basicConstraints")
			for _, part := range []string{"Name Constraints: critical", want.scope + "\n", "E-mail Protection", "pathlen:0"} {
				if !strings.Contains(text, part) {
					t.Errorf("%s: no %q in\n%s", address, part, text)
				}
			}
		}
	})

	for _, g := range []*gateway{g, direct} {
		for _, secret := range []string{"hugh", "chain@", "nobody", "anybody"} {
			if strings.Contains(g.Log.String(), secret) {
				t.Errorf("%s is in the log:\n%s", secret, g.Log)
			}
		}
	}
}

// gnupg makes a home of GnuPG with a dirmngr.conf, and ends what runs in it with
// the test.
func gnupg(t *testing.T, conf string) (home string) {
	t.Helper()
	// Sockets need a short path.
	home, err := os.MkdirTemp("", "gnupg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		os.RemoveAll(home)
	})
	writeFile(t, filepath.Join(home, "dirmngr.conf"), conf)
	return home
}

func writeKey(t *testing.T, path string, key any) {
	t.Helper()
	der := pkcs8(t, key)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
