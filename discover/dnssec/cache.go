package dnssec

import (
	"sync"
	"time"

	"github.com/miekg/dns"
)

// A cache remembers zones: their keys, or that they are not signed. Without it
// each look-up would ask for all keys from the root down. Answers themselves are
// not remembered, nor is what is bogus: it may be mended at any time.
type cache struct {
	mu    sync.Mutex
	zones map[string]*zone
	keys  int // of all zones
}

const (
	maxCached     = 10_000 // zones, and names that are none
	maxCachedKeys = 10_000
	// maxAge bounds how long a key is used that its zone has given up.
	maxAge = 15 * time.Minute
)

func (c *cache) get(name string, now time.Time) *zone {
	c.mu.Lock()
	defer c.mu.Unlock()
	z := c.zones[name]
	if z == nil || !now.Before(z.until) {
		return nil
	}
	return z
}

func (c *cache) put(name string, z *zone, now time.Time) {
	if z.security != Secure && z.security != Insecure || !now.Before(z.until) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.zones == nil || len(c.zones) >= maxCached || c.keys >= maxCachedKeys {
		c.zones, c.keys = map[string]*zone{}, 0
	}
	if z.name == name { // others share their zone's
		c.keys += len(z.keys)
	}
	c.zones[name] = z
}

// empty reports whether no zone has been found yet.
func (c *cache) empty() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.zones) == 0
}

// freshUntil returns until when what a message says may be used: no longer than
// any of its records' TTLs, nor than its signatures.
func freshUntil(m *dns.Msg, now time.Time) time.Time {
	age := maxAge
	for _, section := range [][]dns.RR{m.Answer, m.Ns} {
		for _, rr := range section {
			age = min(age, time.Duration(rr.Header().Ttl)*time.Second)
			if sig, ok := rr.(*dns.RRSIG); ok {
				left := int32(sig.Expiration - uint32(now.Unix()))
				age = min(age, time.Duration(left)*time.Second, time.Duration(sig.OrigTtl)*time.Second)
			}
		}
	}
	return now.Add(age)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
