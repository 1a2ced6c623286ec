package plugin

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/dnssec"
	"github.com/coredns/coredns/plugin/pkg/cache"
	"github.com/miekg/dns"

	"coredns-smimea/smimea/zone"
)

// zonesEvery is how often the file of zones is looked at.
const zonesEvery = time.Second

// A zonesFile lists mail domains, one a line. Each has the two sub-zones. Empty
// lines, and what follows a "#", are of no matter.
type zonesFile struct {
	path string
	sum  [sha256.Size]byte // of its text as it was read
}

// read reads the file and returns the origins of its zones.
func (f *zonesFile) read() ([]string, error) {
	text, err := os.ReadFile(f.path)
	if err != nil {
		return nil, fmt.Errorf("reading the zones: %w", err)
	}
	origins, err := parseZones(text)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", f.path, err)
	}
	f.sum = sha256.Sum256(text)
	return origins, nil
}

// parseZones returns the origins of the zones that a text lists.
func parseZones(text []byte) ([]string, error) {
	var origins []string
	seen := map[string]bool{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		for _, label := range []string{"_smimecert.", "_smime."} {
			p, err := zone.NewPlace(zone.Place{Origin: label + line, Apex: zone.Apex{}})
			if err != nil || len(strings.Fields(line)) != 1 {
				return nil, fmt.Errorf("line %d: %q is no mail domain: write one a line", n, line)
			}
			if origin := label + p.Domain + "."; !seen[origin] { // in A-labels
				seen[origin] = true
				origins = append(origins, origin)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(origins) == 0 {
		return nil, errors.New("it has no mail domain: write one a line")
	}
	return origins, nil
}

// watchZones has the server begin anew with the same Corefile when the file of
// zones has changed. What zones have in common is taken over, and until the new
// ones have been read the old ones are served.
func (s *SMIMEA) watchZones(l *life) {
	ctx, cancel := context.WithCancel(context.Background())
	s.unwatchZones = cancel
	go func() {
		tick := time.NewTicker(zonesEvery)
		defer tick.Stop()
		last := s.config.zones.sum
		var before [sha256.Size]byte // as it was at the last look, while it is written
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			f := zonesFile{path: s.config.zones.path}
			text, err := os.ReadFile(f.path)
			sum := sha256.Sum256(text)
			settled := sum == before
			before = sum
			if err != nil || sum == last || !settled {
				continue
			}
			last = sum
			if _, err := f.read(); err != nil {
				log.Errorf("The zones stay as they are: %v", err)
				continue
			}
			for _, instance := range caddy.Instances() {
				if instance.Storage[lifeKey{}] == any(l) {
					log.Infof("The zones in %q have changed", f.path)
					if _, err := instance.Restart(instance.Caddyfile()); err != nil {
						log.Errorf("The zones stay as they are: %v", err)
						continue
					}
					return
				}
			}
		}
	}()
}

// ownDNSSEC returns a *dnssec* for zones that the Corefile does not name, which
// that in the block therefore knows nothing of.
func ownDNSSEC(keys []*dnssec.DNSKEY, zones []string) dnssec.Dnssec {
	ksk, zsk := false, false
	for _, key := range keys {
		if key.K.Flags&1 != 0 {
			ksk = true
		} else {
			zsk = true
		}
	}
	return dnssec.New(zones, keys, ksk && zsk, nil, cache.New[[]dns.RR](ownCache))
}

// ownCache is how many signatures that *dnssec* keeps; ours are kept elsewhere.
const ownCache = 10_000

// list works out the zones: those of a file, and no others then than the ones
// after the directory. A catalog is no mail domain, and it must be asked for here.
func (c *config) list(args, block []string) error {
	served := plugin.OriginsFromArgsOrServerBlock(nil, block)
	if c.zones != nil {
		origins, err := c.zones.read()
		if err != nil {
			return err
		}
		if len(args) == 0 {
			c.origins = nil
		}
		c.origins = append(c.origins, origins...)
		for _, origin := range origins {
			if plugin.Zones(served).Matches(origin) == "" {
				return fmt.Errorf("%q lists a domain for which queries do not come here: name it, or a domain above it such as \".\", before the block: %s", c.zones.path, origin)
			}
		}
	}
	if len(c.keys) > 0 && c.zones == nil {
		return errors.New("key without zones FILE: have *dnssec* sign")
	}
	if c.catalog != "" {
		c.origins = slices.DeleteFunc(c.origins, func(o string) bool { return o == c.catalog })
		if plugin.Zones(served).Matches(c.catalog) == "" {
			return fmt.Errorf("queries for the catalog %s do not come here: name it before the block", c.catalog)
		}
	}
	return nil
}
