package test

import (
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/internal/harness"
	"coredns-smimea/internal/pebble"
)

// acmeOptions are those of the directive for a certificate of these names from ca.
// Storage "" is the default one.
func acmeOptions(w *web, ca *pebble.CA, storage, names string) string {
	options := fmt.Sprintf("https %s\nacme %s\nacme_email hostmaster@example.com\nacme_ca %s\nacme_root %s", w.addr, names, ca.URL(), ca.RootFile)
	if storage != "" {
		options += "\nacme_storage " + storage
	}
	return options
}

// certified waits until the host shows a certificate of the CA's for a name, and
// returns its serial.
func (w *web) certified(t *testing.T, ca *pebble.CA, name string) (serial string) {
	t.Helper()
	var last error
	defer func() {
		if t.Failed() {
			t.Logf("certificate for %s: %v", name, last)
		}
	}()
	waitFor(t, "a certificate for "+name, func() bool {
		state, err := w.handshake(name)
		if err == nil {
			if err = ca.Verify(state, name); err == nil {
				serial = state.PeerCertificates[0].SerialNumber.String()
			}
		}
		last = err
		return err == nil
	})
	return serial
}

// trustCA lets curl trust what a CA issues.
func (w *web) trustCA(t *testing.T, ca *pebble.CA) {
	t.Helper()
	w.trust = filepath.Join(t.TempDir(), "root.pem")
	writeFile(t, w.trust, string(ca.Root()))
}

// month is a validity with which nothing is due soon: pebble says of a certificate of
// an hour that it is due within the first minutes.
const month = 30 * 24 * time.Hour

func nobody(string) []string { return nil }

// TestACME starts while the CA is down: the DNS answers, the host has no certificate
// until the CA is up. Reloads keep it.
func TestACME(t *testing.T) {
	dir, storage := t.TempDir(), t.TempDir()
	cert{addresses: []string{"alice@example.com"}}.write(t, filepath.Join(dir, "alice.pem"))
	ca := pebble.New(t, nil, month)
	w := &web{addr: harness.Loopback(freePort(t))}
	options := acmeOptions(w, ca, storage, "example.com")
	s := startServer(t, block("example.com", smimea(dir, options))) // or it would wait for a CA that never comes
	if m, _ := ask(t, s.addr, question{name: hashOwner("alice", "example.com."), qtype: dns.TypeSMIMEA}); len(m.Answer) != 1 {
		t.Errorf("with the CA down:\n%s", m)
	}
	if _, err := w.handshake("example.com"); err == nil {
		t.Error("a handshake succeeds before there is a certificate")
	}
	ca.Validate(w.addr, pebble.Resolver(t, nobody))
	first := w.certified(t, ca, "example.com")
	w.trustCA(t, ca)
	if code := w.status(t, fileURL("example.com", "alice.pem")); code != "200" {
		t.Errorf("over the CA's certificate: %s", code)
	}
	for range 3 {
		s.reload(t, block("example.com", smimea(dir, options)))
		if got := w.shown("example.com"); got != first {
			t.Errorf("after a reload: %s, want %s", got, first)
		}
	}
	if n := ca.Orders(); n != 1 {
		t.Errorf("%d orders, want 1", n)
	}
}

// TestACMERenewal has a certificate that is due as soon as it is there.
func TestACMERenewal(t *testing.T) {
	dir := t.TempDir()
	cert{addresses: []string{"alice@example.com"}}.write(t, filepath.Join(dir, "alice.pem"))
	ca := pebble.New(t, nil, 10*time.Second)
	w := &web{addr: harness.Loopback(freePort(t))}
	ca.Validate(w.addr, pebble.Resolver(t, nobody))
	options := acmeOptions(w, ca, t.TempDir(), "renewal.example.com")
	const renewed = `coredns_smimea_acme_events_total{event="renewed"}`
	before := gather(t)[renewed]
	startServer(t, block("example.com", smimea(dir, options)))
	// Prometheus sees the first of each, since there is a counter before.
	for _, event := range []string{"obtaining", "obtained", "renewing", "renewed", "failed", "renewal_failed", "challenge", "ca_unreachable"} {
		if _, ok := gather(t)[fmt.Sprintf("coredns_smimea_acme_events_total{event=%q}", event)]; !ok {
			t.Errorf("%s is not counted from the beginning", event)
		}
	}
	waitFor(t, "renewal", func() bool { return gather(t)[renewed] > before })
	w.certified(t, ca, "renewal.example.com")
	if n := ca.Orders(); n < 2 {
		t.Errorf("%d orders", n)
	}
}

