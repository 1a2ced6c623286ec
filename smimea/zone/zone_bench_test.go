package zone

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"coredns-smimea/smimea"
)

// benchZone returns a zone of n users, and the points of their owners in both
// sub-trees.
func benchZone(b *testing.B, n int) (*Zone, *Index, []string, []string) {
	b.Helper()
	p := testPlace(b, "example.com", Whole)
	x, err := NewIndex([]*Place{p})
	if err != nil {
		b.Fatal(err)
	}
	edit := NewZone(p, testPrefix).Edit()
	for i := range n {
		benchPublish(b, edit, i)
	}
	zone, _ := edit.Zone(func(uint32) uint32 { return 1 })
	r := rand.New(rand.NewPCG(8162, 1))
	var certs, texts []string
	for range 10_000 {
		a := benchUser(r.IntN(n))
		text, err := a.TextOwner()
		if err != nil {
			b.Fatal(err)
		}
		certs, texts = append(certs, a.Owner()), append(texts, text)
	}
	return zone, x, certs, texts
}

func benchUser(i int) smimea.Address {
	return smimea.Address{Local: fmt.Sprintf("first%d.last%d", i%1000, i/1000), Domain: "example.com"}
}

func benchPublish(b *testing.B, edit *Edit, i int) {
	cert := append([]byte{3, 1, 1}, make([]byte, 32)...)
	cert[3], cert[4], cert[5] = byte(i), byte(i>>8), byte(i>>16)
	url := fmt.Sprintf("%sd%03d/first%d.last%d.pem", testPrefix, i/1000%1000, i%1000, i/1000)
	if err := edit.Publish(benchUser(i), Publication{File: uint32(i + 1), Certs: [][]byte{cert}, URL: url}); err != nil {
		b.Fatal(err)
	}
}

var benchSizes = []int{10_000, 1_000_000}

// BenchmarkLookup finds names as a query does: wire form, zone, owner.
func BenchmarkLookup(b *testing.B) {
	for _, n := range benchSizes {
		zone, x, certs, texts := benchZone(b, n)
		for kind, names := range map[string][]string{"SMIMEA": certs, "TXT": texts} {
			b.Run(fmt.Sprint(kind, " of ", n), func(b *testing.B) {
				b.ReportAllocs()
				var buf [smimea.MaxName + 1]byte
				for i := 0; b.Loop(); i++ {
					wire, err := AppendWire(buf[:0], names[i%len(names)])
					if err != nil {
						b.Fatal(err)
					}
					point, _ := x.Find(wire)
					if zone.Lookup(point).Kind != Owner {
						b.Fatalf("%s is no owner", names[i%len(names)])
					}
				}
			})
		}
	}
}

// BenchmarkEdit makes the next version of a zone, with one user more, and then
// with that user gone: its cost must not be the zone's size.
func BenchmarkEdit(b *testing.B) {
	for _, n := range benchSizes {
		zone, _, _, _ := benchZone(b, n)
		b.Run(fmt.Sprint("one of ", n), func(b *testing.B) {
			b.ReportAllocs()
			next := func(serial uint32) uint32 { return serial + 1 }
			for i := n; b.Loop(); i++ {
				edit := zone.Edit()
				benchPublish(b, edit, i)
				more, _ := edit.Zone(next)
				edit = more.Edit()
				edit.Withdraw(benchUser(i), uint32(i+1))
				edit.Zone(next)
			}
		})
	}
}

// BenchmarkMemory reports what a user takes in a zone, once.
func BenchmarkMemory(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	zone, _, _, _ := benchZone(b, 100_000)
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(zone.Owners(Certs)), "B/user")
	b.ReportMetric(0, "ns/op")
}
