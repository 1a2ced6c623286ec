package test

import (
	"crypto/x509"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
)

// A latency is how long searches take: the median, and the slowest of a hundred.
type latency struct{ median, slow time.Duration }

// measure searches servers many times, each on one connection, in turn: what else the
// machine does slows all of them alike.
func measure(t *testing.T, n int, filter func(i int) string, servers ...string) []latency {
	t.Helper()
	conns, took := make([]*goldap.Conn, len(servers)), make([][]time.Duration, len(servers))
	for s, addr := range servers {
		var err error
		if conns[s], err = goldap.DialURL("ldap://" + addr); err != nil {
			t.Fatal(err)
		}
		defer conns[s].Close()
	}
	for i := range n {
		for s, c := range conns {
			r := goldap.NewSearchRequest("o=smimea", goldap.ScopeWholeSubtree, goldap.NeverDerefAliases, 0, 0, false, filter(i), []string{"userCertificate;binary"}, nil)
			begin := time.Now()
			found, err := c.Search(r)
			for goldap.IsErrorWithCode(err, goldap.LDAPResultBusy) { // as a user would
				found, err = c.Search(r)
			}
			if took[s] = append(took[s], time.Since(begin)); err != nil || len(found.Entries) != 1 {
				t.Fatalf("%s: %v, %v", filter(i), found, err)
			}
		}
	}
	all := make([]latency, len(servers))
	for s := range took {
		slices.Sort(took[s])
		all[s] = latency{took[s][n/2], took[s][n*99/100]}
	}
	return all
}

// TestLDAPLatency measures searches beside those of slapd with the same entry: an
// address that has just been looked up, and such as have not.
func TestLDAPLatency(t *testing.T) {
	c := newCorrespondence(t)
	g := c.gateway(t, c.direct)
	dir := t.TempDir()
	hugh := filepath.Join(dir, "hugh.der")
	writeFile(t, hugh, string(c.hugh))
	slapd := strings.TrimPrefix(startSlapd(t, dir, "o=smimea", fmt.Sprintf(
		"dn: o=smimea\nobjectClass: organization\no: smimea\n\ndn: mail=%[1]s,o=smimea\nobjectClass: inetOrgPerson\ncn: Hugh\nsn: Hugh\nmail: %[1]s\nuserCertificate;binary:< file://%[2]s\n",
		"hugh@example.com", hugh)), "ldap://")
	same := func(int) string { return "(mail=hugh@example.com)" }
	const n = 1000
	measure(t, 10, same, g.addr, slapd)
	known := measure(t, n, same, g.addr, slapd)
	ours, theirs := known[0], known[1]
	// Each of these has the same certificate under another name.
	addresses := make([]string, 50)
	for i := range addresses {
		addresses[i] = fmt.Sprintf("hugh%d@example.com", i)
	}
	c.publish(t, c.root.user(t, addresses[0], func(cert *x509.Certificate) { cert.EmailAddresses = addresses }), addresses)
	fresh := measure(t, len(addresses), func(i int) string { return "(mail=" + addresses[i] + ")" }, g.addr)[0]
	t.Logf("median and 99th percentile of a search: known %v, %v; looked up %v, %v; slapd %v, %v",
		ours.median, ours.slow, fresh.median, fresh.slow, theirs.median, theirs.slow)
	// Bounds against what has none: a machine under load is an order of magnitude slower.
	if ours.median > 10*theirs.median+50*time.Millisecond {
		t.Errorf("what is known takes %v, and slapd %v", ours.median, theirs.median)
	}
	if fresh.slow > time.Minute {
		t.Errorf("a look-up takes %v", fresh.slow)
	}
}
