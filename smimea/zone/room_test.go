package zone

import (
	"encoding/binary"
	"testing"

	"github.com/miekg/dns"

	"coredns-smimea/smimea"
)

// TestRoom holds that the records of one owner fit a message over TCP, and that what
// was left out for room comes back when there is room.
func TestRoom(t *testing.T) {
	place, err := NewPlace(Place{Origin: "example.com", Layout: Beside, TTL: 300})
	if err != nil {
		t.Fatal(err)
	}
	a, err := smimea.ParseAddress("a@example.com")
	if err != nil {
		t.Fatal(err)
	}
	e := NewZone(place, "").Edit()
	left := map[uint32]bool{}
	const files = 1500
	for i := range uint32(files) {
		data := binary.BigEndian.AppendUint32([]byte{3, 1, 1}, i*2654435761)
		if err := e.Publish(a, Publication{File: i + 1, Certs: [][]byte{append(data, make([]byte, 28)...)}}); err != nil {
			left[i+1] = true
		}
	}
	z, _ := e.Zone(func(serial uint32) uint32 { return serial + 1 })
	answer := func(z *Zone) int {
		m := new(dns.Msg)
		m.SetQuestion(a.Owner(), dns.TypeSMIMEA)
		m.Compress = true
		for rrs := range z.Records() {
			m.Answer = append(m.Answer, rrs...)
		}
		if size := m.Len() + 1600; size > dns.MaxMsgSize {
			t.Errorf("%d records take %d octets with their signatures", len(m.Answer), size)
		}
		return len(m.Answer)
	}
	had := answer(z)
	if len(left) == 0 || had < 1300 || had == files {
		t.Fatalf("%d records of %d, %d are said to be left out", had, files, len(left))
	}
	e = z.Edit()
	for file := range uint32(files) {
		if file%3 == 0 {
			e.Withdraw(a, file+1)
		}
	}
	z, _ = e.Zone(func(serial uint32) uint32 { return serial + 1 })
	if now := answer(z); now != files-files/3 {
		t.Errorf("%d records, want %d", now, files-files/3)
	}
}
