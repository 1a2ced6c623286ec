package plugin

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/dnssec"
	"github.com/miekg/dns"

	"coredns-smimea/plugin/internal/neighbour"
	"coredns-smimea/plugin/internal/publish"
	"coredns-smimea/plugin/internal/secondary"
	"coredns-smimea/smimea/zone"
)

// config is a block of the Corefile, read and checked. It does not change.
type config struct {
	where string            // file and line of the directive
	lines map[string]string // and of each option that is there, of the last if there are several
	root  string            // what paths are relative to, empty for the working directory
	named []string          // zones after the directory
	block []string          // and before the block

	origins []string   // of all zones
	zones   *zonesFile // that origins come from, nil if from the Corefile

	// published is what is read, what becomes of it, and how it is followed: all
	// that a publisher depends on, but for its places.
	published publish.Config
	// apex is the zones' own records. It goes into their places.
	apex apex
	// answered is how questions are answered and zones are handed on. No publisher
	// depends on it.
	answered answered
	// notified returns whom *transfer* of the block announces a zone to.
	notified func(zone string) neighbour.Notified
	// host is the HTTPS host. No publisher depends on it, but for whether there is one.
	host hostConfig
}

// apex is what the records at a zone's apex say.
type apex struct {
	negative time.Duration
	ns       []zone.NameServer
	mailbox  string
	refresh  time.Duration // the SOA's timers
	retry    time.Duration
	expire   time.Duration
}

// answered is how a block answers.
type answered struct {
	keys      []*dnssec.DNSKEY // instead of *dnssec*'s
	cds       bool
	udpLimit  int
	tcpOnly   bool
	laneOff   bool
	denials   int    // signed denials a second over UDP; 0: no limit
	catalog   string // origin of a zone that lists the others, or none
	transfers int    // at once
}

// path returns a path as *root* has it.
func (c *config) path(p string) string {
	if !filepath.IsAbs(p) && c.root != "" {
		return filepath.Join(c.root, p)
	}
	return p
}

// setDir sets the directory.
func (c *config) setDir(dir string) {
	c.published.Dir, c.published.Path = dir, dir
	if abs, err := filepath.Abs(dir); err == nil {
		c.published.Path = abs
	}
}

// listZones works out the zones: those of a file, and no others then than the ones
// after the directory. A catalog is no mail domain, and it must be asked for here.
func (c *config) listZones() error {
	// One zone on two ports is one zone.
	for _, origin := range plugin.OriginsFromArgsOrServerBlock(c.named, c.block) {
		if !slices.Contains(c.origins, origin) {
			c.origins = append(c.origins, origin)
		}
	}
	served := plugin.Zones(plugin.OriginsFromArgsOrServerBlock(nil, c.block))
	if c.zones != nil {
		origins, err := c.zones.read()
		if err != nil {
			return c.at("zones", err)
		}
		if len(c.named) == 0 {
			c.origins = nil
		}
		for _, o := range origins {
			c.origins = append(c.origins, o.origin)
			if served.Matches(o.origin) == "" {
				return c.at("zones", fmt.Errorf("%q, line %d, lists a domain for which queries do not come here: name it, or a domain above it such as \".\", before the block", c.zones.path, o.line))
			}
		}
	}
	if k := c.answered.catalog; k != "" {
		c.origins = slices.DeleteFunc(c.origins, func(o string) bool { return o == k })
		if served.Matches(k) == "" {
			return c.at("catalog", fmt.Errorf("queries for %s do not come here: name it before the block", k))
		}
	}
	return nil
}

// check looks at what the options say together, and completes it.
func (c *config) check() error {
	for _, name := range optionNames() {
		if check := options[name].check; check != nil {
			if err := check(c); err != nil {
				return c.at(name, err)
			}
		}
	}
	err := checkDir(c.published.Dir)
	if err != nil && publish.Keeps(&c.published) {
		log.Errorf("%v; what the state has of it is served until then", err)
		return nil
	}
	return err
}

// checkDir refuses a directory that is not one.
func checkDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case os.IsNotExist(err):
		return fmt.Errorf("the directory %q does not exist: create it, or name the one that holds the certificates", dir)
	case err != nil:
		return fmt.Errorf("the directory %q cannot be read: %w", dir, err)
	case !info.IsDir():
		return fmt.Errorf("%q is not a directory: name the directory that holds the certificates", dir)
	}
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("the directory %q cannot be read: let the server read it: %w", dir, err)
	}
	return f.Close()
}

// place returns what does not change about the zone of an origin.
func (c *config) place(origin string, layout zone.Layout) (*zone.Place, error) {
	apex := zone.Apex{
		NS:       slices.Clone(c.apex.ns),
		Mailbox:  c.apex.mailbox,
		Refresh:  seconds(c.apex.refresh),
		Retry:    seconds(c.apex.retry),
		Expire:   seconds(c.apex.expire),
		Negative: seconds(c.apex.negative),
	}
	if len(apex.NS) == 0 {
		apex.NS = []zone.NameServer{{Name: "ns." + origin}}
	}
	for i, ns := range apex.NS {
		if !dns.IsSubDomain(origin, ns.Name) {
			apex.NS[i].Addresses = nil // another zone's to give
		}
	}
	p, err := zone.NewPlace(zone.Place{Origin: origin, Layout: layout, TTL: seconds(c.published.TTL), Apex: apex})
	if err != nil {
		return nil, err
	}
	if p.Apex.Mailbox == "" {
		p.Apex.Mailbox = "hostmaster." + p.Domain + "."
	}
	return p, nil
}

// timers are those of a catalog.
func (c *config) timers() secondary.Timers {
	return secondary.Timers{Refresh: seconds(c.apex.refresh), Retry: seconds(c.apex.retry)}
}

func seconds(d time.Duration) uint32 { return uint32(d / time.Second) }

// at says of an error in which option its reason stands, if it does not say where. An
// option that is not there stands where the directive does. nil stays nil.
func (c *config) at(option string, err error) error {
	if err == nil || errors.As(err, new(mistake)) {
		return err
	}
	where, ok := c.lines[option]
	if !ok {
		where = c.where
	}
	return mistake{where, fmt.Errorf("option %s: %w", option, err)}
}

// located says of an error that it stands in the directive, if it does not say where.
func (c *config) located(err error) error {
	if err == nil || errors.As(err, new(mistake)) {
		return err
	}
	return mistake{c.where, err}
}
