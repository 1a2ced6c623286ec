package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// makePackages runs a target of the Makefile that packages, into a directory of this
// run. The compiler's cache is the one of the tests: without -trimpath.
func makePackages(target string, variables ...string) (dir, said string, err error) {
	packaging.Lock()
	defer packaging.Unlock()
	dir = filepath.Join(scratch, "build")
	cmd := exec.Command("make", append([]string{"-s", target, "BUILD=" + dir, "PACKAGEFLAGS="}, variables...)...)
	cmd.Dir = ".."
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return dir, string(out), err
}

// firstRelease makes the packages for Debian, once a run.
var firstRelease = sync.OnceValues(func() (dir string, err error) {
	dir, _, err = makePackages("deb", "RELEASE=1")
	return dir, err
})

// packaging is held while the Makefile packages: its targets share a directory.
var packaging sync.Mutex

// TestUnits holds how exposed the services are, as systemd sees it: at most 1.5 of 10.
func TestUnits(t *testing.T) {
	t.Parallel()
	for _, unit := range []string{"coredns-smimea.service", "smimea-ldap.service"} {
		path, err := filepath.Abs("../packaging/" + unit)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=15", path)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "Overall exposure level") {
			t.Errorf("%s: %v\n%s", unit, err, out)
		}
	}
}

// TestPackagePages has groff read the manual pages of the packages.
func TestPackagePages(t *testing.T) {
	t.Parallel()
	dir, err := firstRelease()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "groff", "-mdoc", "-Tutf8", "-ww", "-z", "../packaging/coredns-smimea.8").CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("coredns-smimea.8: %v\n%s", err, out)
	}
	out := command(t, "sh", "-ec", "zcat "+filepath.Join(dir, "package", "smimea-plugin.7.gz")+" | groff -t -man -Tutf8 -ww -P-cbou")
	out = strings.Join(strings.Fields(out), " ")
	for _, option := range []string{"SMIMEA-PLUGIN(7)", "smimea-plugin - publishes", "transfer_signed", "coredns_smimea_certificates{zone}", "HASH.p7c"} {
		if !strings.Contains(out, option) {
			t.Errorf("smimea-plugin(7) is without %q", option)
		}
	}
	// Every flag of the server is in its page.
	page, err := os.ReadFile("../packaging/coredns-smimea.8")
	if err != nil {
		t.Fatal(err)
	}
	help, _ := exec.CommandContext(t.Context(), filepath.Join(dir, "package", "coredns-smimea"), "-h").CombinedOutput() // its status is 2
	flags := regexp.MustCompile(`(?m)^  -([a-z-]+)\b`).FindAllStringSubmatch(string(help), -1)
	if len(flags) < 6 {
		t.Errorf("%d flags in\n%s", len(flags), help)
	}
	for _, m := range flags {
		if m[1] != "dns" && !strings.Contains(string(page), "Fl "+m[1]) { // -dns.port is -p
			t.Errorf("coredns-smimea(8) is without -%s", m[1])
		}
	}
}

// TestVersion holds that the server says what is in it.
func TestVersion(t *testing.T) {
	t.Parallel()
	dir, err := firstRelease()
	if err != nil {
		t.Fatal(err)
	}
	out := command(t, filepath.Join(dir, "package", "coredns-smimea"), "-version")
	if !strings.HasPrefix(out, "CoreDNS-1.15.0\n") || !strings.Contains(out, "smimea-0.1.0\n") {
		t.Errorf("-version says\n%s", out)
	}
}

// TestRPM holds what the packages for rpm have in them.
func TestRPM(t *testing.T) {
	t.Parallel()
	dir, said, err := makePackages("rpm", "RELEASE=1")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*-1.*.rpm"))
	if err != nil || len(files) != 2 {
		t.Fatalf("%d packages, %v\n%s", len(files), err, said)
	}
	out := command(t, "rpm", append([]string{"-qp", "--nosignature", "--qf", "%{NAME} %{VERSION}-%{RELEASE} %{ARCH}\n[%{FILENAMES} %{FILEFLAGS:fflags}\n][requires %{REQUIRENAME} %{REQUIREVERSION}\n]"}, files...)...)
	for _, want := range []string{
		"coredns-smimea 0.1.0-1 x86_64\n", "smimea 0.1.0-1 x86_64\n", "requires smimea 0.1.0-1\n",
		"/etc/coredns-smimea/Corefile cn\n", // configuration that an upgrade keeps
		"/usr/lib/systemd/system/coredns-smimea.service", "/usr/lib/systemd/system/smimea-ldap.socket",
		"/usr/share/man/man8/coredns-smimea.8.gz", "/usr/share/man/man7/smimea-plugin.7.gz",
		"/usr/share/man/man1/smimea.1.gz", "/usr/share/man/man5/smimea-json.5.gz",
		"/usr/share/zsh/site-functions/_smimea", "/usr/bin/coredns-smimea", "/usr/bin/smimea",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}
