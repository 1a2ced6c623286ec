// Package crl follows certificate revocation lists: those in files that the operator
// names, and those that certificates name themselves. It keeps the last good one of
// each, whatever becomes of its place, and says which certificates all of them revoke.
package crl

import (
	"context"
	"crypto/x509"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	clog "github.com/coredns/coredns/plugin/pkg/log"

	"coredns-smimea/certsource/revocation"
	"coredns-smimea/internal/disk"
	"coredns-smimea/internal/download"
	"coredns-smimea/plugin/internal/neighbour"
)

var log = clog.NewWithPlugin(neighbour.Self)

const (
	// every is how often a place is asked whose list does not say that there is a
	// newer one earlier; after a failure it is asked again in retry. The least time
	// between two questions is pause.
	every = time.Hour
	retry = 5 * time.Minute
	pause = time.Minute
	// maxPlaces and maxIssuers bound what certificates can make us remember.
	maxPlaces  = 1000
	maxIssuers = 1000
	workers    = 4
)

// A Config is where lists come from.
type Config struct {
	Files   []string
	Points  bool // where published certificates say
	Private bool // also at addresses that are not public
}

// On reports whether there are to be any.
func (c *Config) On() bool { return len(c.Files) > 0 || c.Points }

// A World is what a Follower has from outside: files, the network, and chance. The
// time comes with each call.
type World struct {
	Stat   func(name string) (fs.FileInfo, error)
	Read   func(name string, most int64) ([]byte, error)
	Get    func(ctx context.Context, url string) ([]byte, error)
	Jitter func(time.Duration) time.Duration
}

// Real is the world as it is.
func Real(c Config) World {
	client := download.Client{Size: revocation.MaxSize, Time: time.Minute, Private: c.Private}
	return World{Stat: os.Stat, Read: disk.ReadFile, Get: client.Get, Jitter: func(d time.Duration) time.Duration {
		return d - rand.N(d/10)
	}}
}

// A Follower follows lists. All methods but Run are for one goroutine, its owner's.
// A nil one follows nothing.
type Follower struct {
	config  Config
	world   World
	sources map[string]*source // by their names: paths and URLs
	issuers map[string][]*x509.Certificate
	known   map[string]bool // DER of all issuers
	told    map[string]bool // what was said once and for all
	now     time.Time       // of the last look; zero before the first

	dirty   bool // something has changed since the set was made
	set     *revocation.Set
	counted []revocation.Verified // that the set is of
	kept    *Kept

	wanted  chan string
	fetched chan Fetched
}

// New returns a Follower that has read nothing yet, nil if there is nothing to follow.
// issuers are certificates of authorities in DER.
func New(c Config, w World, issuers [][]byte) *Follower {
	if !c.On() {
		return nil
	}
	f := &Follower{
		config: c, world: w, sources: map[string]*source{}, issuers: map[string][]*x509.Certificate{}, known: map[string]bool{}, told: map[string]bool{},
		wanted: make(chan string, maxPlaces), fetched: make(chan Fetched),
	}
	for _, name := range c.Files {
		f.sources[name] = &source{name: name}
	}
	f.learnIssuers(issuers)
	return f
}

// Learn takes in what a certificate in DER, and those of authorities beside it, say of
// lists: where they are, and whose.
func (f *Follower) Learn(cert []byte, issuers [][]byte) {
	if f == nil {
		return
	}
	f.learnIssuers(issuers)
	if !f.config.Points {
		return
	}
	points := revocation.Points(cert)
	reachable := slices.DeleteFunc(slices.Clone(points), func(p string) bool { return !overHTTP(p) })
	for _, url := range reachable {
		f.learnPoint(url)
	}
	if len(points) > 0 && len(reachable) == 0 {
		f.tellOnce("Certificates name revocation lists that cannot be fetched, such as %q: only http and https can; fetch it by other means, and name its file with revocation", points[0])
	}
}

func (f *Follower) learnPoint(url string) {
	switch {
	case f.sources[url] != nil:
	case len(f.sources) >= maxPlaces:
		f.tellOnce("Certificates name more than %d places of revocation lists: the others are not fetched", maxPlaces)
	default:
		f.sources[url] = &source{name: url, point: true}
		f.kept = nil
	}
}

