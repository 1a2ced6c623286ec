package test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/internal/harness"
)

// A liveDir is a directory of certificates under a running server.
type liveDir struct {
	*testing.T
	dir  string
	addr string
}

func (l *liveDir) at(path string) string { return filepath.Join(l.dir, filepath.FromSlash(path)) }

// write writes a new certificate for one user, and returns what is to be
// published of it.
func (l *liveDir) write(path, local string) string {
	l.Helper()
	cert{addresses: []string{local + "@example.com"}}.write(l, l.at(path))
	return opensslData(l.T, l.at(path), 1, 1)
}

func (l *liveDir) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func (l *liveDir) rename(from, to string)   { l.Helper(); l.must(os.Rename(l.at(from), l.at(to))) }
func (l *liveDir) remove(path string)       { l.Helper(); l.must(os.RemoveAll(l.at(path))) }
func (l *liveDir) link(target, path string) { l.Helper(); l.must(os.Symlink(target, l.at(path))) }

// ending writes a certificate that is to be withdrawn in some seconds, its TTL before it
// ends, and returns its end once it has been served both before and after seen. On a slow
// machine it is withdrawn before that: then the next one lasts longer.
func (l *liveDir) ending(path, local string, ttl time.Duration, seen func()) (end time.Time) {
	l.Helper()
	for last := 4 * time.Second; last < harness.Patience; last *= 2 {
		end = time.Now().Add(ttl + last).Truncate(time.Second)
		cert{addresses: []string{local + "@example.com"}, notAfter: end}.write(l, l.at(path))
		data := opensslData(l.T, l.at(path), 1, 1)
		is := func() bool { return l.served(local) == data }
		if harness.Wait(last, nil, is) {
			if seen(); is() {
				return end
			}
		}
	}
	l.Fatalf("%s is never published", path)
	return end
}

// served returns what the server has of a user: the data of the SMIMEA records,
// or the name of the rcode.
func (l *liveDir) served(local string) string {
	l.Helper()
	m, _ := ask(l, l.addr, question{name: hashOwner(local, "example.com."), qtype: dns.TypeSMIMEA})
	if len(m.Answer) == 0 {
		return dns.RcodeToString[m.Rcode]
	}
	var data []string
	for _, rr := range m.Answer {
		data = append(data, rr.(*dns.SMIMEA).Certificate)
	}
	return strings.Join(data, " ")
}

const gone = "NXDOMAIN"

// wait waits until users are served as wanted.
func (l *liveDir) wait(what string, want map[string]string) {
	l.Helper()
	for local, data := range want {
		waitFor(l.T, what+": "+local, func() bool { return l.served(local) == data })
	}
}

// waitFor is wait for certificates that others may be served beside: those of before,
// for a TTL.
func (l *liveDir) waitFor(what string, want map[string]string) {
	l.Helper()
	for local, data := range want {
		waitFor(l.T, what+": "+local, func() bool { return slices.Contains(strings.Fields(l.served(local)), data) })
	}
}

// serial returns that of a zone.
func (l *liveDir) serial(zone string) uint32 {
	l.Helper()
	m, _ := ask(l, l.addr, question{name: zone, qtype: dns.TypeSOA})
	if len(m.Answer) != 1 {
		l.Fatalf("no SOA of %s: %s", zone, m)
	}
	return m.Answer[0].(*dns.SOA).Serial
}

