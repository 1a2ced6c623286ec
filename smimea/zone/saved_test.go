package zone

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/smimea"
)

// someZone returns a zone with n users, some of whom share owners.
func someZone(t testing.TB, n int) *Zone {
	t.Helper()
	place, err := NewPlace(Place{Origin: "example.com.", TTL: 3600, Apex: Apex{NS: []NameServer{{Name: "ns.example.com."}}}})
	if err != nil {
		t.Fatal(err)
	}
	e := NewZone(place, "https://example.com/").Edit()
	for i := range n {
		a, err := smimea.ParseAddress(fmt.Sprintf("First.Last%d@example.com", i-i%2))
		if err != nil {
			t.Fatal(err)
		}
		p := Publication{File: uint32(i + 1), Certs: [][]byte{append([]byte{3, 1, 1}, fmt.Sprint("digest", i)...)}, URL: fmt.Sprint("https://example.com/", i), Lower: true}
		if err := e.Publish(a, p); err != nil {
			t.Fatal(err)
		}
	}
	z, _ := e.Zone(func(uint32) uint32 { return 7 })
	return z
}

func text(z *Zone) []string {
	var lines []string
	for rrs := range z.Records() {
		for _, rr := range rrs {
			lines = append(lines, rr.String())
		}
	}
	slices.Sort(lines)
	return lines
}

func TestRestoreZone(t *testing.T) {
	z := someZone(t, 200)
	// Signatures are not kept.
	e := z.Edit()
	for rrset := range z.Unsigned(Certs, 0, Keys{Generation: 1}, time.Now(), 0, 0) {
		sig := &dns.RRSIG{Algorithm: 13, Signature: "AAAA", Expiration: 1 << 31}
		if err := e.Keep(rrset, Keys{Generation: 1}, []dns.RR{sig}); err != nil {
			t.Fatal(err)
		}
	}
	z, _ = e.Zone(nil)
	r := Restore(z.Place, "https://example.com/", z.Totals())
	for _, tree := range []Tree{Certs, Texts} {
		for key, value := range z.Entries(tree) {
			if err := r.Add(tree, bytes.Clone(key), bytes.Clone(value)); err != nil {
				t.Fatalf("%x: %x: %v", key, value, err)
			}
		}
	}
	again := r.Zone(z.Serial)
	if !slices.Equal(text(z), text(again)) || again.Sum() != z.Sum() || again.Serial != 7 || again.Owners(Certs) != z.Owners(Certs) {
		t.Error("the zone is not what it was")
	}
	if n := again.Size(); n >= z.Size() {
		t.Errorf("%d octets, %d before: signatures are kept", n, z.Size())
	}
	// It goes on as the one before would have.
	var want, got *Zone
	for to, from := range map[**Zone]*Zone{&want: z, &got: again} {
		e := from.Edit()
		for i := range 100 {
			a, _ := smimea.ParseAddress(fmt.Sprintf("First.Last%d@example.com", i-i%2))
			e.Withdraw(a, uint32(i+1))
		}
		*to, _ = e.Zone(func(last uint32) uint32 { return last + 1 })
	}
	if !slices.Equal(text(want), text(got)) || want.Sum() != got.Sum() || len(text(got)) == len(text(z)) {
		t.Error("the zone after it is not what it would have been")
	}
}

func FuzzEntry(f *testing.F) {
	z := someZone(f, 4)
	for _, tree := range []Tree{Certs, Texts} {
		for key, value := range z.Entries(tree) {
			f.Add(byte(tree), key, value)
		}
	}
	f.Fuzz(func(t *testing.T, tree byte, key, value []byte) {
		r := Restore(z.Place, "https://example.com/", Totals{})
		if r.Add(Tree(tree%2), key, value) != nil {
			return
		}
		zone := r.Zone(1)
		text(zone)
		edit := zone.Edit()
		edit.Withdraw(smimea.Address{Local: "first.last", Domain: "example.com"}, 1)
		edit.Zone(func(uint32) uint32 { return 2 })
	})
}