// TestACMEDNS has the CA ask for DNS-01 challenges through a validating resolver, so
// that it sees only what is signed by the zone they are in.
func TestACMEDNS(t *testing.T) {
	k := newKeys(t, "example.com.", signing{dns.ECDSAP256SHA256, true})
	db := filepath.Join(t.TempDir(), "db.example.com")
	writeFile(t, db, exampleZone(1, 900))
	for name, corefile := range map[string]func(smimea string) string{
		"whole zone":  func(s string) string { return block("example.com", k.directive, s) },
		"beside file": func(s string) string { return block("example.com", k.directive, "cache", s, "file "+db) },
		"file, before": func(s string) string {
			return block("example.com", k.directive, "cache", "file "+db) + block("_smimecert.example.com _smime.example.com", k.directive, s)
		},
		"file, after": func(s string) string {
			return block("_smimecert.example.com _smime.example.com", k.directive, s) + block("example.com", k.directive, "cache", "file "+db)
		},
		"another's smimea": func(s string) string {
			return block("example.com", k.directive, "cache", "smimea "+t.TempDir()) + block("example.org", s)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cert{addresses: []string{"alice@example.com", "alice@example.org"}}.write(t, filepath.Join(dir, "alice.pem"))
			ca := pebble.New(t, nil, month)
			key := []byte("a key of external account binding, 32 octets or more")
			hmac := filepath.Join(dir, "hmac")
			writeFile(t, hmac, base64.RawURLEncoding.EncodeToString(key)+"\n")
			ca.RequireAccount("kid-1", key)
			w := &web{addr: harness.Loopback(freePort(t))}
			options := acmeOptions(w, ca, t.TempDir(), "example.com *.example.com deep.certs.example.com") + "\nacme_challenge dns\nacme_eab kid-1 " + hmac
			s := startServer(t, corefile(smimea(dir, options)))
			resolver := startUnbound(t, []zoneAt{{"example.com.", s.addr, k.anchors("example.com.")}},
				"qname-minimisation-strict: yes", "use-caps-for-id: yes", "harden-below-nxdomain: yes", "aggressive-nsec: yes")
			owner := "_acme-challenge.example.com."
			// Who asked before the challenge was there must not hide it.
			ask(t, resolver, question{name: owner, qtype: dns.TypeA, size: 1232, do: true, rd: true})
			for _, do := range []bool{false, true} { // for cache
				ask(t, s.addr, question{name: owner, qtype: dns.TypeTXT, size: 1232, do: do})
			}
			// Every answer while the challenge is there validates. The CA does not see it
			// before this test has.
			seen := make(chan struct{})
			first := sync.OnceFunc(func() { close(seen) })
			next := func() string {
				select {
				case <-seen:
				case <-t.Context().Done():
				}
				return resolver
			}
			ca.Validate("", relay(t, next, func(query []byte) ([]byte, error) { return exchange(next(), "udp", query, lostAfter) }))
			waitFor(t, "a certificate", func() bool {
				q := question{name: owner, qtype: dns.TypeTXT, size: 1232, do: true}
				if m, _ := ask(t, s.addr, q); len(m.Answer) > 0 && !strings.Contains(m.Answer[0].String(), "spf1") {
					k.verify(t, q.String(), "example.com.", m.Answer)
					first()
				}
				_, err := w.handshake("example.com")
				return err == nil
			})
			w.certified(t, ca, "example.com")
			w.certified(t, ca, "www.example.com")
			w.certified(t, ca, "deep.certs.example.com")
			w.trustCA(t, ca)
			if code := w.status(t, hashURL("example.com", "alice", ".crt")+"?domain=example.org"); name == "another's smimea" && code != "200" {
				t.Errorf("over the CA's certificate: %s", code)
			}
			waitFor(t, "the challenge to go", func() bool {
				m, _ := ask(t, s.addr, question{name: owner, qtype: dns.TypeTXT, size: 1232, do: true})
				return len(m.Answer) == 0 || strings.Contains(m.Answer[0].String(), "spf1") // the zone's wildcard
			})
		})
	}
}

// TestACMEOfTLS has CoreDNS's tls directive get the certificate, whose challenge lies
// in our zone, and the host use it. SIGUSR1 ends that, as README.md says: if it does not
// any more, the README is to be changed.
func TestACMEOfTLS(t *testing.T) {
	dir := t.TempDir()
	cert{addresses: []string{"alice@example.com"}}.write(t, filepath.Join(dir, "alice.pem"))
	k := newKeys(t, "example.com.", signing{dns.ECDSAP256SHA256, false})
	ca := pebble.New(t, nil, month)
	w := &web{addr: harness.Loopback(freePort(t))}
	directive := fmt.Sprintf("tls {\nacme example.com\nemail hostmaster@example.com\nca %s\nca_root %s\nstorage %s\nresolver 127.0.0.1:PORT\n}", ca.URL(), ca.RootFile, t.TempDir())
	corefile := block("example.com", k.directive, directive, smimea(dir, "https "+w.addr))
	// It begins as soon as the server is up, and waits long if it fails.
	var s *server
	up := make(chan struct{})
	ca.Validate("", pebble.Resolver(t, func(name string) (values []string) {
		<-up
		m, err := exchangeMsg(s.addr, question{name: dns.Fqdn(name), qtype: dns.TypeTXT, size: 1232, do: true})
		if err != nil {
			t.Errorf("asking for the challenge: %v", err)
			return nil
		}
		k.verify(t, "challenge", "example.com.", m.Answer)
		for _, rr := range m.Answer {
			if txt, ok := rr.(*dns.TXT); ok {
				values = append(values, txt.Txt...)
			}
		}
		return values
	}))
	s = startProcess(t, "", corefile)
	close(up)
	waitFor(t, "a certificate by tls", func() bool {
		state, err := w.handshake("example.com")
		return err == nil && ca.Verify(state, "example.com") == nil
	})
	w.trustCA(t, ca)
	if code := w.status(t, fileURL("example.com", "alice.pem")); code != "200" {
		t.Errorf("over the certificate of tls: %s", code)
	}
	s.signal(t, corefile, "Reloading complete", 1)
	if _, err := w.handshake("example.com"); err == nil {
		t.Error("after SIGUSR1 tls still has a certificate")
	}
	m, _ := ask(t, s.addr, question{name: hashOwner("alice", "example.com."), qtype: dns.TypeSMIMEA})
	if len(m.Answer) != 1 {
		t.Errorf("the DNS after it:\n%s", m)
	}
}

