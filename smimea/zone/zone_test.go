package zone

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/smimea"
)

func testPlace(t testing.TB, origin string, layout Layout) *Place {
	t.Helper()
	p, err := NewPlace(Place{
		Origin: origin, Layout: layout, TTL: 3600,
		Apex: Apex{NS: []NameServer{{Name: "ns." + dns.Fqdn(origin)}}, Mailbox: "hostmaster.example.com.", Negative: 300},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const testPrefix = "https://example.com/.well-known/smime/"

// modelZone is what a zone stands for: who publishes what, from which the
// records follow by the rules.
type modelZone map[uint32]modelFile

type modelFile struct {
	address smimea.Address
	certs   [][]byte
	url     string
	lower   bool
}

// records returns owner -> records in presentation form, and all names that
// exist because of them.
func (m modelZone) records() (map[string][]string, map[string]bool) {
	exact, variant := map[string]map[string]bool{}, map[string]map[string]bool{}
	add := func(to map[string]map[string]bool, owner, rr string) {
		if to[owner] == nil {
			to[owner] = map[string]bool{}
		}
		to[owner][rr] = true
	}
	for _, f := range m {
		lower := f.address.Lower()
		for _, c := range f.certs {
			rr := &dns.SMIMEA{}
			setCert(rr, c)
			text := fmt.Sprintf("SMIMEA %d %d %d %s", rr.Usage, rr.Selector, rr.MatchingType, rr.Certificate)
			add(exact, f.address.Owner(), text)
			if lower != f.address && f.lower {
				add(variant, lower.Owner(), text)
			}
		}
		if owner, err := f.address.TextOwner(); err == nil && f.url != "" {
			if lower != f.address {
				add(variant, owner, "TXT "+f.url)
			} else {
				add(exact, owner, "TXT "+f.url)
			}
		}
	}
	all := map[string][]string{}
	for owner, rrs := range variant {
		all[owner] = slices.Sorted(maps.Keys(rrs))
	}
	for owner, rrs := range exact {
		all[owner] = slices.Sorted(maps.Keys(rrs))
	}
	names := map[string]bool{"_smimecert.example.com.": true, "_smime.example.com.": true}
	for owner := range all {
		for name := owner; name != "example.com."; {
			names[name] = true
			off, _ := dns.NextLabel(name, 0)
			name = name[off:]
		}
	}
	return all, names
}

func present(rr dns.RR) string {
	switch rr := rr.(type) {
	case *dns.SMIMEA:
		return fmt.Sprintf("SMIMEA %d %d %d %s", rr.Usage, rr.Selector, rr.MatchingType, rr.Certificate)
	case *dns.TXT:
		return "TXT " + strings.Join(rr.Txt, "")
	}
	return rr.String()
}

// find looks a name up as a query does.
func find(t testing.TB, x *Index, zones []*Zone, name string) (Name, Point, bool) {
	t.Helper()
	wire, err := Wire(name)
	if err != nil {
		t.Fatalf("Wire(%q): %v", name, err)
	}
	p, ok := x.Find(wire)
	if !ok {
		return Name{}, p, false
	}
	return zones[p.Zone].Lookup(p), p, true
}

func checkZone(t *testing.T, x *Index, z *Zone, m modelZone) {
	t.Helper()
	want, names := m.records()
	got := map[string][]string{}
	for rrset := range z.Records() {
		switch rrset[0].(type) {
		case *dns.SOA, *dns.NS:
			continue
		}
		for _, rr := range rrset {
			got[rr.Header().Name] = append(got[rr.Header().Name], present(rr))
		}
	}
	for owner := range got {
		slices.Sort(got[owner])
	}
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Fatalf("Records() = %v\nwant %v", got, want)
	}
	if n := z.Owners(Certs) + z.Owners(Texts); n != len(want) {
		t.Fatalf("Owners() = %d, want %d", n, len(want))
	}
	for name := range names {
		n, _, ok := find(t, x, []*Zone{z}, name)
		wantKind := EmptyNonTerminal
		if want[name] != nil {
			wantKind = Owner
		}
		if !ok || n.Kind != wantKind {
			t.Fatalf("Lookup(%q) = kind %d, %v, want %d", name, n.Kind, ok, wantKind)
		}
		if wantKind == Owner {
			r := new(dns.Msg)
			r.SetQuestion(name, n.Type())
			reply := NewReply(r)
			reply.Answer(n, name)
			var rrs []string
			for _, rr := range reply.Msg.Answer {
				rrs = append(rrs, present(rr))
			}
			slices.Sort(rrs)
			if !slices.Equal(rrs, want[name]) {
				t.Fatalf("Answer(%q) = %v, want %v", name, rrs, want[name])
			}
		}
		for _, absent := range []string{"x." + name} {
			if names[absent] {
				continue
			}
			if n, _, ok := find(t, x, []*Zone{z}, absent); !ok || n.Kind != Absent {
				t.Fatalf("Lookup(%q) = kind %d, %v, want absent", absent, n.Kind, ok)
			}
		}
	}
}

// TestEdits publishes and withdraws at random, and holds each version to the
// model of who publishes what.
func TestEdits(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	place := testPlace(t, "example.com.", Whole)
	x, err := NewIndex([]*Place{place})
	if err != nil {
		t.Fatal(err)
	}
	z, m := NewZone(place, testPrefix), modelZone{}
	locals := []string{"a", "b", "A", "a.b", "b.b", "a.B", "c.a.b", "Hugh", "hugh", "HUGH", "*", "jörg", `"a b"`, "x.Hugh"}
	serial := func(last uint32) uint32 { return last + 1 }
	for range 300 {
		e, next := z.Edit(), maps.Clone(m)
		for range 1 + r.IntN(4) {
			file := uint32(r.IntN(12))
			if f, ok := next[file]; ok {
				e.Withdraw(f.address, file)
				delete(next, file)
				if r.IntN(2) == 0 {
					continue
				}
			}
			a, err := smimea.ParseAddress(locals[r.IntN(len(locals))] + "@example.com")
			if err != nil {
				t.Fatal(err)
			}
			f := modelFile{address: a, lower: r.IntN(2) == 0}
			for n := range 1 + r.IntN(2) {
				f.certs = append(f.certs, []byte{3, 1, byte(n), byte(r.IntN(3)), 7})
			}
			if r.IntN(3) > 0 {
				f.url = fmt.Sprintf("%s%d", testPrefix, r.IntN(4))
			}
			e.Publish(a, Publication{File: file, Certs: f.certs, URL: f.url, Lower: f.lower})
			next[file] = f
		}
		v, differences := e.Zone(serial)
		checkZone(t, x, z, m) // the old version stays as it was
		checkZone(t, x, v, next)
		before, _ := m.records()
		after, _ := next.records()
		changed := map[string]bool{}
		for owner := range before {
			if !slices.Equal(before[owner], after[owner]) {
				changed[owner] = true
			}
		}
		for owner := range after {
			if !slices.Equal(before[owner], after[owner]) {
				changed[owner] = true
			}
		}
		if (v.Serial != z.Serial) != (len(changed) > 0) || (v.Sum() != z.Sum()) != (len(changed) > 0) {
			t.Fatalf("serial %d -> %d, sum %x -> %x, with %d names changed", z.Serial, v.Serial, z.Sum(), v.Sum(), len(changed))
		}
		// A tree that was empty has no differences told.
		if z.Owners(Certs) > 0 && z.Owners(Texts) > 0 {
			told := map[string]bool{}
			for _, d := range differences {
				told[z.owner(d.Tree, d.key)] = true
			}
			if !maps.Equal(told, changed) {
				t.Fatalf("differences at %v, want %v", told, changed)
			}
		}
		z, m = v, next
	}
	// Whatever the way, the same files make the same sum.
	e := NewZone(place, testPrefix).Edit()
	for file, f := range m {
		e.Publish(f.address, Publication{File: file + 100, Certs: f.certs, URL: f.url, Lower: f.lower})
	}
	if v, _ := e.Zone(serial); v.Sum() != z.Sum() {
		t.Errorf("Sum() = %x by edits, %x at once", z.Sum(), v.Sum())
	}
}

func TestPlaces(t *testing.T) {
	sub := testPlace(t, "_smimecert.example.com", Beside) // the name decides
	if sub.Layout != SubZone || sub.Domain != "example.com" || !sub.Serves(Certs) || sub.Serves(Texts) {
		t.Errorf("sub-zone: %+v", sub)
	}
	whole := testPlace(t, "Example.ORG.", Whole)
	if whole.Origin != "example.org." || whole.Domain != "example.org" || !whole.Serves(Texts) {
		t.Errorf("whole zone: %+v", whole)
	}
	for _, origin := range []string{".", "_smime.", "_tcp.example.com.", "foo_bar.example."} {
		if p, err := NewPlace(Place{Origin: origin}); err == nil {
			t.Errorf("NewPlace(%q) = %+v, want an error", origin, p)
		}
	}
	if _, err := NewIndex([]*Place{testPlace(t, "example.com.", Whole), sub}); err == nil {
		t.Error("a zone inside another one was taken")
	}
	if _, err := NewIndex([]*Place{sub, testPlace(t, "_smime.example.com.", Whole), testPlace(t, "a.example.com.", Whole)}); err != nil {
		t.Error(err)
	}
}

func TestFind(t *testing.T) {
	places := []*Place{
		testPlace(t, "_smimecert.example.com.", SubZone),
		testPlace(t, "example.org.", Whole),
		testPlace(t, "sub.example.org.", Beside),
	}
	x, err := NewIndex(places)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		zone int
		tree Tree
		rel  string
		apex bool
	}{
		{"_smimecert.example.com.", 0, Certs, "", true},
		{"A._SMIMECERT.example.com.", 0, Certs, "\x01a", false},
		{"example.com.", -1, 0, "", false},
		{"_smime.example.com.", -1, 0, "", false},
		{"example.org.", 1, Rest, "", true},
		{"www.example.org.", 1, Rest, "\x03www", false},
		{"a._smime.example.org.", 1, Texts, "\x01a", false},
		{"sub.example.org.", 1, Rest, "\x03sub", false},
		{"x._smime.sub.example.org.", 2, Texts, "\x01x", false},
		{`a\.b._smime.example.org.`, 1, Texts, "\x03a.b", false},
		{".", -1, 0, "", false},
	} {
		wire, err := Wire(test.name)
		if err != nil {
			t.Fatal(err)
		}
		p, ok := x.Find(wire)
		if ok != (test.zone >= 0) || ok && (p.Zone != test.zone || p.Tree != test.tree || string(p.Rel) != test.rel || p.Apex != test.apex) {
			t.Errorf("Find(%q) = %+v, %v", test.name, p, ok)
		}
	}
}

// TestSignatures keeps signatures with records until these, or the keys, change.
func TestSignatures(t *testing.T) {
	place := testPlace(t, "example.com.", Whole)
	x, _ := NewIndex([]*Place{place})
	a, _ := smimea.ParseAddress("hugh@example.com")
	e := NewZone(place, testPrefix).Edit()
	e.Publish(a, Publication{File: 1, Certs: [][]byte{{3, 1, 1, 9}}, URL: testPrefix + "hugh.crt"})
	z, _ := e.Zone(func(uint32) uint32 { return 1 })

	now := time.Unix(1_800_000_000, 0)
	keys := Keys{Signer: "example.com.", Generation: 3}
	sig := func(tag uint16) dns.RR {
		return &dns.RRSIG{Algorithm: 13, KeyTag: tag, OrigTtl: 3600, Inception: uint32(now.Unix()) - 60,
			Expiration: uint32(now.Unix()) + 8*86400, Signature: "c2lnbmF0dXJl"}
	}
	signAll := func(z *Zone) *Zone {
		e := z.Edit()
		for _, tree := range []Tree{Certs, Texts} {
			for page := range z.Pages(tree) {
				for rrset := range z.Unsigned(tree, page, keys, now, time.Hour, 0) {
					if err := e.Keep(rrset, keys, []dns.RR{sig(1), sig(2)}); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		v, differences := e.Zone(nil)
		if len(differences) > 0 || v.Serial != z.Serial {
			t.Errorf("signatures changed the zone: %v", differences)
		}
		return v
	}
	signed := func(z *Zone, owner string, keys Keys, now time.Time) []uint16 {
		n, _, _ := find(t, x, []*Zone{z}, owner)
		r := new(dns.Msg)
		r.SetQuestion(owner, n.Type())
		reply := NewReply(r)
		reply.Answer(n, owner)
		records := len(reply.Msg.Answer)
		if !reply.AddSignatures(n, keys, now, 48*time.Hour) {
			return nil
		}
		var tags []uint16
		for _, rr := range reply.Msg.Answer[records:] {
			s := rr.(*dns.RRSIG)
			if s.TypeCovered != n.Type() || s.Hdr.Name != owner || int(s.Labels) != dns.CountLabel(owner) ||
				s.SignerName != "example.com." || s.Hdr.Ttl != 3600 || s.Signature != "c2lnbmF0dXJl" || s.Algorithm != 13 {
				t.Errorf("signature: %v", s)
			}
			tags = append(tags, s.KeyTag)
		}
		return tags
	}
	text, _ := a.TextOwner()
	if tags := signed(z, a.Owner(), keys, now); tags != nil {
		t.Errorf("signatures %v from nowhere", tags)
	}
	z = signAll(z)
	for _, owner := range []string{a.Owner(), text} {
		if tags := signed(z, owner, keys, now); !slices.Equal(tags, []uint16{1, 2}) {
			t.Errorf("%s: signatures by %v, want 1 and 2", owner, tags)
		}
		for what, tags := range map[string][]uint16{
			"other keys":  signed(z, owner, Keys{"example.com.", 4}, now),
			"near to end": signed(z, owner, keys, now.Add(6*24*time.Hour+time.Minute)),
			"clock back":  signed(z, owner, keys, now.Add(-time.Hour)),
		} {
			if tags != nil {
				t.Errorf("%s: %s: signatures by %v went out", owner, what, tags)
			}
		}
	}
	// A second file with the same certificate changes no record.
	e = z.Edit()
	e.Publish(a, Publication{File: 2, Certs: [][]byte{{3, 1, 1, 9}}})
	same, _ := e.Zone(nil)
	if signed(same, a.Owner(), keys, now) == nil {
		t.Error("a signature was lost, though its records stayed")
	}
	e = z.Edit()
	e.Publish(a, Publication{File: 2, Certs: [][]byte{{3, 1, 1, 8}}})
	other, _ := e.Zone(func(s uint32) uint32 { return s + 1 })
	if signed(other, a.Owner(), keys, now) != nil {
		t.Error("a signature of other records went out")
	}
	if signed(other, text, keys, now) == nil {
		t.Error("a signature was lost: of the TXT record, when the SMIMEA changed")
	}
}
