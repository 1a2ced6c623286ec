package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestPublish changes the directory under a running server.
func TestPublish(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "alice.pem")
	bob := cert{addresses: []string{"bob@example.com"}}
	bob.write(t, filepath.Join(dir, "bob.pem"))
	s := startServer(t, block("_smimecert.example.com _smime.example.com", "smimea "+dir+" {\nreload 1s\nttl 1s\n}"))
	serial := func() uint32 {
		m, _ := ask(t, s.addr, question{name: "_smimecert.example.com.", qtype: dns.TypeSOA})
		return m.Answer[0].(*dns.SOA).Serial
	}
	digest := func() string {
		m, _ := ask(t, s.addr, question{name: hashOwner("alice", "example.com."), qtype: dns.TypeSMIMEA})
		if len(m.Answer) == 0 {
			return dns.RcodeToString[m.Rcode]
		}
		return m.Answer[0].(*dns.SMIMEA).Certificate
	}
	before := serial()
	step := func(what string, change func() (want string)) {
		t.Helper()
		want := change()
		waitFor(t, what, func() bool { return digest() == want })
		now := serial()
		if int32(now-before) <= 0 { // RFC 1982
			t.Errorf("%s: serial %d after %d", what, now, before)
		}
		before = now
	}
	if got := digest(); got != "NXDOMAIN" {
		t.Errorf("alice before her certificate: %s", got)
	}
	write := func(path string) string {
		cert{addresses: []string{"alice@example.com"}}.write(t, path)
		return opensslData(t, path, 1, 1)
	}
	step("a new file", func() string { return write(path) })
	step("the file written anew", func() string { return write(path) })
	step("another file in its place", func() string {
		want := write(path + ".new")
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		return want
	})
	step("the file gone", func() string {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		return "NXDOMAIN"
	})
	step("a file in a new directory", func() string { return write(filepath.Join(dir, "new", "deep", "alice.pem")) })
	step("the directory gone", func() string {
		if err := os.RemoveAll(filepath.Join(dir, "new")); err != nil {
			t.Fatal(err)
		}
		return "NXDOMAIN"
	})
	m, _ := ask(t, s.addr, question{name: hashOwner("bob", "example.com."), qtype: dns.TypeSMIMEA})
	if len(m.Answer) != 1 {
		t.Errorf("bob, whom nobody touched: %s", m)
	}
}

// TestExpiry holds that certificates are withdrawn their TTL before they end, each at its
// time, by themselves.
func TestExpiry(t *testing.T) {
	t.Parallel()
	// A whole TTL is left to be late, and not a second to be early.
	const ttl = time.Hour
	l := &liveDir{T: t, dir: t.TempDir()}
	l.addr = startServer(t, block("example.com", fmt.Sprintf("smimea %s {\nttl %s\nreload 1h\n}", l.dir, ttl))).addr
	l.write("stays.pem", "stays")
	var ends []time.Time
	for i := range 3 {
		ends = append(ends, l.ending(local(i)+".pem", local(i), ttl, func() {}))
	}
	for i, end := range ends {
		name := local(i)
		waitFor(t, name+" to go", func() bool { return l.served(name) == gone })
		if early := time.Until(end.Add(-ttl)); early > 0 {
			t.Errorf("%s is gone %s early", name, early)
		}
	}
	if l.served("stays") == gone {
		t.Error("another one is gone with them")
	}
}

// TestLeftOut holds that the log says once of each file that is left out why, and
// nobody's address.
func TestLeftOut(t *testing.T) {
	dir := t.TempDir()
	users(t, dir, "example.com")
	s := startProcess(t, "", block("example.com", "smimea "+dir+" {\nreload 1s\n}"))
	// Two changes that are published have been two looks at least.
	for _, local := range []string{"one", "two"} {
		cert{addresses: []string{local + "@example.com"}}.write(t, filepath.Join(dir, local+".pem"))
		waitFor(t, local, func() bool {
			m, _ := ask(t, s.addr, question{name: hashOwner(local, "example.com."), qtype: dns.TypeSMIMEA})
			return len(m.Answer) == 1
		})
	}
	log := s.log.String()
	for file, reason := range map[string]string{
		"expired.pem":         "expired",
		"authority.pem":       "authority",
		"server.pem":          "mail",
		"no-address.pem":      "address",
		"rubbish.pem":         "certificate",
		"secret.pem":          "private key",
		"ends-within-ttl.pem": "expire",
	} {
		var lines []string
		for line := range strings.Lines(log) {
			if strings.Contains(line, "/"+file) || strings.Contains(line, `"`+file) {
				lines = append(lines, line)
			}
		}
		if len(lines) != 1 || !strings.Contains(lines[0], reason) {
			t.Errorf("%s: %d lines, want one with %q: %q", file, len(lines), reason, lines)
		}
	}
	for line := range strings.Lines(log) {
		if strings.Contains(line, "@example.com") || strings.Contains(line, hashOwner("alice", "")) {
			t.Errorf("an address in the log: %s", line)
		}
		if strings.Contains(line, "secret.pem") && !strings.Contains(line, "ERROR") && !strings.Contains(line, "WARNING") {
			t.Errorf("a private key is not loud: %s", line)
		}
	}
}
