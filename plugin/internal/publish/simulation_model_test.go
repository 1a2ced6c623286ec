package publish

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"coredns-smimea/plugin/internal/sign"
	"coredns-smimea/smimea/zone"

	"github.com/miekg/dns"
)

// quiet lets all come to rest, and compares.
func (s *simulation) quiet() {
	s.faults, s.disk.fail, s.disk.left = 0, 0, -1
	s.mount()
	s.note("quiet")
	if s.IntN(2) == 0 {
		for user := range s.there {
			if f := s.there[user]; f.torn {
				f.torn = false
				s.write(user, f)
			}
		}
	}
	for range 6 {
		s.m.Pass(time.Minute)
		s.look()
	}
	if s.p.State() != Serving {
		s.fail("it comes to rest in state %v", s.p.State())
	}
	s.compare()
	if s.config.Signed {
		for range 4 {
			s.sign(true)
		}
		s.compareSigned()
	}
	s.faulty = false
}

// served returns which certificate of which user the first zone of the domain serves.
func (s *simulation) served() map[int]string {
	have := map[int]string{}
	snap := s.p.Snapshot()
	if snap == nil {
		return have
	}
	for i := 0; i < len(snap.Zones); i += 2 {
		if snap.Zones[i] == nil {
			continue
		}
		for rrs := range snap.Zones[i].Records() {
			for _, rr := range rrs {
				if c, ok := rr.(*dns.SMIMEA); ok {
					if user, ok := simOwners()[c.Hdr.Name]; ok {
						have[user] += c.Certificate
					}
				}
			}
		}
	}
	return have
}

// simOwner is RFC 8162 section 3, in plain code.
func simOwner(user int) string {
	digest := sha256.Sum256(fmt.Appendf(nil, "user%d", user))
	return hex.EncodeToString(digest[:28]) + "._smimecert." + simDomain(user) + "."
}

var simOwners = sync.OnceValue(func() map[string]int {
	owners := map[string]int{}
	for user := range simUsers {
		owners[simOwner(user)] = user
	}
	return owners
})

// observe holds what must be so at all times.
func (s *simulation) observe() {
	if s.p == nil || s.disk.killed || s.observing {
		return
	}
	s.observing = true
	defer func() { s.observing = false }()
	snap := s.p.Snapshot()
	if snap == nil {
		return
	}
	new := false
	for i, z := range snap.Zones {
		if z != nil && (s.last[z.Origin] == nil || s.last[z.Origin].zone != z) {
			e, journal := snap.transferable(i)
			s.version(z.Origin, e, journal).zone = z
			new = true
		}
		if !s.config.Signed {
			continue
		}
		e, journal := s.group.Transferable(i)
		if name := s.p.config.Places[i].Origin + " (signed)"; e != nil && (s.last[name] == nil || s.last[name].signed != e) {
			s.version(name, e, journal).signed = e
			s.Signed++
		}
	}
	if !new {
		return
	}
	have := s.served()
	for user := range simTorn {
		domain := user % len(simDomains)
		if 2*domain >= len(snap.Zones) && !slices.ContainsFunc(snap.departed, func(z *zone.Zone) bool { return z.Domain == simDomain(user) }) {
			// Who cannot be read when the zone comes back is not in it.
			s.seen[user] = false
		}
		if 2*domain >= len(snap.Zones) || snap.Zones[2*domain] == nil {
			continue
		}
		switch {
		case have[user] != "":
			s.seen[user] = true
		case user < simStay && !s.faulty || s.seen[user]:
			s.fail("user %d is denied in state %v, and is there", user, s.p.State())
		}
	}
}

// version holds a zone's version against those before.
func (s *simulation) version(origin string, e *zone.Transferable, journal *zone.Journal) *simVersion {
	s.Versions++
	v := &simVersion{serial: e.Zone.Serial, records: map[string]bool{}}
	for rrs := range e.Records() {
		for _, rr := range rrs {
			if rr.Header().Rrtype != dns.TypeSOA {
				v.records[rr.String()] = true
			}
		}
	}
	last := s.last[origin]
	s.note("  %s has serial %d, %d records", origin, v.serial, len(v.records))
	switch {
	case last == nil:
	case v.serial == last.serial:
		if !maps.Equal(v.records, last.records) {
			s.fail("%s has other records with serial %d than before: %s", origin, v.serial, differing(last.records, v.records))
		}
	case int32(v.serial-last.serial) < 0:
		s.fail("%s had serial %d, and has %d", origin, last.serial, v.serial)
	}
	s.last[origin] = v
	if s.versions[origin] == nil {
		s.versions[origin] = map[uint32]*simVersion{}
	}
	for _, serial := range slices.Sorted(maps.Keys(s.versions[origin])) {
		old := s.versions[origin][serial]
		if serial == v.serial {
			continue
		}
		diff, ok := journal.Since(serial, e)
		if !ok {
			continue
		}
		if got, why := patched(old.records, diff); why != "" || !maps.Equal(got, v.records) {
			s.fail("the journal of %s does not lead from %d to %d: %s %s", origin, serial, v.serial, why, differing(v.records, got))
		}
	}
	s.versions[origin][v.serial] = v
	return v
}