func overHTTP(url string) bool {
	scheme, _, _ := strings.Cut(strings.ToLower(url), "://")
	return scheme == "http" || scheme == "https"
}

func (f *Follower) learnIssuers(ders [][]byte) {
	for _, der := range ders {
		if f.known[string(der)] {
			continue
		}
		if len(f.known) >= maxIssuers {
			f.tellOnce("Certificates come with more than %d authorities: lists of the others are not verified by them", maxIssuers)
			return
		}
		f.known[string(der)] = true
		f.kept = nil
		if cert, err := x509.ParseCertificate(der); err == nil {
			f.issuers[string(cert.RawSubject)] = append(f.issuers[string(cert.RawSubject)], cert)
			for _, s := range f.sources {
				s.unverified = s.unverified || s.refused || slices.ContainsFunc(s.lists, func(l *revocation.List) bool { return l.Names(cert) })
			}
			f.dirty = true
		}
	}
}

// Look reads the files that have changed, has lists fetched that are due, and says of
// those that are overdue that they are.
func (f *Follower) Look(now time.Time) {
	if f == nil {
		return
	}
	f.now = now
	for _, name := range f.config.Files {
		f.lookAt(f.sources[name], now)
	}
	for _, name := range slices.Sorted(maps.Keys(f.sources)) {
		s := f.sources[name]
		if !s.early.IsZero() && !now.Before(s.early) {
			s.unverified, f.dirty = true, true
		}
		if s.point && f.config.Points && !s.asked && !now.Before(s.next) {
			select {
			case f.wanted <- s.name:
				s.asked = true
			default: // the next time
			}
		}
	}
	f.measure(now)
}

// Fetched is what came of asking for a list.
type Fetched struct {
	url string
	contents
	err error
}

// C tells of lists that were fetched, to be handed to Take.
func (f *Follower) C() <-chan Fetched {
	if f == nil {
		return nil
	}
	return f.fetched
}

// Run fetches lists until ctx ends.
func (f *Follower) Run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	for range workers {
		all.Go(func() { f.fetch(ctx) })
	}
}

func (f *Follower) fetch(ctx context.Context) {
	for {
		var got Fetched
		select {
		case got.url = <-f.wanted:
		case <-ctx.Done():
			return
		}
		var data []byte
		if data, got.err = f.world.Get(ctx, got.url); got.err == nil {
			got.contents, got.err = read(data)
		}
		select {
		case f.fetched <- got:
		case <-ctx.Done():
			return
		}
	}
}

// Take takes in what was fetched.
func (f *Follower) Take(got Fetched, now time.Time) {
	s := f.sources[got.url]
	if s == nil {
		return
	}
	s.asked, f.now = false, now
	if got.err == nil {
		f.got(s, got.contents)
		got.err = f.verify(s)
	}
	f.tell(s, got.err)
	s.next = now.Add(f.world.Jitter(retry))
	if got.err == nil {
		wait := every
		for _, l := range s.counts {
			if left := l.NextUpdate.Sub(now); !l.NextUpdate.IsZero() && left > 0 {
				wait = min(wait, left+pause/2) // a moment for it to be put there
			}
		}
		s.next = now.Add(max(pause, f.world.Jitter(wait)))
	}
	f.measure(now)
}

// Set returns which certificates the lists revoke: the same as before if nothing has
// changed.
func (f *Follower) Set() *revocation.Set {
	if f == nil || !f.dirty {
		return f.last()
	}
	f.dirty = false
	var counted []revocation.Verified
	for _, name := range slices.Sorted(maps.Keys(f.sources)) {
		s := f.sources[name]
		if s.unverified {
			f.tell(s, f.verify(s))
		}
		counted = append(counted, s.counts...)
	}
	if !slices.Equal(counted, f.counted) {
		f.counted, f.set, f.kept = counted, revocation.NewSet(counted), nil
	}
	return f.set
}

func (f *Follower) last() *revocation.Set {
	if f == nil {
		return nil
	}
	return f.set
}

func (f *Follower) tellOnce(format string, args ...any) {
	if !f.told[format] {
		f.told[format] = true
		log.Warningf(format, args...)
	}
}
