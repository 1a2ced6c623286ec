package test

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"coredns-smimea/internal/harness"
)

// TestLDAPDaemon runs smimea ldap as systemd does: with sockets that are open
// already, and told of what it does.
func TestLDAPDaemon(t *testing.T) {
	t.Parallel()
	c := newCorrespondence(t)
	cert, key := c.root.server(t)
	var sockets []*os.File
	var addrs []string
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, l.Addr().String())
		l.Close()
		defer f.Close()
		sockets = append(sockets, f)
	}
	told, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()
	metrics := harness.Loopback(freePort(t))
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh", builtCommand(t), "ldap", "-server", c.direct, "-anchor", c.anchors, "-roots", c.roots,
		"-allow-private", "-v", "-tls-cert", cert, "-tls-key", key, "-metrics", metrics)
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+c.trust, "LISTEN_FDS=2", "LISTEN_FDNAMES=ldap:ldaps", "NOTIFY_SOCKET="+told.LocalAddr().String())
	cmd.ExtraFiles = sockets
	log := &harness.Log{}
	p, err := harness.Start(cmd, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	hears := func(want string) {
		t.Helper()
		told.SetReadDeadline(time.Now().Add(harness.Patience))
		for message := make([]byte, 4096); ; {
			n, err := told.Read(message)
			if err != nil {
				t.Fatalf("waiting for %q: %v\n%s", want, err, log)
			}
			if strings.HasPrefix(string(message[:n]), want) {
				return
			}
		}
	}
	hears("READY=1")

	for _, url := range []string{"ldap://" + addrs[0], "ldaps://" + addrs[1]} {
		if out, code := ldapsearch(t, []string{"LDAPTLS_CACERT=" + c.roots}, "-x", "-H", url, "(mail=hugh@example.com)", "mail"); code != 0 || !strings.Contains(out, "mail: hugh@example.com") {
			t.Errorf("%s: %d\n%s", url, code, out)
		}
	}
	hears("STATUS=0 connections, 2 searches answered; looked up: 1 verified")
	page := command(t, "curl", "-sS", "--noproxy", "*", "http://"+metrics+"/metrics")
	for _, want := range []string{`smimea_ldap_searches_total{code="0"} 2`, `smimea_ldap_entries_total 2`, `smimea_ldap_lookups_total{verdict="verified"} 1`, `smimea_ldap_connections 0`} {
		if !strings.Contains(page, want+"\n") {
			t.Errorf("no %s in\n%s", want, page)
		}
	}
	if !strings.Contains(log.String(), "hugh@example.com: verified") {
		t.Errorf("-v does not tell of the look-up:\n%s", log)
	}

	// A new certificate counts from the next connection on, a broken one does not.
	if err := os.WriteFile(cert, []byte("rubbish"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd.Process.Signal(syscall.SIGHUP)
	waitFor(t, "the broken certificate", func() bool { return strings.Contains(log.String(), "the TLS certificate stays as it is") })
	newCert, newKey := c.root.server(t)
	for from, to := range map[string]string{newCert: cert, newKey: key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "the new certificate", func() bool { return strings.Contains(log.String(), "the TLS certificate was read again") })
	written, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", addrs[1], &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if block, _ := pem.Decode(written); !bytes.Equal(block.Bytes, conn.ConnectionState().PeerCertificates[0].Raw) {
		t.Error("the certificate is not the new one")
	}
	if out, code := ldapsearch(t, []string{"LDAPTLS_CACERT=" + c.roots}, "-x", "-H", "ldaps://"+addrs[1], "(mail=hugh@example.com)", "mail"); code != 0 {
		t.Errorf("%d\n%s", code, out)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	hears("STOPPING=1")
}

// TestLDAPSocket has systemd open what cannot be listened on.
func TestLDAPSocket(t *testing.T) {
	t.Parallel()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	f, err := conn.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh", builtCommand(t), "ldap", "-world=false", "-dir", t.TempDir())
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=smimea-ldap.socket")
	cmd.ExtraFiles = []*os.File{f}
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 66 || !strings.Contains(string(out), `the socket "smimea-ldap.socket" that systemd has opened cannot be listened on`) {
		t.Errorf("%d\n%s", code, out)
	}
}

// TestLDAPSlow holds that a search is answered before its look-up ends, where a resolver
// does not answer at all, and that this is not "none".
func TestLDAPSlow(t *testing.T) {
	t.Parallel()
	c := newCorrespondence(t)
	l, silent, err := harness.Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	defer silent.Close()
	g := c.gateway(t, silent.LocalAddr().String())
	// Each asks for another one: how a look-up ends, after twice as long, is known to all.
	for user, test := range []struct {
		args []string
		code int
	}{{nil, 51}, {[]string{"-l", "1"}, 3}, {nil, 51}} {
		out, code := ldapsearchOnce(t, nil, append(test.args, "-x", "-H", "ldap://"+g.addr, fmt.Sprintf("(mail=user%d@example.com)", user))...)
		if code != test.code || strings.Contains(out, "dn:") {
			t.Errorf("%d; want %d\n%s", code, test.code, out)
		}
	}
	// Of a fragment nothing is looked up.
	if out, code := ldapsearchOnce(t, nil, "-x", "-H", "ldap://"+g.addr, "(|(cn=*hu*)(mail=*hu*)(givenName=*hu*)(sn=*hu*))"); code != 0 || out != "" {
		t.Errorf("a fragment: %d\n%s", code, out)
	}
}
