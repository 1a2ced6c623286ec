package certhost

import (
	"context"
	"encoding/base64"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// Challenges holds the TXT values of DNS-01 challenges in progress. The name
// server asks it; ACME fills it. The zero value is ready for use, and one may
// serve any number of configurations: make one for the process.
type Challenges struct {
	// values maps a name to what must be answered. It is replaced, never
	// modified, so that Values takes no lock.
	values atomic.Pointer[map[string][]string]

	mu    sync.Mutex
	local map[string][]string                // presented by this process
	other map[*presenter]map[string][]string // by all that share a storage with us
}

// Values returns the TXT values to answer for a name such as
// _acme-challenge.example.com (lower case, no final dot); none, if no challenge
// for it is in progress. The slice must not be modified. It takes no lock.
func (c *Challenges) Values(name string) []string {
	if m := c.values.Load(); m != nil {
		return (*m)[name]
	}
	return nil
}

// Active reports whether any challenge is in progress: the quick way out for
// the questions between two renewals.
func (c *Challenges) Active() bool { return c.values.Load() != nil }

func (c *Challenges) add(name, value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.local == nil {
		c.local = map[string][]string{}
	}
	c.local[name] = append(c.local[name], value)
	c.publish()
}

func (c *Challenges) remove(name, value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	values := c.local[name]
	if i := slices.Index(values, value); i >= 0 {
		values = slices.Delete(slices.Clone(values), i, i+1)
	}
	if c.local[name] = values; len(values) == 0 {
		delete(c.local, name)
	}
	c.publish()
}

// setOther replaces what is known through one storage; nil forgets it.
func (c *Challenges) setOther(by *presenter, found map[string][]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if maps.EqualFunc(found, c.other[by], slices.Equal) {
		return
	}
	if c.other == nil {
		c.other = map[*presenter]map[string][]string{}
	}
	if c.other[by] = found; len(found) == 0 {
		delete(c.other, by)
	}
	c.publish()
}

// publish is called with mu held.
func (c *Challenges) publish() {
	all := map[string][]string{}
	for _, part := range slices.AppendSeq([]map[string][]string{c.local}, maps.Values(c.other)) {
		for name, values := range part {
			for _, value := range values {
				if !slices.Contains(all[name], value) {
					all[name] = append(all[name], value)
				}
			}
		}
	}
	if len(all) == 0 {
		c.values.Store(nil)
		return
	}
	c.values.Store(&all)
}

// shareInterval is how often the storage is looked at for challenges that
// another process presents: a CA may ask any of the domain's name servers.
var shareInterval = time.Second

// A presenter is the acmez solver for DNS-01. It puts a value into Challenges
// and, as a file, into the shared storage, and waits until the processes that
// look there have seen it.
type presenter struct {
	challenges *Challenges
	directory  string // below the storage
}

// staleAfter is when a file must have been left behind by a process that died.
const staleAfter = time.Hour

// Present implements acmez.Solver.
func (p *presenter) Present(_ context.Context, challenge acme.Challenge) error {
	name, value := challengeName(challenge), challenge.DNS01KeyAuthorization()
	if err := os.MkdirAll(p.directory, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(p.file(name, value), nil, 0o600); err != nil {
		return err
	}
	p.challenges.add(name, value)
	return nil
}

// Wait implements acmez.Waiter.
func (p *presenter) Wait(ctx context.Context, _ acme.Challenge) error {
	select {
	case <-time.After(2 * shareInterval):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// CleanUp implements acmez.Solver.
func (p *presenter) CleanUp(_ context.Context, challenge acme.Challenge) error {
	name, value := challengeName(challenge), challenge.DNS01KeyAuthorization()
	p.challenges.remove(name, value)
	return os.Remove(p.file(name, value))
}

func challengeName(challenge acme.Challenge) string {
	return strings.TrimSuffix(strings.ToLower(challenge.DNS01TXTRecordName()), ".")
}

// file is named by name and value and is empty, so it is there whole or not.
func (p *presenter) file(name, value string) string {
	return filepath.Join(p.directory, name+"="+value)
}

// look reads what all processes present. A directory that cannot be read is
// one in which nobody has presented anything.
func (p *presenter) look(now time.Time) {
	found := map[string][]string{}
	entries, _ := os.ReadDir(p.directory)
	for _, entry := range entries {
		name, value, ok := strings.Cut(entry.Name(), "=")
		digest, err := base64.RawURLEncoding.DecodeString(value)
		if !ok || err != nil || len(digest) != 32 {
			continue
		}
		info, err := entry.Info()
		if err != nil {
			continue // just removed
		}
		if now.Sub(info.ModTime()) > staleAfter {
			os.Remove(filepath.Join(p.directory, entry.Name()))
			continue
		}
		found[name] = append(found[name], value)
	}
	p.challenges.setOther(p, found)
}