// compareSigned holds that secondaries get what is served, with good signatures of all.
func (s *simulation) compareSigned() {
	for i, at := range s.config.Places {
		z := s.p.Zone(i)
		e, _ := s.group.Transferable(i)
		switch {
		case e == nil:
			s.fail("%s is not signed for secondaries", at.Origin)
			continue
		case e.Zone.Serial != z.Serial || e.Zone.Sum() != z.Sum():
			s.fail("%s has serial %d, and %d for secondaries", at.Origin, z.Serial, e.Zone.Serial)
		}
		sets, sigs := map[string][]dns.RR{}, map[string]*dns.RRSIG{}
		for rrs := range e.Records() {
			for _, rr := range rrs {
				if sig, ok := rr.(*dns.RRSIG); ok {
					sigs[fmt.Sprint(sig.Hdr.Name, sig.TypeCovered)] = sig
				} else {
					key := fmt.Sprint(rr.Header().Name, rr.Header().Rrtype)
					sets[key] = append(sets[key], rr)
				}
			}
		}
		for _, key := range slices.Sorted(maps.Keys(sets)) {
			sig := sigs[key]
			switch {
			case sig == nil:
				s.fail("%v is not signed", sets[key])
			case time.Unix(int64(sig.Expiration), 0).Before(s.m.Now().Add(sign.Margin)):
				s.fail("%v has ended", sig)
			case s.IntN(20) == 0:
				public := *simKeys[s.key].K
				public.Hdr.Name = at.Origin
				if err := sig.Verify(&public, sets[key]); err != nil {
					s.fail("%v: %v", sig, err)
				}
			}
		}
	}
}

// differing says how two sets of records differ.
func differing(a, b map[string]bool) string {
	text := ""
	for _, r := range slices.Sorted(maps.Keys(a)) {
		if !b[r] {
			text += "\n  - " + r
		}
	}
	for _, r := range slices.Sorted(maps.Keys(b)) {
		if !a[r] {
			text += "\n  + " + r
		}
	}
	return text
}

// patched does to a version what an incremental transfer says (RFC 1995 section 4).
func patched(old map[string]bool, transfer func(func([]dns.RR) bool)) (got map[string]bool, why string) {
	got = maps.Clone(old)
	soas := 0
	for rrs := range transfer {
		for _, rr := range rrs {
			text := rr.String()
			switch {
			case rr.Header().Rrtype == dns.TypeSOA:
				soas++
			case soas == 2:
				if !got[text] {
					why = "it takes away what is not there: " + text
				}
				delete(got, text)
			case soas == 3:
				if got[text] {
					why = "it brings what is there: " + text
				}
				got[text] = true
			}
		}
	}
	if soas != 4 {
		why = fmt.Sprintf("it has %d SOA records", soas)
	}
	return got, why
}

// simRecord is what a zone has of a user's certificate.
func simRecord(text bool, user int, spki, url string, folder int, ttl uint32) string {
	if !text {
		return fmt.Sprintf("%s\t%d\tIN\tSMIMEA\t3 1 1 %s", simOwner(user), ttl, spki)
	}
	url = strings.ReplaceAll(url, "{domain}", simDomain(user))
	url = strings.ReplaceAll(url, "{file}", fmt.Sprintf("%d/user%d.pem", folder, user))
	return fmt.Sprintf("user%d._smime.%s.\t%d\tIN\tTXT\t%q", user, simDomain(user), ttl, url)
}

// givenOut holds that who has a URL in the DNS has a file with the certificate, or it is
// held.
func (s *simulation) givenOut(texts map[string]bool) {
	for user, f := range s.there {
		named := false
		for text := range texts {
			named = named || strings.HasPrefix(text, fmt.Sprintf("user%d._smime.%s.", user, simDomain(user)))
		}
		if !named || f.cert != 0 && !f.torn {
			continue
		}
		held := false
		for n := 1; n < 3; n++ {
			block, _ := pem.Decode(simCerts()[user][n].data)
			_, ok := s.p.Octets().Get(sha256.Sum256(block.Bytes))
			held = held || ok
		}
		if !held {
			s.fail("user %d has a URL that leads nowhere", user)
		}
	}
}

// compare holds that what is served is what the files say.
func (s *simulation) compare() {
	snap := s.p.Snapshot()
	for i, at := range s.config.Places {
		want, maybe := map[string]bool{}, map[string]bool{}
		ttl := uint32(s.config.TTL / time.Second)
		for user, f := range s.there {
			if simDomain(user) != at.Domain || f.cert == 0 {
				continue
			}
			for n := 1; n < 3; n++ {
				c := simCerts()[user][n]
				good := n == f.cert && c.notAfter.Add(-s.config.TTL).After(s.m.Now())
				for url := range simURLs {
					text := simRecord(i%2 == 1, user, c.spki, simURLs[url], f.folder, ttl)
					switch {
					case f.torn: // what it had, if anybody has read it, and in the form of then
						maybe[text] = true
					case i%2 == 0 && n != f.cert: // a renewal that is bridged
						maybe[text] = true
					case good && url == s.url:
						want[text] = true
					}
				}
			}
		}
		have := map[string]bool{}
		for rrs := range snap.Zones[i].Records() {
			for _, rr := range rrs {
				if rr.Header().Rrtype == dns.TypeSMIMEA || rr.Header().Rrtype == dns.TypeTXT {
					have[rr.String()] = true
				}
			}
		}
		if s.config.Paths && i%2 == 1 {
			s.givenOut(have)
		}
		for text := range maybe {
			delete(have, text)
		}
		if !maps.Equal(have, want) {
			s.fail("%s is not what the files say:%s", at.Origin, differing(want, have))
		}
	}
}
