package test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"coredns-smimea/internal/harness"
)

// TestOCI builds the image twice, has other programs look at it and unpack it, and runs
// it as a container: as nobody in particular, with a root that cannot be written to.
func TestOCI(t *testing.T) {
	t.Parallel()
	dir, first, err := makePackages("oci")
	if err != nil {
		t.Fatal(err)
	}
	_, second, err := makePackages("oci")
	if err != nil {
		t.Fatal(err)
	}
	if first != second || !strings.Contains(first, "sha256:") {
		t.Errorf("built twice:\n%s%s", first, second)
	}
	image := filepath.Join(dir, "oci") + ":latest"
	if said := command(t, "skopeo", "inspect", "--format", "{{.Digest}} {{.Os}}", "oci:"+image); !strings.Contains(first, strings.Fields(said)[0]) {
		t.Errorf("skopeo sees %s", said)
	}
	// The container's user is another one, and has to see what is mounted.
	bundle, config, state := filepath.Join(t.TempDir(), "bundle"), t.TempDir(), t.TempDir()
	open := func(dir string, mode os.FileMode) {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	open(filepath.Dir(config), 0o755)
	open(state, 0o777)
	unpack := []string{"umoci", "unpack", "--image", image, bundle}
	if os.Geteuid() != 0 {
		unpack = append(unpack, "--rootless")
	}
	command(t, unpack[0], unpack[1:]...)
	open(bundle, 0o755)
	var runtime struct {
		Process struct {
			Args []string
			Cwd  string
			User struct{ UID, GID int }
		}
	}
	text, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &runtime); err != nil {
		t.Fatal(err)
	}
	p := runtime.Process
	if p.User.UID == 0 || p.User.GID == 0 {
		t.Errorf("the image's user is root")
	}

	cert{addresses: []string{"alice@example.com"}}.write(t, filepath.Join(config, "certs", "alice.pem"))
	k := newKeys(t, "example.com.", signing{dns.ECDSAP256SHA256, false})
	base := strings.Fields(k.directive)[4]
	for _, ext := range []string{".key", ".private"} {
		b, err := os.ReadFile(base + ext)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(config, "zone"+ext), string(b))
	}
	addr := harness.Loopback(freePort(t))
	corefile := strings.ReplaceAll(block("_smimecert.example.com _smime.example.com", "dnssec {\nkey file /etc/coredns-smimea/zone\n}",
		"smimea /etc/coredns-smimea/certs {\nstate /var/lib/coredns-smimea/state\n}"), "PORT", portOf(addr))
	writeFile(t, filepath.Join(config, "Corefile"), corefile)

	args := []string{"bwrap", "--ro-bind", filepath.Join(bundle, "rootfs"), "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp",
		"--ro-bind", config, "/etc/coredns-smimea", "--bind", state, "/var/lib/coredns-smimea",
		"--unshare-all", "--share-net", "--die-with-parent", "--chdir", p.Cwd, "--clearenv"}
	if os.Geteuid() == 0 {
		// Bubblewrap itself would stay root outside of its user namespace.
		args = append([]string{"setpriv", "--reuid", "65532", "--regid", "65532", "--clear-groups", "--no-new-privs", "--bounding-set=-all"}, args...)
	} else {
		args = append(args, "--uid", "65532", "--gid", "65532")
	}
	args = append(args, "--cap-drop", "ALL", "--")
	args = append(args, p.Args...)
	log := &harness.Log{}
	if err := run(t, exec.Command(args[0], args[1:]...), log, addr); err != nil {
		t.Fatal(err)
	}
	m, _ := ask(t, addr, question{name: hashOwner("alice", "example.com."), qtype: dns.TypeSMIMEA, size: 1232, do: true})
	k.verify(t, "image", "_smimecert.example.com.", m.Answer)
	if len(m.Answer) != 2 {
		t.Errorf("alice's certificate:\n%s", m)
	}
	waitFor(t, "the state to be written", func() bool { return exists(filepath.Join(state, "state")) })
}
