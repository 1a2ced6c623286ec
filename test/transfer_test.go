package test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// subZonesOf are the two zones of example.com.
var subZonesOf = []string{"_smimecert.example.com.", "_smime.example.com."}

// A crowd is users that come, go and change at random.
type crowd struct {
	dir   string
	rand  *rand.Rand
	files []string
	last  int
}

func newCrowd(t *testing.T, n int) *crowd {
	c := &crowd{dir: t.TempDir(), rand: rand.New(rand.NewPCG(1, uint64(n)))}
	for range n {
		c.join(t)
	}
	return c
}

func (c *crowd) join(t *testing.T) {
	t.Helper()
	c.last++
	locals := []string{"user%d@", "User.%d@", "first.last%d@", "a.b.c%d@"}
	address := fmt.Sprintf(locals[c.last%len(locals)]+"example.com", c.last)
	addresses := []string{address}
	if c.last%5 == 0 && c.last <= 100 { // BIND takes no more than a hundred records of a type
		addresses = append(addresses, "shared@example.com")
	}
	path := filepath.Join(c.dir, fmt.Sprintf("%d.pem", c.last))
	cert{addresses: addresses}.write(t, path)
	c.files = append(c.files, path)
}

// change makes one change: somebody comes, goes, or has a new certificate.
func (c *crowd) change(t *testing.T) {
	t.Helper()
	switch i := c.rand.IntN(3); {
	case i == 0 || len(c.files) < 2:
		c.join(t)
	case i == 1:
		j := c.rand.IntN(len(c.files))
		removeFile(t, c.files[j])
		c.files = slices.Delete(c.files, j, j+1)
	default:
		path := c.files[c.rand.IntN(len(c.files))]
		cert{addresses: []string{strings.TrimSuffix(filepath.Base(path), ".pem") + ".new@example.com"}}.write(t, path)
	}
}

// serials returns the serials of zones.
func serials(t *testing.T, addr string, zones []string) []uint32 {
	t.Helper()
	var list []uint32
	for _, zone := range zones {
		var serial uint32
		waitFor(t, fmt.Sprintf("the SOA of %s at %s", zone, addr), func() (ok bool) {
			serial, ok = serialAt(addr, zone)
			return ok
		})
		list = append(list, serial)
	}
	return list
}

// fleet is a primary and its secondaries.
type fleet struct {
	*primary
	zones []string
	tsig  bool
	who   []*secondary
}

// newFleet starts a primary and one secondary of each kind.
func newFleet(t *testing.T, zones []string, tsig bool, directives ...string) *fleet {
	t.Helper()
	var to []int
	for range secondaries {
		to = append(to, freePort(t))
	}
	f := &fleet{zones: zones, tsig: tsig}
	f.primary = newPrimary(t, zones, to, tsig, directives...)
	for i, kind := range secondaries {
		s := newSecondary(t, kind, to[i], f.addr, zones, tsig)
		s.start(t)
		f.who = append(f.who, s)
	}
	return f
}

// follow holds all secondaries to the primary.
func (f *fleet) follow(t *testing.T) {
	t.Helper()
	for _, zone := range f.zones {
		follow(t, f.primary, zone, f.tsig, f.who...)
	}
}

// change makes a change and waits until the primary transfers it, in all zones
// that it concerns.
func (f *fleet) change(t *testing.T, c *crowd) {
	t.Helper()
	before := f.transferred(t)
	published := strings.Count(f.log.String(), "Published")
	c.change(t)
	waitFor(t, "the change", func() bool {
		return strings.Count(f.log.String(), "Published") > published && f.transferred(t)[0] != before[0]
	})
	// In a signed zone the signatures come after the record.
	waitFor(t, "the change in transfers", func() bool { return slices.Equal(f.transferred(t), serials(t, f.addr, f.zones)) })
}

// transferred returns the serials of the zones as they are transferred now.
func (f *fleet) transferred(t *testing.T) []uint32 {
	t.Helper()
	var list []uint32
	for _, zone := range f.zones {
		// What is newer than everything is answered with the SOA alone.
		q := new(dns.Msg)
		q.SetIxfr(zone, 0, ".", ".")
		c := &dns.Client{Timeout: lostAfter}
		if f.tsig {
			c.TsigSecret = map[string]string{tsigName: tsigSecret}
			q.SetTsig(tsigName, dns.HmacSHA256, 300, time.Now().Unix())
		}
		m, _, err := c.Exchange(q, f.addr)
		if err != nil || len(m.Answer) != 1 {
			list = append(list, 0)
			continue
		}
		list = append(list, m.Answer[0].(*dns.SOA).Serial)
	}
	return list
}

// changes is how many changes TestTransfer makes: 200 are the real test, and take
// minutes.
var changes = flag.Int("changes", 15, "`N` changes of users under transfers")

// TestTransfer changes users at random under NSD, Knot and BIND: after each
// change they have every record, have it by NOTIFY (nothing else is due for an
// hour), and by IXFR.
func TestTransfer(t *testing.T) {
	for _, tsig := range []bool{false, true} {
		for _, signed := range []bool{false, true} {
			t.Run(fmt.Sprintf("tsig %v signed %v", tsig, signed), func(t *testing.T) {
				t.Parallel()
				c := newCrowd(t, 20)
				k := newKeys(t, "example.com.", signing{dns.ECDSAP256SHA256, false})
				options := "ns ns1.example.net\nmax_withdraw 100"
				if signed {
					options += "\ntransfer_signed"
				}
				f := newFleet(t, subZonesOf, tsig, k.directive, smimea(c.dir, options))
				f.follow(t)
				first := f.transfers(t)
				for range *changes {
					f.change(t, c)
					f.follow(t)
				}
				// follow itself asks the primary for the whole zone.
				now := f.transfers(t)
				if n := now["axfr"] - first["axfr"]; n != *changes*len(f.zones) {
					t.Errorf("%d AXFR after the first, want the %d of the test itself: %v", n, *changes*len(f.zones), now)
				}
				if now["ixfr"] < 3**changes {
					t.Errorf("%d IXFR: %v", now["ixfr"], now)
				}
				for _, s := range f.who {
					if n := strings.Count(s.log.String(), "IXFR, incoming, remote"); s.name == "knot" && n < *changes {
						t.Errorf("Knot counts %d IXFR", n)
					}
				}
			})
		}
	}
}
