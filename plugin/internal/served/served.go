// Package served remembers what this process has served each zone as last: its
// serial must not fall, and the way from older versions must not be lost, when a
// reload of the Corefile makes the zone anew.
//
// It is the one memory that belongs to the process and to no instance of the
// server. Its lock is held for a few instructions only, and no other lock is taken
// under it.
package served

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/smimea/zone"
)

// A Version is what tells two versions of a zone apart.
type Version struct {
	Serial uint32
	Sum    uint64 // of the records
	Apex   string // the records at the zone's apex, and its TTL
}

// VersionOf returns what tells this version of a zone from others. Extra are records at
// its apex that package zone does not know of: those of its keys.
func VersionOf(z *zone.Zone, extra []dns.RR) Version {
	return Version{z.Serial, z.Sum(), fmt.Sprint(z.TTL, z.Apex, extra)}
}

// last is what is remembered of one zone.
type last struct {
	noted   bool // version says what was served
	saved   bool // by an earlier process
	version Version

	// The way to one version of the zone.
	journal *zone.Journal
	leadsTo Version
	prefix  string // of the version's URLs, which the journal leaves out

	// A catalog is dated by the clock, and known by the digest of what it lists.
	list   [sha256.Size]byte
	listed uint32 // its serial, 0: it has not been served
}

// memory has the zones by origin.
var memory = struct {
	sync.Mutex
	zones map[string]*last
}{zones: map[string]*last{}}

// of returns what is remembered of a zone. The lock is held.
func of(origin string) *last {
	l := memory.zones[origin]
	if l == nil {
		l = new(last)
		memory.zones[origin] = l
	}
	return l
}

// Note notes that a version of a zone is served now.
func Note(z *zone.Zone, extra []dns.RR) {
	v := VersionOf(z, extra)
	memory.Lock()
	defer memory.Unlock()
	l := of(z.Origin)
	l.noted, l.saved, l.version = true, false, v
}

// NoteSaved notes what an earlier process has served, unless this one has served
// something of the zone already, or something later is noted.
func NoteSaved(origin string, v Version) {
	memory.Lock()
	defer memory.Unlock()
	l := of(origin)
	if !l.noted || l.saved && (Later(v.Serial, l.version.Serial) || v.Serial == l.version.Serial && l.version.Apex == "") {
		l.noted, l.saved, l.version = true, true, v
	}
}

// Serials returns the last serial of each zone that this process has served, or knows
// from earlier ones.
func Serials() map[string]uint32 {
	memory.Lock()
	defer memory.Unlock()
	serials := map[string]uint32{}
	for origin, l := range memory.zones {
		if l.noted {
			serials[origin] = l.version.Serial
		}
	}
	return serials
}

// Resume returns the serial of a zone that is made anew, whose newest file is of
// a time: the one that it had, if it is what was served last, and otherwise a
// later one.
func Resume(z *zone.Zone, extra []dns.RR, newest time.Time) uint32 {
	now := VersionOf(z, extra)
	if now.Serial == 0 {
		now.Serial = SerialAt(newest)
	}
	memory.Lock()
	defer memory.Unlock()
	l := of(z.Origin)
	switch {
	case !l.noted:
		return now.Serial
	case now.Sum == l.version.Sum && now.Apex == l.version.Apex:
		return l.version.Serial
	}
	return later(now.Serial, l.version.Serial)
}

// Last returns the serial that is noted of a zone, 0 if none is.
func Last(origin string) uint32 {
	memory.Lock()
	defer memory.Unlock()
	return of(origin).version.Serial
}

// NoteJournal keeps the journal that leads to a version of a zone.
func NoteJournal(z *zone.Zone, extra []dns.RR, j *zone.Journal) {
	v := VersionOf(z, extra)
	memory.Lock()
	defer memory.Unlock()
	l := of(z.Origin)
	l.journal, l.leadsTo, l.prefix = j, v, z.Prefix()
}

// Journal returns the journal that leads to just this version of a zone, or nil.
func Journal(z *zone.Zone, extra []dns.RR) *zone.Journal {
	v := VersionOf(z, extra)
	memory.Lock()
	defer memory.Unlock()
	l := of(z.Origin)
	if l.leadsTo != v || l.prefix != z.Prefix() {
		return nil
	}
	return l.journal
}

// ListSerial returns the serial of a catalog whose content has a digest: the one
// that it had with the same content, and otherwise that of now, or a later one.
func ListSerial(origin string, content [sha256.Size]byte, now time.Time) uint32 {
	memory.Lock()
	defer memory.Unlock()
	l := of(origin)
	if l.listed == 0 || l.list != content {
		l.list, l.listed = content, later(SerialAt(now), l.listed)
	}
	return l.listed
}
