package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// TestPluginCfg builds CoreDNS from its own source with one more line in plugin.cfg,
// as README.md says, and asks it.
func TestPluginCfg(t *testing.T) {
	t.Parallel()
	var text string
	for _, b := range fences(t, "../README.md") {
		text += b.text
	}
	line := regexp.MustCompile(`(?m)^smimea:\S+$`).FindString(text)
	edit := regexp.MustCompile(`(?m)^go mod edit .*-replace (coredns-smimea=\.\./coredns-smimea)$`).FindStringSubmatch(text)
	if line == "" || edit == nil {
		t.Fatal("README.md does not say how to build")
	}
	tree, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	source := strings.TrimSpace(command(t, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/coredns/coredns"))
	dir := filepath.Join(t.TempDir(), "coredns")
	if err := os.CopyFS(dir, os.DirFS(source)); err != nil {
		t.Fatal(err)
	}
	command(t, "chmod", "-R", "u+w", dir) // the module cache is read-only

	cfg, err := os.ReadFile(filepath.Join(dir, "plugin.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	added := strings.Replace(string(cfg), "\ndnssec:dnssec\n", "\n"+line+"\ndnssec:dnssec\n", 1)
	if added == string(cfg) {
		t.Fatal("plugin.cfg has no dnssec")
	}
	writeFile(t, filepath.Join(dir, "plugin.cfg"), added)
	// What our module requires has its sums in our go.sum.
	sums, err := os.ReadFile("../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "go.sum"), string(theirs)+string(sums))

	for _, args := range [][]string{
		strings.Fields(strings.Replace(edit[0], "../coredns-smimea", tree, 1)),
		{"go", "generate", "."},
		{"go", "build", "-mod=mod", "-o", "coredns", "."},
	} {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // what it has in common with ours is compiled already
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
	}

	certs := t.TempDir()
	cert{addresses: []string{"alice@example.com"}}.write(t, filepath.Join(certs, "alice.pem"))
	k := newKeys(t, "example.com.", signing{dns.ECDSAP256SHA256, false})
	s := startBinary(t, filepath.Join(dir, "coredns"), "", block("_smimecert.example.com _smime.example.com", k.directive, "smimea "+certs))
	m, _ := ask(t, s.addr, question{name: hashOwner("alice", "example.com."), qtype: dns.TypeSMIMEA, size: 1232, do: true})
	if len(m.Answer) != 2 {
		t.Errorf("want a record and its signature:\n%s", m)
	}
	k.verify(t, "plugin.cfg", "_smimecert.example.com.", m.Answer)
	m, _ = ask(t, s.addr, question{name: hashOwner("nobody", "example.com."), qtype: dns.TypeSMIMEA, size: 1232, do: true})
	if !strings.Contains(texts(m.Ns), "NXNAME") {
		t.Errorf("want a denial by NXNAME:\n%s", m)
	}
}
