package plugin

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/coredns/coredns/plugin/dnssec"
	"github.com/miekg/dns"

	"coredns-smimea/smimea"
	"coredns-smimea/smimea/zone"
)

// maxTTL is the original TTL that *dnssec* signs with, whatever a record's TTL
// is: validators cut a longer one down to it (RFC 4035 section 5.3.3).
const maxTTL = time.Hour

// config is a block of the Corefile, read and checked. It does not change.
type config struct {
	dir     string
	origins []string
	zones   *zonesFile       // that origins come from, nil if from the Corefile
	catalog string           // origin of a zone that lists them, or none
	keys    []*dnssec.DNSKEY // instead of *dnssec*'s

	records  []smimea.Association
	url      smimea.URLTemplate
	ttl      time.Duration
	negative time.Duration
	lower    bool // publish the lower-case form of addresses as well

	ns      []zone.NameServer
	mailbox string
	refresh time.Duration // the SOA's timers
	retry   time.Duration
	expire  time.Duration

	roots     *x509.CertPool
	rootsFrom []string // files and digests, for the key

	reload      time.Duration
	unwatched   bool // no notifications, only looks
	maxWithdraw int
	state       string

	transfers      int  // at once
	transferSigned bool // secondaries get signatures
	cds            bool

	udpLimit int
	tcpOnly  bool
	laneOff  bool
	denials  int // signed denials a second over UDP; 0: no limit

	host hostConfig

	where string // file and line of the directive
}

func defaults() *config {
	url, err := smimea.ParseURLTemplate("https://{domain}/.well-known/smime/{file}")
	if err != nil {
		panic(err)
	}
	return &config{
		url:         url,
		ttl:         time.Hour,
		negative:    5 * time.Minute,
		lower:       true,
		refresh:     time.Hour,
		retry:       15 * time.Minute,
		reload:      30 * time.Second,
		maxWithdraw: 50,
		transfers:   defaultTransfers,
		cds:         true,
		udpLimit:    1232,
		denials:     4000,
	}
}

// check looks at what concerns more than one option, and completes the rest.
func (c *config) check() error {
	if c.expire == 0 {
		c.expire = 14 * 24 * time.Hour
		if c.transferSigned {
			c.expire = 2 * 24 * time.Hour // signatures last longer: see renewBefore
		}
	}
	if c.transferSigned && c.ttl != maxTTL {
		return fmt.Errorf("transfer_signed with a ttl of %v: *dnssec* signs with an original TTL of 3600 seconds, and that is what a signed zone must have: leave out one of them", c.ttl)
	}
	if len(c.records) == 0 {
		c.records = []smimea.Association{{Usage: smimea.UsageDANEEE, Selector: smimea.SelectorSPKI, Matching: smimea.MatchingSHA256}}
	}
	info, err := os.Stat(c.dir)
	switch {
	case os.IsNotExist(err):
		return fmt.Errorf("the directory %q does not exist: create it, or name the one that holds the certificates", c.dir)
	case err != nil:
		return fmt.Errorf("the directory %q cannot be read: %w", c.dir, err)
	case !info.IsDir():
		return fmt.Errorf("%q is not a directory: name the directory that holds the certificates", c.dir)
	}
	if f, err := os.Open(c.dir); err != nil {
		return fmt.Errorf("the directory %q cannot be read: let the server read it: %w", c.dir, err)
	} else {
		f.Close()
	}
	return nil
}

// loadRoots reads certificates of authorities from PEM files.
func (c *config) loadRoots(files []string) error {
	if c.roots == nil {
		c.roots = x509.NewCertPool()
	}
	for _, file := range files {
		pem, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("reading roots: %w", err)
		}
		if !c.roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("the roots file %q has no certificate that crypto/x509 can read: name a PEM file of authorities' certificates", file)
		}
		c.rootsFrom = append(c.rootsFrom, fmt.Sprintf("%s %x", file, sha256.Sum256(pem)))
	}
	return nil
}

// place returns what does not change about the zone of an origin.
func (c *config) place(origin string, layout zone.Layout) (*zone.Place, error) {
	apex := zone.Apex{
		NS:       slices.Clone(c.ns),
		Mailbox:  c.mailbox,
		Refresh:  seconds(c.refresh),
		Retry:    seconds(c.retry),
		Expire:   seconds(c.expire),
		Negative: seconds(c.negative),
	}
	if len(apex.NS) == 0 {
		apex.NS = []zone.NameServer{{Name: "ns." + origin}}
	}
	for i, ns := range apex.NS {
		if !dns.IsSubDomain(origin, ns.Name) {
			apex.NS[i].Addresses = nil // another zone's to give
		}
	}
	p, err := zone.NewPlace(zone.Place{Origin: origin, Layout: layout, TTL: seconds(c.ttl), Apex: apex})
	if err != nil {
		return nil, err
	}
	if p.Apex.Mailbox == "" {
		p.Apex.Mailbox = "hostmaster." + p.Domain + "."
	}
	return p, nil
}

// prefix returns what all URLs of a mail domain begin with.
func (c *config) prefix(domain string) string {
	a := c.url.Expand(domain, "a", strings.Repeat("0", 56))
	b := c.url.Expand(domain, "b", strings.Repeat("1", 56))
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return a[:n]
}

// key tells configurations apart that publish or read something else: those
// with the same key can share all that was read.
func (c *config) key(places []*zone.Place) string {
	abs, err := filepath.Abs(c.dir)
	if err != nil {
		abs = c.dir
	}
	var b strings.Builder
	fmt.Fprintln(&b, abs, c.records, c.url, c.ttl, c.lower, c.rootsFrom, c.reload, c.maxWithdraw, c.state, c.transferSigned, c.host.serves())
	for _, p := range places {
		fmt.Fprintln(&b, p.Origin, p.Layout, p.TTL, p.Apex)
	}
	fmt.Fprintln(&b, c.unwatched)
	return b.String()
}

func seconds(d time.Duration) uint32 { return uint32(d / time.Second) }