// TestACMESignals sends the real binary SIGUSR1, after which tls's ACME is dead: ours
// serves on, and gets certificates for names that are new in the Corefile.
func TestACMESignals(t *testing.T) {
	dir, home := t.TempDir(), t.TempDir()
	cert{addresses: []string{"alice@example.com"}}.write(t, filepath.Join(dir, "alice.pem"))
	ca := pebble.New(t, nil, month)
	w := &web{addr: harness.Loopback(freePort(t))}
	ca.Validate(w.addr, pebble.Resolver(t, nobody))
	corefile := func(names string) string {
		return block("example.com", smimea(dir, acmeOptions(w, ca, "", names)))
	}
	s := startProcess(t, home, corefile("example.com"))
	first := w.certified(t, ca, "example.com")
	for i, names := range []string{"example.com", "example.com www.example.com", "example.com www.example.com", "mail.example.com example.com"} {
		s.signal(t, corefile(names), "Reloading complete", i+1)
		for _, name := range strings.Fields(names) {
			if got := w.certified(t, ca, name); name == "example.com" && got != first {
				t.Errorf("reload %d: another certificate", i+1)
			}
		}
	}
	if n := ca.Orders(); n != 3 {
		t.Errorf("%d orders, want one for each name", n)
	}
	if n := lines(s.log, "ERROR"); n > 0 {
		t.Errorf("errors:\n%s", s.log)
	}
	if info, err := os.Stat(filepath.Join(home, ".coredns", "acme")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the default storage: %v, %v", info, err)
	}
}

// signal puts another Corefile into force in a process by SIGUSR1, and waits until
// the log says so for the nth time.
func (s *server) signal(t *testing.T, corefile, says string, n int) {
	t.Helper()
	writeFile(t, s.cmd.Args[2], strings.ReplaceAll(corefile, "PORT", portOf(s.addr)))
	if err := s.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	waitFor(t, says, func() bool { return strings.Count(s.log.String(), says) >= n })
}

// TestACMERestart has a certificate in the storage that is due, and a CA that is down:
// it is served, and renewed when the CA is back.
func TestACMERestart(t *testing.T) {
	dir, storage := t.TempDir(), t.TempDir()
	cert{addresses: []string{"alice@example.com"}}.write(t, filepath.Join(dir, "alice.pem"))
	ca := pebble.New(t, nil, 6*time.Second)
	w := &web{addr: harness.Loopback(freePort(t))}
	resolver := pebble.Resolver(t, nobody)
	ca.Validate(w.addr, resolver)
	options := acmeOptions(w, ca, storage, "example.com")
	t.Run("first", func(t *testing.T) { // whose end is the process's
		startProcess(t, "", block("example.com", smimea(dir, options)))
		w.certified(t, ca, "example.com")
	})
	files, err := filepath.Glob(filepath.Join(storage, "certificates", "*", "example.com", "example.com.crt"))
	if err != nil || len(files) != 1 {
		t.Fatalf("in the storage: %v, %v", files, err)
	}
	if info, err := os.Stat(strings.TrimSuffix(files[0], ".crt") + ".key"); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the key in the storage: %v, %v", info, err)
	}
	first := serialOf(t, files[0])
	leaf, err := x509.ParseCertificate(derOf(t, files[0]))
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "its end", func() bool { return time.Now().After(leaf.NotAfter) })
	ca.Pause(true)
	startProcess(t, "", block("example.com", smimea(dir, options)))
	if got := w.shown("example.com"); got != first {
		t.Errorf("with the CA down: %s, want what is in the storage", got)
	}
	ca.Pause(false)
	waitFor(t, "renewal", func() bool { return len(w.shown("example.com")) > 0 && w.shown("example.com") != first })
	w.certified(t, ca, "example.com")
}
