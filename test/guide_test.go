package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// scripts returns the blocks of commands of a document: those named sh. It ends the test
// if there are not that many.
func scripts(t *testing.T, file string, n int) []string {
	t.Helper()
	var found []string
	for _, b := range fences(t, file) {
		if b.language == "sh" {
			found = append(found, b.text)
		}
	}
	if len(found) != n {
		t.Fatalf("%s: %d blocks of commands, the test has %d steps", file, len(found), n)
	}
	return found
}

// blocks returns the other blocks of a document that are in a language.
func blocks(t *testing.T, file, language string, n int) []string {
	t.Helper()
	var found []string
	for _, b := range fences(t, file) {
		if b.language == language {
			found = append(found, b.text)
		}
	}
	if len(found) != n {
		t.Fatalf("%s: %d blocks in %s, the test has %d", file, len(found), language, n)
	}
	return found
}

// A guide is a document whose commands are run, in a place that stands for the machine
// that they are written for.
type guide struct {
	*testing.T
	dir     string   // the working directory, and below it what is absolute in the document
	prelude string   // shell functions that lead commands to this place
	paths   []string // pairs for a strings.Replacer
}

// newGuide makes a place for a document. smimea, in it, is the one of this tree.
func newGuide(t *testing.T) *guide {
	t.Helper()
	g := &guide{T: t, dir: t.TempDir()}
	for _, path := range []string{"/etc/", "/var/lib/", "/usr/local/", "/srv/"} {
		if err := os.MkdirAll(g.dir+path, 0o755); err != nil {
			t.Fatal(err)
		}
		g.paths = append(g.paths, path, g.dir+path)
	}
	for _, path := range []string{"/etc/coredns-smimea/certs", "/var/lib/coredns-smimea"} { // the package's
		if err := os.MkdirAll(g.at(path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// at returns where an absolute path of the document is.
func (g *guide) at(path string) string { return filepath.Join(g.dir, path) }

// run runs commands, and returns what they print.
func (g *guide) run(script string) string {
	g.Helper()
	out, err := g.try(script)
	if err != nil {
		g.Fatalf("%v\n%s\n%s", err, script, out)
	}
	return out
}

// try is run for commands that may fail.
func (g *guide) try(script string) (string, error) {
	g.Helper()
	cmd := exec.CommandContext(g.Context(), "sh", "-ec", g.prelude+"\n"+strings.NewReplacer(g.paths...).Replace(script))
	cmd.Dir = g.dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(builtCommand(g.T))+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// serve runs a Corefile of the document, on loopback.
func (g *guide) serve(corefile string) *server {
	g.Helper()
	return startProcess(g.T, g.dir, onLoopback(g.T, strings.NewReplacer(g.paths...).Replace(corefile)))
}

// world has the command ask for example.com here: at a server that has whole of it, and
// gives the certificates out over HTTPS as well.
func (g *guide) world() *server {
	g.Helper()
	w, options := newWeb(g.T, "example.com")
	k := newKeys(g.T, "example.com.", signing{dns.ECDSAP256SHA256, false})
	db := g.at("/etc/db.example.com")
	writeFile(g.T, db, exampleSOA(1, 300)+"\nexample.com. 3600 IN NS ns1.example.com.\nns1.example.com. 3600 IN A 127.0.0.1\nexample.com. 3600 IN A 127.0.0.1\n")
	writeFile(g.T, g.at("/etc/anchor"), k.dnskeys[0].String()+"\n")
	s := startProcess(g.T, "", block("example.com", k.directive,
		smimea(g.at("/etc/coredns-smimea/certs"), options+"\nurl https://{domain}:"+portOf(w.addr)+"/.well-known/smime/{file}"), "file "+db))
	g.prelude = fmt.Sprintf(`smimea() {
	verb=$1; shift
	case $verb in
	lookup) SSL_CERT_FILE=%[1]s command smimea lookup -server %[2]s -anchor %[3]s -allow-private "$@" ;;
	doctor) SSL_CERT_FILE=%[1]s command smimea doctor -server %[2]s -ns %[2]s -anchor %[3]s -allow-private "$@" ;;
	*) command smimea $verb "$@" ;;
	esac
}`, w.trust, s.addr, g.at("/etc/anchor"))
	return s
}

// published waits until a server answers for a local-part of example.com with that many
// certificates.
func (g *guide) published(s *server, local string, n int) {
	g.Helper()
	waitFor(g.T, fmt.Sprintf("%d certificates of %s", n, local), func() bool {
		m, _ := ask(g.T, s.addr, question{name: hashOwner(local, "example.com."), qtype: dns.TypeSMIMEA, tcp: true})
		return len(m.Answer) == n
	})
}

// builtCommand returns the path of the smimea of this tree, built once a run.
func builtCommand(t *testing.T) string {
	t.Helper()
	binary, err := buildCommand()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

var buildCommand = sync.OnceValues(func() (string, error) { return build("./cmd/smimea") })

// TestGuides holds that every document that is for people is in the list, and every
// document in the list is there.
func TestGuides(t *testing.T) {
	t.Parallel()
	list, err := os.ReadFile("../docs/README.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if name := filepath.Base(file); name != "README.md" && !strings.Contains(string(list), "]("+name+")") {
			t.Errorf("docs/README.md does not name %s", name)
		}
	}
	for _, part := range strings.Split(string(list), "](")[1:] {
		name, _, _ := strings.Cut(part, ")")
		if _, err := os.Stat(filepath.Join("../docs", name)); err != nil {
			t.Errorf("docs/README.md: %v", err)
		}
	}
}

// TestGuideUser takes the steps of docs/user.md with an authority that openssl makes.
func TestGuideUser(t *testing.T) {
	t.Parallel()
	steps := scripts(t, "../docs/user.md", 9)
	g := newGuide(t)
	s := g.world()
	g.run(`openssl req -x509 -newkey rsa:2048 -noenc -keyout authority.key -out authority.crt -days 3650 -subj "/CN=Authority" -addext keyUsage=critical,keyCertSign,cRLSign`)
	issue := `openssl x509 -req -in %s.csr -CA authority.crt -CAkey authority.key -days 365 -copy_extensions copyall -out %s.crt`

	g.run(steps[0])
	g.run(steps[1])
	g.run(fmt.Sprintf(issue, "hugh", "hugh"))
	if said := g.run(steps[2]); !strings.Contains(said, "hugh.crt: OK") || !strings.Contains(said, "email:hugh@example.com") {
		t.Errorf("the certificate: %s", said)
	}
	g.run(steps[3])
	for file, want := range map[string]string{"hugh.p12": "AES-256-CBC", "hugh-legacy.p12": "40BitRC2"} {
		if said := g.run("openssl pkcs12 -legacy -info -nokeys -nocerts -passin pass:from-here-to-there -in " + file); !strings.Contains(said, want) {
			t.Errorf("%s: no %s in %s", file, want, said)
		}
	}
	g.run(steps[4])
	g.published(s, "hugh", 1)
	said := g.run(steps[5])
	if !strings.Contains(said, hashOwner("hugh", "")[:56]) || !strings.Contains(said, "hugh._smime.example.com") || !strings.Contains(said, "verified: ") {
		t.Errorf("what everybody sees:\n%s", said)
	}
	var prints []string
	for line := range strings.Lines(said) {
		if _, print, ok := strings.Cut(line, "Fingerprint="); ok {
			prints = append(prints, print)
		}
	}
	if len(prints) != 2 || prints[0] != prints[1] {
		t.Errorf("another certificate was found: %q", prints)
	}

	// The next one, with the other kind of key.
	g.run(fmt.Sprintf(issue, "hugh-rsa", "hugh-2"))
	if said := g.run(steps[6]); strings.Count(said, "SMIMEA") != 2 {
		t.Errorf("records in the overlap:\n%s", said)
	}
	g.published(s, "hugh", 2)
	g.run("smimea lookup -o found.pem hugh@example.com")
	g.run(steps[7])
	g.published(s, "hugh", 1)
	g.run("smimea lookup -o found.pem hugh@example.com")
	if string(derOf(t, g.at("found.pem"))) != string(derOf(t, g.at("hugh-2.crt"))) {
		t.Error("after the renewal the old certificate is found")
	}
	g.run(steps[8])
	g.published(s, "hugh", 0)
	if out, err := g.try("smimea lookup hugh@example.com"); err == nil || !strings.Contains(out, "none: ") {
		t.Errorf("after the removal: %v\n%s", err, out)
	}
}

// keys writes a key pair for a zone under a name of the document.
func (g *guide) keys(dir, zone, name string) *dns.DNSKEY {
	g.Helper()
	key, base := newKey(g.T, g.TempDir(), zone, 257, dns.ECDSAP256SHA256)
	for _, ext := range []string{".key", ".private"} {
		command(g.T, "install", "-D", base+ext, filepath.Join(g.at(dir), name+ext))
	}
	return key
}