// TestLiveEvents does to the directory what can be done to one and waits for the
// answer: by notifications alone, and by looks alone.
func TestLiveEvents(t *testing.T) {
	for how, options := range map[string]string{
		"notified": "reload 1h",
		"looks":    "reload 200ms\nwatch off",
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			l := &liveDir{T: t, dir: filepath.Join(root, "certs")}
			bob := l.write("bob.pem", "bob")
			l.write("sub/carol.pem", "carol")
			s := startServer(t, block("_smimecert.example.com _smime.example.com", "smimea "+l.dir+" {\nttl 1s\n"+options+"\n}"))
			l.addr = s.addr
			before := l.serial("_smimecert.example.com.")
			// change does something that is to be seen, as a rise of the serial too.
			change := func(what string, do func() map[string]string) {
				t.Helper()
				l.wait(what, do())
				now := l.serial("_smimecert.example.com.")
				if int32(now-before) <= 0 { // RFC 1982
					t.Errorf("%s: serial %d after %d", what, now, before)
				}
				before = now
			}
			type want = map[string]string
			change("created", func() want { return want{"alice": l.write("alice.pem", "alice")} })
			change("renamed over", func() want {
				data := l.write("alice.pem.tmp", "alice")
				l.rename("alice.pem.tmp", "alice.pem")
				return want{"alice": data}
			})
			change("rewritten in place", func() want { return want{"alice": l.write("alice.pem", "alice")} })
			change("a second certificate, then the first is deleted", func() want {
				first, second := l.served("alice"), l.write("alice2.pem", "alice")
				waitFor(t, "both", func() bool { return l.served("alice") == first+" "+second || l.served("alice") == second+" "+first })
				l.remove("alice.pem")
				return want{"alice": second}
			})
			change("deleted", func() want { l.remove("alice2.pem"); return want{"alice": gone} })
			change("in new directories", func() want { return want{"alice": l.write("a/b/c/alice.pem", "alice")} })
			change("moved out", func() want { l.must(os.Rename(l.at("a"), filepath.Join(root, "a"))); return want{"alice": gone} })
			change("moved in", func() want {
				l.must(os.Rename(filepath.Join(root, "a"), l.at("a")))
				return want{"alice": opensslData(t, l.at("a/b/c/alice.pem"), 1, 1)}
			})
			change("a directory replaced by another", func() want {
				data := l.write(".next/b/c/dave.pem", "dave")
				l.rename("a", ".old")
				l.rename(".next", "a")
				return want{"alice": gone, "dave": data}
			})
			change("directory deleted", func() want { l.remove("a"); return want{"dave": gone} })
			change("Kubernetes mounts", func() want {
				k, k2 := l.write("..1/kate.pem", "kate"), l.write("..1/sub/kurt.pem", "kurt")
				l.link("..1", "..data")
				l.link("..data/kate.pem", "kate.pem")
				l.link("..data/sub", "ksub")
				return want{"kate": k, "kurt": k2}
			})
			change("Kubernetes switches", func() want {
				k, k2 := l.write("..2/kate.pem", "kate"), l.write("..2/sub/klaus.pem", "klaus")
				l.link("..2", "..data_tmp")
				l.rename("..data_tmp", "..data")
				l.remove("..1")
				return want{"kate": k, "kurt": gone, "klaus": k2}
			})

			// Torn: what was there stays, and the next whole certificate comes.
			alice := l.write("alice.pem", "alice")
			l.wait("whole", want{"alice": alice})
			before = l.serial("_smimecert.example.com.")
			for _, torn := range []string{"", "-----BEGIN CERTIFICATE-----\nMIIB"} {
				l.must(os.WriteFile(l.at("alice.pem"), []byte(torn), 0o644))
				// Another change that is seen has been seen after it.
				l.wait("after torn", want{"erin": l.write("erin.pem", "erin")})
				if got := l.served("alice"); got != alice {
					t.Errorf("alice, torn: %s", got)
				}
			}
			change("whole again", func() want { return want{"alice": l.write("alice.pem", "alice")} })

			// DIR itself.
			data := ""
			change("DIR replaced", func() want {
				other := &liveDir{T: t, dir: filepath.Join(root, "other")}
				data = other.write("fred.pem", "fred")
				l.must(os.Rename(l.dir, filepath.Join(root, "was")))
				l.must(os.Rename(other.dir, l.dir))
				return want{"fred": data, "bob": gone, "alice": gone}
			})
			l.must(os.Rename(l.dir, filepath.Join(root, "away")))
			if got := l.served("fred"); got != data {
				t.Errorf("fred, with DIR gone: %s", got)
			}
			change("DIR is a link", func() want {
				l.must(os.Symlink("was", l.dir))
				return want{"fred": gone, "bob": bob}
			})
			change("DIR is another link", func() want {
				l.must(os.Symlink("away", l.dir+".tmp"))
				l.must(os.Rename(l.dir+".tmp", l.dir))
				return want{"fred": data, "bob": gone}
			})
			change("in what the link leads to", func() want { return want{"gina": l.write("gina.pem", "gina")} })
		})
	}
}
