package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/miekg/dns"

	"coredns-smimea/internal/harness"
)

// A machine is a Debian 12 with nothing on it but systemd, which runs. Its network is a
// loopback of its own.
type machine struct {
	*testing.T
	root string
	init int // the process number of its systemd, outside
	log  *harness.Log
}

// asRoot returns a command that root runs: with sudo, as make peers, if we are not.
func asRoot(args ...string) *exec.Cmd {
	if os.Geteuid() != 0 {
		args = append([]string{"sudo", "-n"}, args...)
	}
	return exec.Command(args[0], args[1:]...)
}

// newMachine makes a clean Debian and boots it.
func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{T: t, root: filepath.Join(t.TempDir(), "debian"), log: &harness.Log{}}
	mirror, _, _ := strings.Cut(command(t, "apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", "Component: main"), "\n")
	m.must(asRoot("mmdebstrap", "--quiet", "--variant=apt", "--include=systemd-sysv,dbus,openssl,rpm", "bookworm", m.root, mirror).CombinedOutput())
	t.Cleanup(func() { m.must(asRoot("rm", "-rf", "--one-file-system", m.root).CombinedOutput()) })

	boot := asRoot("systemd-nspawn", "--quiet", "--directory="+m.root, "--boot", "--register=no", "--keep-unit", "--private-network", "--link-journal=no")
	boot.Stdout, boot.Stderr = m.log, m.log
	boot.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := boot.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { boot.Wait(); close(done) }()
	t.Cleanup(func() {
		asRoot("kill", "-KILL", strconv.Itoa(m.init)).Run() // and all of the machine with it
		<-done
	})
	waitFor(t, "the machine to boot", func() bool {
		select {
		case <-done:
			t.Fatalf("systemd-nspawn ended:\n%s", m.log)
		default:
		}
		if m.init == 0 {
			m.init = findInit(boot.Process.Pid)
			return false
		}
		out, _ := m.command("systemctl", "is-system-running").CombinedOutput()
		return regexp.MustCompile(`^(running|degraded)`).Match(out)
	})
	return m
}

// findInit returns the process number of the systemd below nspawn, or 0.
func findInit(pid int) int {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return 0
	}
	if strings.TrimSpace(string(comm)) == "systemd" {
		return pid
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0
	}
	for _, child := range strings.Fields(string(children)) {
		n, err := strconv.Atoi(child)
		if err != nil {
			continue
		}
		if found := findInit(n); found != 0 {
			return found
		}
	}
	return 0
}

