package test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// outside are names of exampleZone's zone, with all that file can answer, and names
// that are not far from our sub-trees.
var outside = []string{
	"example.com.", "ns1.example.com.", "www.example.com.", "mail.example.com.", "a.wild.example.com.", "wild.example.com.",
	"absent.example.com.", "child.example.com.", "below.child.example.com.", "a.b.c.example.com.", "*.example.com.",
	"x_smime.example.com.", "_smime2.example.com.", "_smimecer.example.com.", "_smimecert.www.example.com.", "_smime.child.example.com.",
	"alice._smime.www.example.com.", `alice\._smime.example.com.`, `_smime\.example.com.`, `_smimecert\000.example.com.`, "_tcp.example.com.",
}

// TestBesideUntouched compares every answer for names outside our sub-trees with
// that of the same server without smimea, octet by octet.
func TestBesideUntouched(t *testing.T) {
	for _, s := range []signing{{}, {dns.ED25519, false}} { // deterministic signatures
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			users(t, dir, "example.com")
			k := newKeys(t, "example.com.", s)
			db := filepath.Join(t.TempDir(), "db.example.com")
			writeFile(t, db, exampleZone(1, 900))
			with := startServer(t, block("example.com", k.directive, "smimea "+dir, "file "+db)).addr
			without := startServer(t, block("example.com", k.directive, "file "+db)).addr
			for _, name := range outside {
				for _, rtype := range append(slices.Clone(types), dns.TypeDNSKEY, dns.TypeNSEC, dns.TypeRRSIG) {
					for _, q := range transports() {
						if q.randoms {
							continue // two askings, two spellings
						}
						q.name, q.qtype = name, rtype
						_, got := ask(t, with, q)
						_, want := ask(t, without, q)
						if got, want := timeless(t, got), timeless(t, want); !bytes.Equal(got, want) {
							t.Errorf("%s:\n with smimea %x\n   without it %x", q, got, want)
						}
					}
				}
			}
		})
	}
}

// timeless blanks the message ID, and what depends on the time, in signatures. dnssec
// puts the signatures of two RRsets in no certain order: records are sorted, then.
func timeless(t testing.TB, b []byte) []byte {
	t.Helper()
	b = slices.Clone(b)
	b[0], b[1] = 0, 0
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		t.Fatal(err)
	}
	var signed bool
	for _, rrs := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range rrs {
			if sig, ok := rr.(*dns.RRSIG); ok {
				sig.Inception, sig.Expiration, sig.Signature = 0, 0, ""
				signed = true
			}
		}
		if signed {
			slices.SortFunc(rrs, func(a, b dns.RR) int { return strings.Compare(a.String(), b.String()) })
		}
	}
	if !signed {
		return b
	}
	packed, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

// TestBesideSOA holds that our denials carry the SOA of the zone file, also after
// the file has changed, and that both kinds of denials agree then.
func TestBesideSOA(t *testing.T) {
	for _, s := range []signing{{}, {dns.ECDSAP256SHA256, true}} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			pubs := users(t, dir, "example.com")
			k := newKeys(t, "example.com.", s)
			db := filepath.Join(t.TempDir(), "db.example.com")
			writeFile(t, db, exampleZone(1, 900))
			addr := startServer(t, block("example.com", k.directive, "smimea "+dir, "file "+db+" {\nreload 100ms\n}")).addr
			rrs := records(t, dir, "example.com.", pubs, "3 1 1")
			for serial, minimum := range []int{900, 60, 7200} {
				serial++
				if serial > 1 {
					replaceFile(t, db, exampleZone(serial, minimum))
				}
				waitFor(t, fmt.Sprintf("serial %d", serial), func() bool {
					m, _ := ask(t, addr, question{name: "example.com.", qtype: dns.TypeSOA})
					return len(m.Answer) == 1 && m.Answer[0].(*dns.SOA).Serial == uint32(serial)
				})
				soa, err := dns.NewRR(exampleSOA(serial, minimum))
				if err != nil {
					t.Fatal(err)
				}
				z := newZone(t, "example.com.", false, append(slices.Clone(rrs), soa))
				for _, name := range []string{hashOwner("nobody", "example.com."), hashOwner("alice", "example.com."), "_smime.example.com.", "nobody._smime.example.com."} {
					for _, q := range transports() {
						q.name, q.qtype = name, dns.TypeA
						z.check(t, addr, k, q)
					}
				}
			}
		})
	}
}

// replaceFile puts content in the place of a file in one step, as editors do.
func replaceFile(t *testing.T, path, content string) {
	t.Helper()
	writeFile(t, path+".new", content)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// TestBesideTransfer holds that a zone which is not the plugin's cannot be
// transferred beside it: the secondaries would miss our names.
func TestBesideTransfer(t *testing.T) {
	dir := t.TempDir()
	users(t, dir, "example.com")
	db := filepath.Join(t.TempDir(), "db.example.com")
	writeFile(t, db, exampleZone(1, 900))
	out := failProcess(t, "", block("example.com", "smimea "+dir, "transfer {\nto *\n}", "file "+db))
	for _, word := range []string{"transfer", "example.com", "secondar", "_smimecert.example.com"} {
		if !strings.Contains(out, word) {
			t.Errorf("the message does not have the word %q:\n%s", word, out)
		}
	}
	// Another zone of the block may be transferred.
	other := strings.ReplaceAll(exampleZone(1, 900), "example.com", "example.org")
	db2 := filepath.Join(t.TempDir(), "db.example.org")
	writeFile(t, db2, other)
	startServer(t, block("example.com example.org", "smimea "+dir+" example.com", "transfer example.org {\nto *\n}", "file "+db+" example.com", "file "+db2+" example.org"))
}
