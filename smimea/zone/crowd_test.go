package zone

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"coredns-smimea/smimea"
)

// TestCrowd has many files of the same addresses: a node is written a bounded number of
// times in an edit, however many files claim its name, and the records are what they
// are where each file has an edit of its own.
func TestCrowd(t *testing.T) {
	const files, addresses = 200, 20
	place, err := NewPlace(Place{Origin: "example.com", Layout: Beside, TTL: 300})
	if err != nil {
		t.Fatal(err)
	}
	var all []smimea.Address
	for i := range addresses {
		// One's TXT owner is above another's.
		a, err := smimea.ParseAddress(fmt.Sprintf("a%d.b%d@example.com", i/2*(i%2), i/2))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	next := func(serial uint32) uint32 { return serial + 1 }
	publication := func(file uint32) Publication {
		// Every tenth publishes what the one before does.
		data := binary.BigEndian.AppendUint32([]byte{3, 1, 1}, (file-file%10/9)*2654435761)
		return Publication{File: file, Certs: [][]byte{append(data, make([]byte, 28)...)}, URL: fmt.Sprintf("https://example.com/%d", file%30)}
	}
	text := func(z *Zone) string {
		var lines []string
		for rrs := range z.Records() {
			for _, rr := range rrs {
				if rr.Header().Rrtype != dns.TypeSOA {
					lines = append(lines, rr.String())
				}
			}
		}
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	// withdrawn says which files go again: all, of one address none.
	withdrawn := func(i int, file uint32) bool { return i > 0 && file%3 != 0 || i%7 == 3 }

	together := NewZone(place, "").Edit()
	single := NewZone(place, "")
	for file := uint32(1); file <= files; file++ {
		one := single.Edit()
		for _, a := range all {
			for _, e := range []*Edit{together, one} {
				if err := e.Publish(a, publication(file)); err != nil {
					t.Fatal(err)
				}
			}
		}
		single, _ = one.Zone(next)
	}
	bound := func(what string, e *Edit) {
		if most := 2 * addresses * (crowded + 4); e.writes > most {
			t.Errorf("%s: nodes are written %d times, want %d at most", what, e.writes, most)
		}
	}
	z, _ := together.Zone(next)
	bound("publishing", together)
	if text(z) != text(single) || z.sum != single.sum || z.owners != single.owners {
		t.Errorf("in one edit %d owners with %d octets, in many %d with %d", z.owners, len(text(z)), single.owners, len(text(single)))
	}

	together = z.Edit()
	for file := uint32(1); file <= files; file++ {
		one := single.Edit()
		for i, a := range all {
			if withdrawn(i, file) {
				together.Withdraw(a, file)
				one.Withdraw(a, file)
			}
		}
		single, _ = one.Zone(next)
	}
	z, differences := together.Zone(next)
	bound("withdrawing", together)
	if text(z) != text(single) || z.sum != single.sum || z.owners != single.owners || len(differences) == 0 {
		t.Errorf("withdrawn in one edit %d owners with %d octets, in many %d with %d", z.owners, len(text(z)), single.owners, len(text(single)))
	}
}

// TestCrowdsWritten holds that an edit does not keep more than so many claims.
func TestCrowdsWritten(t *testing.T) {
	place, err := NewPlace(Place{Origin: "example.com", Layout: Beside, TTL: 300})
	if err != nil {
		t.Fatal(err)
	}
	e := NewZone(place, "").Edit()
	e.room = 10_000
	for file := range uint32(100) {
		for i := range 10 {
			data := binary.BigEndian.AppendUint32([]byte{3, 1, 1}, file)
			if err := e.Publish(smimea.Address{Local: fmt.Sprint(i), Domain: "example.com"}, Publication{File: file + 1, Certs: [][]byte{data}}); err != nil {
				t.Fatal(err)
			}
		}
		if e.room < 0 {
			t.Fatal("too many claims are kept")
		}
	}
	z, _ := e.Zone(func(uint32) uint32 { return 1 })
	n := 0
	for rrs := range z.Records() {
		for _, rr := range rrs {
			if rr.Header().Rrtype == dns.TypeSMIMEA {
				n++
			}
		}
	}
	if n != 1000 {
		t.Errorf("%d records, want 1000", n)
	}
}
