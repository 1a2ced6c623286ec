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

// latency searches many times, on one connection, and returns how long the median
// and the slowest of a hundred take.
func latency(t *testing.T, addr string, n int, filter func(i int) string) (median, slow time.Duration) {
	t.Helper()
	c, err := goldap.DialURL("ldap://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var took []time.Duration
	for i := range n {
		r := goldap.NewSearchRequest("o=smimea", goldap.ScopeWholeSubtree, goldap.NeverDerefAliases, 0, 0, false, filter(i), []string{"userCertificate;binary"}, nil)
		begin := time.Now()
		found, err := c.Search(r)
		if took = append(took, time.Since(begin)); err != nil || len(found.Entries) != 1 {
			t.Fatalf("%s: %v, %v", filter(i), found, err)
		}
	}
	slices.Sort(took)
	return took[n/2], took[n*99/100]
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
	latency(t, g.addr, 10, same)
	latency(t, slapd, 10, same)
	cached, cachedSlow := latency(t, g.addr, n, same)
	theirs, theirsSlow := latency(t, slapd, n, same)
	// Each of these has the same certificate under another name.
	addresses := make([]string, 50)
	for i := range addresses {
		addresses[i] = fmt.Sprintf("hugh%d@example.com", i)
	}
	c.publish(t, c.root.user(t, addresses[0], func(cert *x509.Certificate) { cert.EmailAddresses = addresses }), addresses)
	fresh, freshSlow := latency(t, g.addr, len(addresses), func(i int) string { return "(mail=" + addresses[i] + ")" })
	t.Logf("median and 99th percentile of a search: known %v, %v; looked up %v, %v; slapd %v, %v",
		cached, cachedSlow, fresh, freshSlow, theirs, theirsSlow)
	if cached > 10*theirs+time.Millisecond {
		t.Errorf("what is known takes %v, and slapd %v", cached, theirs)
	}
	if freshSlow > 3*time.Second {
		t.Errorf("a look-up takes %v", freshSlow)
	}
}
