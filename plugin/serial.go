package plugin

import (
	"fmt"
	"sync"
	"time"

	"coredns-smimea/smimea/zone"
)

// tick is the unit of serials: a serial is the time of the newest change that
// a zone shows, in quarters of a second since 1970, modulo 2^32. That half of
// all serials (RFC 1982) is then seventeen years, and four changes a second have
// a serial of their own without running ahead of the clock.
const tick = 250 * time.Millisecond

// oldest is the time of all that is older: the serials of a file from 1970 and of
// one from today would be too far apart for RFC 1982.
var oldest = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// serialAt returns the serial of a time. Zero is no serial: a secondary would
// take it for none.
func serialAt(t time.Time) uint32 {
	if t.Before(oldest) {
		t = oldest
	}
	return max(1, uint32((t.UnixNano()+int64(tick)-1)/int64(tick)))
}

// serial returns the serial of a zone's next version. It comes from the times
// of files, so that two servers with the same directory have the same; where
// these say nothing newer than last, it is the one after last.
func (p *publisher) serial(zone int, last uint32, newest time.Time) uint32 {
	next := serialAt(newest)
	if last != 0 && int32(next-last) <= 0 {
		next = max(1, last+1)
	}
	return next
}

// served are the zones that this process has served last, by origin: a zone's
// serial must not fall when its configuration changes.
var served = struct {
	sync.Mutex
	zones map[string]version
}{zones: map[string]version{}}

// version is what tells two versions of a zone apart.
type version struct {
	serial uint32
	sum    uint64
	apex   string
}

func remember(z *zone.Zone) {
	served.Lock()
	defer served.Unlock()
	served.zones[z.Origin] = versionOf(z)
}

// rememberSaved notes what an earlier process has served, unless this one has
// served something of the zone already.
func rememberSaved(origin string, v version) {
	served.Lock()
	defer served.Unlock()
	if _, ok := served.zones[origin]; !ok {
		served.zones[origin] = v
	}
}

// resume gives the first version of a zone its serial: the one that it had if
// it is what was served before, and otherwise a later one.
func (p *publisher) resume(z *zone.Zone, newest time.Time) {
	if z.Serial == 0 {
		z.Serial = serialAt(newest)
	}
	served.Lock()
	last, ok := served.zones[z.Origin]
	served.Unlock()
	if !ok {
		return
	}
	now := versionOf(z)
	if now.sum == last.sum && now.apex == last.apex {
		z.Serial = last.serial
	} else if int32(z.Serial-last.serial) <= 0 {
		z.Serial = max(1, last.serial+1)
	}
}

// versionOf returns what tells this version of a zone from others.
func versionOf(z *zone.Zone) version {
	return version{z.Serial, z.Sum(), fmt.Sprint(z.TTL, z.Apex)}
}