// command returns a command on the machine.
func (m *machine) command(args ...string) *exec.Cmd {
	return asRoot(append([]string{"nsenter", "--target", strconv.Itoa(m.init), "--all", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive"}, args...)...)
}

// sh runs a script on the machine, and returns what it prints.
func (m *machine) sh(script string) string {
	m.Helper()
	return m.must(m.command("sh", "-ec", script).CombinedOutput())
}

// must returns what a command has printed, or ends the test.
func (m *machine) must(out []byte, err error) string {
	m.Helper()
	if err != nil {
		if m.init != 0 {
			journal, _ := m.command("journalctl", "--no-pager", "-n", "40").CombinedOutput()
			m.Logf("the journal:\n%s", journal)
		}
		m.Fatalf("%v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// copy puts a file on the machine.
func (m *machine) copy(from, to string) {
	m.Helper()
	m.must(asRoot("cp", from, filepath.Join(m.root, to)).CombinedOutput())
}

// from returns a command with the machine's network, which is not on the machine.
func (m *machine) from(args ...string) *exec.Cmd {
	return asRoot(append([]string{"nsenter", "--target", strconv.Itoa(m.init), "--net"}, args...)...)
}

// ask asks the machine's server.
func (m *machine) ask(args ...string) string {
	m.Helper()
	return m.must(m.from(append([]string{"dig", "@127.0.0.1", "+noall", "+answer"}, args...)...).CombinedOutput())
}

// TestDebian installs the packages on a clean Debian, edits one line, and uses what there
// is: starts, reloads, upgrades, removes and purges.
func TestDebian(t *testing.T) {
	t.Parallel()
	first, err := firstRelease()
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := makePackages("deb", "RELEASE=2")
	if err != nil {
		t.Fatal(err)
	}
	files := func(dir, release string) []string {
		found, err := filepath.Glob(filepath.Join(dir, "*-"+release+"_*.deb"))
		if err != nil || len(found) != 2 {
			t.Fatalf("packages %q, %v", found, err)
		}
		return found
	}
	if out, err := exec.CommandContext(t.Context(), "lintian", append([]string{"--allow-root", "--fail-on", "error"}, files(first, "1")...)...).CombinedOutput(); err != nil {
		t.Errorf("lintian: %v\n%s", err, out)
	}

	// As docs/five-minutes.md has it, with one line of the Corefile edited.
	steps := scripts(t, "../docs/five-minutes.md", 6)
	m := newMachine(t)
	m.sh("mkdir /root/1 /root/2")
	for i, list := range [][]string{files(first, "1"), files(second, "2")} {
		for _, file := range list {
			m.copy(file, fmt.Sprintf("root/%d", i+1))
		}
	}
	m.sh("cd /root/1\n" + steps[0])
	if state := m.sh("systemctl is-active coredns-smimea || true"); state != "inactive" {
		t.Errorf("the service is %s after the installation", state)
	}
	key := m.sh("cat /etc/coredns-smimea/keys/zone.key")
	m.sh("cp /etc/coredns-smimea/Corefile /root/Corefile\n" + steps[1])
	if n := m.sh("diff /etc/coredns-smimea/Corefile /root/Corefile | grep -c '^<'"); n != "1" {
		t.Errorf("%s lines edited", n)
	}
	m.sh("cd /root\n" + steps[2])
	if said := m.sh(steps[3]); !strings.HasSuffix(said, "active") { // when systemctl returns, it serves
		t.Errorf("the service is %s", said)
	}
	for i, line := range strings.Split(strings.TrimSpace(steps[4]), "\n") {
		got := m.must(m.from("sh", "-ec", line).CombinedOutput())
		want := []string{"https://example.org/.well-known/smime/hugh.crt", "SMIMEA\t3 1 1"}[i]
		if !strings.Contains(got, want) || !strings.Contains(got, "RRSIG") {
			t.Errorf("%s:\n%s", line, got)
		}
	}
	if said := m.sh(steps[5]); strings.Count(said, " DS ") != 2 {
		t.Errorf("the DS records are\n%s", said)
	}
	if mode := m.sh("stat -c '%U %a' /etc/coredns-smimea/keys/zone.private"); mode != "root 600" {
		t.Errorf("the private key is %s", mode)
	}

	name := hashOwner("hugh", "example.org.")
	rr, err := dns.NewRR(key)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.ask("_smimecert.example.org", "DNSKEY", "+short"); !strings.HasPrefix(strings.ReplaceAll(got, " ", ""), strings.ReplaceAll(fmt.Sprint(rr.(*dns.DNSKEY).Flags, 3, 13, rr.(*dns.DNSKEY).PublicKey), " ", "")) {
		t.Errorf("DNSKEY %s, the key is %s", got, key)
	}
	// Its user is nobody's, its key is nobody's to read, and it may do nothing else.
	pid := m.sh("systemctl show -P MainPID coredns-smimea")
	status := m.sh("cat /proc/" + pid + "/status")
	for _, want := range []string{`(?m)^Uid:\t6\d{4}\b`, `(?m)^NoNewPrivs:\t1`, `(?m)^Seccomp:\t2`, `(?m)^CapEff:\t0000000000000400`} {
		if !regexp.MustCompile(want).MatchString(status) {
			t.Errorf("no %s in\n%s", want, status)
		}
	}
	if out, err := m.command("setpriv", "--reuid", "nobody", "--clear-groups", "cat", "/run/credentials/coredns-smimea.service/keys_zone.private").CombinedOutput(); err == nil {
		t.Errorf("nobody reads %d octets of the key", len(out))
	}

	// Reload.
	m.sh("sed -i 's/ns ns1.example.com/ns ns2.example.net/' /etc/coredns-smimea/Corefile; systemctl reload coredns-smimea")
	waitFor(t, "the reload", func() bool {
		return strings.Contains(m.ask("_smimecert.example.org", "NS", "+short"), "ns2.example.net.")
	})
	if now := m.sh("systemctl show -P MainPID coredns-smimea"); now != pid {
		t.Errorf("the reload took another process")
	}

	// Upgrade: what is running is the new one, and everything is as it was.
	config := m.sh("cat /etc/coredns-smimea/Corefile")
	m.sh("apt-get install -q -y --no-install-recommends /root/2/*.deb")
	if got := m.sh("dpkg-query -W -f '${Package} ${Version}\n' coredns-smimea smimea; cat /etc/coredns-smimea/Corefile /etc/coredns-smimea/keys/zone.key"); got != "coredns-smimea 0.1.0-2\nsmimea 0.1.0-2\n"+config+"\n"+key {
		t.Errorf("after the upgrade:\n%s\nbefore:\n%s\n%s", got, config, key)
	}
	if now := m.sh("systemctl show -P MainPID coredns-smimea"); now == pid || now == "0" {
		t.Errorf("process %s before the upgrade, %s after", pid, now)
	}
	if got := m.ask(name, "SMIMEA"); !strings.Contains(got, "SMIMEA") {
		t.Errorf("after the upgrade:\n%s", got)
	}

	// The gateway's socket listens.
	m.sh("systemctl enable --now smimea-ldap.socket")
	if state := m.sh("systemctl is-active smimea-ldap.socket"); state != "active" {
		t.Errorf("smimea-ldap.socket is %s", state)
	}
	if strings.Contains(m.sh("smimea help"), " ldap ") { // and who connects starts the service
		search := m.from("ldapsearch", "-x", "-LLL", "-H", "ldap://127.0.0.1:3890", "-s", "base", "-b", "", "+")
		if said := m.must(search.CombinedOutput()); !strings.Contains(said, "supportedLDAPVersion: 3") {
			t.Errorf("the gateway says\n%s", said)
		}
		if state := m.sh("systemctl is-active smimea-ldap.service"); state != "active" {
			t.Errorf("smimea-ldap.service is %s", state)
		}
	}
	// As the page has it, it serves others, with TLS.
	m.sh(`systemctl stop smimea-ldap.socket smimea-ldap.service
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -subj /CN=ldap -addext subjectAltName=IP:127.0.0.1 \
			-keyout /etc/ssl/private/ldap.key -out /etc/ssl/ldap.crt`)
	for i, drop := range blocks(t, strangers, "systemd", 2) {
		unit := []string{"socket", "service"}[i]
		file := filepath.Join(t.TempDir(), "many.conf")
		writeFile(t, file, drop)
		m.sh("mkdir /etc/systemd/system/smimea-ldap." + unit + ".d")
		m.copy(file, "etc/systemd/system/smimea-ldap."+unit+".d/many.conf")
	}
	m.sh("systemctl daemon-reload; systemctl enable --now smimea-ldap.socket")
	secure := m.from("env", "LDAPTLS_CACERT="+filepath.Join(m.root, "etc/ssl/ldap.crt"), "ldapsearch", "-x", "-LLL", "-H", "ldaps://127.0.0.1", "-s", "base", "-b", "", "+")
	if said := m.must(secure.CombinedOutput()); !strings.Contains(said, "supportedLDAPVersion: 3") {
		t.Errorf("the gateway says over TLS\n%s", said)
	}
	m.sh("rm -r /etc/systemd/system/smimea-ldap.*.d; systemctl daemon-reload; systemctl restart smimea-ldap.socket")

	for _, file := range []string{"/usr/share/bash-completion/completions/smimea", "/usr/share/zsh/vendor-completions/_smimea", "/usr/share/fish/vendor_completions.d/smimea.fish",
		"/usr/share/man/man1/smimea.1.gz", "/usr/share/man/man5/smimea-json.5.gz", "/usr/share/man/man7/smimea-plugin.7.gz", "/usr/share/man/man8/coredns-smimea.8.gz"} {
		if got := m.sh("dpkg -S " + file); !strings.Contains(got, "smimea: ") {
			t.Errorf("%s: %s", file, got)
		}
	}

	// Removed, it keeps its configuration; purged, nothing is left but what others put there.
	m.sh("apt-get remove -q -y coredns-smimea")
	if got := m.sh("systemctl is-active coredns-smimea || true; ls /etc/coredns-smimea"); got != "inactive\nCorefile\ncerts\nkeys" {
		t.Errorf("after the removal: %s", got)
	}
	m.sh("apt-get purge -q -y coredns-smimea smimea")
	if got := m.sh("find / -xdev -name '*coredns-smimea*' -not -path '/proc/*' -not -path '/root/*' -not -path '/var/log/*' -not -path '/sys/*' -o -xdev -name '*smimea-ldap*' -not -path '/sys/*'"); got != "/etc/coredns-smimea" {
		t.Errorf("after the purge there are: %s", got)
	}
	if got := m.sh("find /etc/coredns-smimea -type f"); got != "/etc/coredns-smimea/certs/hugh.crt" {
		t.Errorf("after the purge there are: %s", got)
	}
	// Where systemd does not run, as while an image is made, nothing is left either. Who has
	// a key of another name gets no second one.
	m.sh(`unshare --mount sh -ec 'mount -t tmpfs none /run
		dpkg -i /root/2/*.deb
		cd /etc/coredns-smimea/keys
		mv zone.key mine.key
		mv zone.private mine.private
		dpkg -i /root/2/*.deb
		test ! -e zone.key
		cd /
		systemctl enable coredns-smimea.service smimea-ldap.socket
		dpkg --purge coredns-smimea smimea'`)
	if got := m.sh("find /etc/systemd /var/lib -name '*smimea*'"); got != "" {
		t.Errorf("after the purge without systemd there are: %s", got)
	}
	m.withRPM(name)
}

// withRPM installs the packages for rpm on a machine that has none of ours, upgrades and
// erases them. That the machine is a Debian, whose rpm knows of no dependencies, is nothing
// to them.
func (m *machine) withRPM(owner string) {
	m.Helper()
	m.sh("rm -r /etc/coredns-smimea; mkdir /root/rpm1 /root/rpm2")
	for _, release := range []string{"1", "2"} {
		dir, _, err := makePackages("rpm", "RELEASE="+release)
		if err != nil {
			m.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(dir, "*-"+release+".*.rpm"))
		if err != nil || len(files) != 2 {
			m.Fatalf("packages %q, %v", files, err)
		}
		for _, file := range files {
			m.copy(file, "root/rpm"+release)
		}
	}
	const rpm = "rpm --force-debian --nodeps --nosignature "
	m.sh(rpm + "-i /root/rpm1/smimea-*.rpm /root/rpm1/coredns-smimea-*.rpm")
	if got := m.sh("systemctl is-active coredns-smimea || true; stat -c '%U %a' /etc/coredns-smimea/keys /etc/coredns-smimea/keys/zone.private"); got != "inactive\nroot 700\nroot 600" {
		m.Errorf("after the installation by rpm: %s", got)
	}
	m.sh(`sed -i 's/^_smimecert.example.com _smime.example.com/_smimecert.example.org _smime.example.org/' /etc/coredns-smimea/Corefile
		cp /root/hugh.crt /etc/coredns-smimea/certs
		systemctl enable --now coredns-smimea smimea-ldap.socket`)
	if got := m.ask(owner, "SMIMEA"); !strings.Contains(got, "SMIMEA") {
		m.Errorf("the server that rpm has installed says\n%s", got)
	}

	const kept = "cat /etc/coredns-smimea/Corefile /etc/coredns-smimea/keys/zone.key"
	before, pid := m.sh(kept), m.sh("systemctl show -P MainPID coredns-smimea")
	m.sh(rpm + "-U /root/rpm2/smimea-*.rpm /root/rpm2/coredns-smimea-*.rpm")
	if got := m.sh("rpm -q coredns-smimea smimea | sort; " + kept); got != "coredns-smimea-0.1.0-2.x86_64\nsmimea-0.1.0-2.x86_64\n"+before {
		m.Errorf("after the upgrade by rpm:\n%s\nbefore:\n%s", got, before)
	}
	if now := m.sh("systemctl show -P MainPID coredns-smimea"); now == pid || now == "0" {
		m.Errorf("process %s before the upgrade by rpm, %s after", pid, now)
	}

	m.sh(rpm + "-e coredns-smimea smimea")
	if got := m.sh(`systemctl is-active coredns-smimea smimea-ldap.socket || true
		find / -xdev -name '*smimea*' -not -path '/proc/*' -not -path '/root/*' -not -path '/var/*' -not -path '/sys/*' -not -path '/tmp/*'
		cd /etc/coredns-smimea; find . -type f | sort`); got != "inactive\ninactive\n/etc/coredns-smimea\n./Corefile.rpmsave\n./certs/hugh.crt\n./keys/zone.key\n./keys/zone.private" {
		m.Errorf("after rpm has erased them: %s", got)
	}
}
