package zone

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/smimea"
)

// TestJournalSaved holds that a journal that was saved leads from and to where
// the one that was kept does.
func TestJournalSaved(t *testing.T) {
	place, err := NewPlace(Place{Origin: "example.com.", Layout: Whole, TTL: 3600, Apex: Apex{NS: []NameServer{{Name: "ns1.example.net."}}, Mailbox: "h.example.com."}})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(7, 8))
	zone := NewZone(place, "https://example.com/")
	zone.Serial = 1
	var journal *Journal
	for step := range 40 {
		edit := zone.Edit()
		for range 1 + r.IntN(4) {
			i := r.IntN(20)
			a := smimea.Address{Local: fmt.Sprintf("a%d.b%d.c", i, i%3), Domain: "example.com"}
			edit.Withdraw(a, uint32(i))
			if r.IntN(2) == 0 {
				if err := edit.Publish(a, Publication{File: uint32(i), Certs: [][]byte{{3, 1, 1, byte(step)}}, URL: "https://example.com/x"}); err != nil {
					t.Fatal(err)
				}
			}
		}
		next, _ := edit.Zone(func(uint32) uint32 { return uint32(step + 2) })
		next.Serial = uint32(step + 2)
		var extra, before []dns.RR
		if step >= 10 { // the apex changes once
			extra = []dns.RR{&dns.CDS{DS: dns.DS{Hdr: dns.RR_Header{Name: "example.com.", Rrtype: dns.TypeCDS, Class: dns.ClassINET}, Digest: "00"}}}
		}
		if step > 10 {
			before = extra
		}
		journal = journal.Append(NewTransferable(zone, before), NewTransferable(next, extra))
		zone = next
	}
	var restoration JournalRestoration
	for key, value := range journal.Entries() {
		if err := restoration.Add(key, value); err != nil {
			t.Fatal(err)
		}
	}
	restored := restoration.Journal()
	text := func(j *Journal, serial uint32) (list []string) {
		records, ok := j.Since(serial, NewTransferable(zone, nil))
		if !ok {
			return nil
		}
		for rrs := range records {
			for _, rr := range rrs {
				list = append(list, packed(rr))
			}
		}
		slices.Sort(list)
		return list
	}
	for serial := uint32(1); serial < zone.Serial; serial++ {
		got, want := text(restored, serial), text(journal, serial)
		if want == nil {
			t.Errorf("the journal does not go back to %d", serial)
		}
		if serial <= 11 { // before the apex changed, or over that
			want = nil
		}
		if !slices.Equal(got, want) {
			t.Errorf("from %d: %d records, want %d", serial, len(got), len(want))
		}
	}
	if restored.size == 0 || restored.size > journal.size {
		t.Errorf("a journal of %d octets came back as one of %d", journal.size, restored.size)
	}
}

// TestJournalBounded holds that a journal forgets what would not be worth sending.
func TestJournalBounded(t *testing.T) {
	place, err := NewPlace(Place{Origin: "example.com.", Layout: Whole, TTL: 3600, Apex: Apex{NS: []NameServer{{Name: "ns1.example.net."}}, Mailbox: "h.example.com."}})
	if err != nil {
		t.Fatal(err)
	}
	zone := NewZone(place, "")
	zone.Serial = 1
	var journal *Journal
	for i := range 3000 {
		edit := zone.Edit()
		a := smimea.Address{Local: fmt.Sprintf("user%d", i%3), Domain: "example.com"}
		edit.Withdraw(a, uint32(i-3))
		if err := edit.Publish(a, Publication{File: uint32(i), Certs: [][]byte{slices.Concat([]byte{3, 0, 0}, make([]byte, 1000), []byte(fmt.Sprint(i)))}}); err != nil {
			t.Fatal(err)
		}
		next, _ := edit.Zone(func(last uint32) uint32 { return last + 1 })
		journal = journal.Append(NewTransferable(zone, nil), NewTransferable(next, nil))
		zone = next
		if journal.size > journalLeast || len(journal.steps) > journalSteps {
			t.Fatalf("a journal of %d octets in %d steps", journal.size, len(journal.steps))
		}
	}
	if _, ok := journal.Since(zone.Serial-10, NewTransferable(zone, nil)); !ok {
		t.Error("the last ten changes are forgotten")
	}
	if _, ok := journal.Since(1, NewTransferable(zone, nil)); ok {
		t.Error("the first change is not forgotten")
	}
}

func FuzzJournalRestoration(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1}, []byte{})
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 'a'}, []byte{1, 0, 0})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		var r JournalRestoration
		if r.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1}, nil) != nil {
			t.Fatal("the first step is refused")
		}
		if r.Add(key, value) == nil && r.Journal().size <= 0 {
			t.Error("what was added has no size")
		}
	})
}

// TestRepublished holds that signatures outlast a file that is written anew with
// the same records in it: nobody would make them again.
func TestRepublished(t *testing.T) {
	place, err := NewPlace(Place{Origin: "example.com.", Layout: Whole, TTL: 3600, Apex: Apex{NS: []NameServer{{Name: "ns1.example.net."}}, Mailbox: "h.example.com."}})
	if err != nil {
		t.Fatal(err)
	}
	now, k := time.Now(), Keys{Signer: "example.com."}
	keys := &fakeKeys{end: now.Add(8 * 24 * time.Hour)}
	a := smimea.Address{Local: "alice", Domain: "example.com"}
	publication := Publication{Certs: [][]byte{{3, 1, 1, 1}}, URL: "https://example.com/"}
	edit := NewZone(place, "").Edit()
	if err := edit.Publish(a, publication); err != nil {
		t.Fatal(err)
	}
	zone, _ := edit.Zone(func(uint32) uint32 { return 1 })
	zone = signAll(t, zone, k, keys, now)
	edit = zone.Edit()
	edit.Withdraw(a, 0)
	publication.Certs[0][3] = 2 // another certificate at the same place
	if err := edit.Publish(a, publication); err != nil {
		t.Fatal(err)
	}
	zone, differences := edit.Zone(func(uint32) uint32 { return 2 })
	unsigned := 0
	for _, tree := range []Tree{Certs, Texts} {
		for page := range zone.Pages(tree) {
			for range zone.Unsigned(tree, page, k, now, 0, 0) {
				unsigned++
			}
		}
	}
	if len(differences) != 1 || unsigned != 1 {
		t.Errorf("%d differences and %d names without signature, want 1 and 1", len(differences), unsigned)
	}
}
