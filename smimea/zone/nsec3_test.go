package zone

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/smimea"
)

// TestOrder holds the order of hashes to a sorted list.
func TestOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	o := newOrder()
	var list [][]byte
	for i := range 5000 {
		hash := hashName(fmt.Append(nil, r.IntN(1500)))
		at, found := slices.BinarySearchFunc(list, hash, bytes.Compare)
		if found {
			before, after := list[(at-1+len(list))%len(list)], list[(at+1)%len(list)]
			if b, a := o.remove(hash); !bytes.Equal(b, before) || !bytes.Equal(a, after) {
				t.Fatalf("step %d: the neighbours of what goes are %x and %x, want %x and %x", i, b, a, before, after)
			}
			list = slices.Delete(list, at, at+1)
			continue
		}
		list = slices.Insert(list, at, hash)
		before, after := list[(at-1+len(list))%len(list)], list[(at+1)%len(list)]
		if b, a := o.insert(hash); !bytes.Equal(b, before) || !bytes.Equal(a, after) {
			t.Fatalf("step %d: the neighbours of what comes are %x and %x, want %x and %x", i, b, a, before, after)
		}
	}
	if o.bits == 0 || o.n != len(list) {
		t.Errorf("%d hashes in 1<<%d pieces, want %d", o.n, o.bits, len(list))
	}
}

// fakeKeys sign without keys: a signature is the number of those made before.
type fakeKeys struct {
	made int
	end  time.Time
}

func (f *fakeKeys) sign(rrset []dns.RR) ([]dns.RR, error) {
	f.made++
	h := rrset[0].Header()
	return []dns.RR{&dns.RRSIG{
		Hdr:         dns.RR_Header{Name: h.Name, Rrtype: dns.TypeRRSIG, Class: dns.ClassINET, Ttl: h.Ttl},
		TypeCovered: h.Rrtype, Algorithm: dns.ED25519, Labels: uint8(dns.CountLabel(h.Name)), OrigTtl: 3600, KeyTag: 1,
		Inception: uint32(f.end.Add(-8 * 24 * time.Hour).Unix()), Expiration: uint32(f.end.Unix()),
		SignerName: "example.com.", Signature: dns.RR(&dns.TXT{}).Header().Name + fmt.Sprintf("%08d", f.made),
	}}, nil
}

// signAll signs all of a zone that is not signed.
func signAll(t *testing.T, z *Zone, k Keys, f *fakeKeys, now time.Time) *Zone {
	t.Helper()
	e := z.Edit()
	for _, tree := range []Tree{Certs, Texts} {
		for page := range z.Pages(tree) {
			for rrset := range z.Unsigned(tree, page, k, now, 24*time.Hour, 0) {
				sigs, err := f.sign(rrset.Records)
				if err != nil {
					t.Fatal(err)
				}
				if err := e.Keep(rrset, k, sigs); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	signed, _ := e.Zone(nil)
	return signed
}

// TestSignedZone changes a whole zone at random. Each signed transferable zone has a closed
// chain with every name and no other, and the journal makes it of every one before.
func TestSignedZone(t *testing.T) {
	place, err := NewPlace(Place{Origin: "example.com.", Layout: Whole, TTL: 3600, Apex: Apex{NS: []NameServer{{Name: "ns1.example.net."}}, Mailbox: "h.example.com.", Negative: 300}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	keys := &fakeKeys{end: now.Add(8 * 24 * time.Hour)}
	k := Keys{Signer: "example.com."}
	p := &SignedZone{Sign: keys.sign, Pause: func() error { return nil }, Margin: 24 * time.Hour, Renew: 3 * 24 * time.Hour, Spread: 24 * time.Hour}
	r := rand.New(rand.NewPCG(3, 4))
	zone := NewZone(place, "")
	zone.Serial = 1
	published := map[int]bool{}
	var journal *Journal
	var last *Transferable
	versions := map[uint32][]string{}
	for step := range 60 {
		edit := zone.Edit()
		for range 1 + r.IntN(5) {
			i := r.IntN(30)
			a := smimea.Address{Local: fmt.Sprintf("a%d.b%d.c", i, i%3), Domain: "example.com"}
			if published[i] {
				edit.Withdraw(a, uint32(i))
			} else if err := edit.Publish(a, Publication{File: uint32(i), Certs: [][]byte{{3, 1, 1, byte(i)}}, URL: "https://example.com/"}); err != nil {
				t.Fatal(err)
			}
			published[i] = !published[i]
		}
		if step%7 == 6 { // time goes by, and signatures are renewed
			now = now.Add(2 * 24 * time.Hour)
			keys.end = now.Add(8 * 24 * time.Hour)
		}
		zone, _ = edit.Zone(func(uint32) uint32 { return uint32(step + 2) })
		zone.Serial = uint32(step + 2)
		if zone.Owners(Certs) > 0 && step%5 == 0 && last != nil {
			if _, err := p.Next(zone, k, nil, nil, now); !errors.Is(err, ErrUnsigned) && p.Last() == last {
				t.Fatalf("a version without signatures: %v", err)
			}
		}
		zone = signAll(t, zone, k, keys, now)
		version, err := p.Next(zone, k, nil, nil, now)
		if err != nil {
			t.Fatal(err)
		}
		if p.Changed(zone, k, now) {
			t.Fatalf("step %d: the version has changed at once", step)
		}
		checkChain(t, version, now)
		if last != nil {
			journal = journal.Append(last, version)
		}
		last = version
		var all []string
		for rrs := range version.Records() {
			for _, rr := range rrs {
				all = append(all, packed(rr))
			}
		}
		slices.Sort(all)
		for serial, old := range versions {
			records, ok := journal.Since(serial, version)
			if !ok {
				if zone.Serial-serial < 5 {
					t.Fatalf("no way from %d to %d", serial, zone.Serial)
				}
				delete(versions, serial) // renewed signatures fill a journal
				continue
			}
			got := slices.Clone(old)
			soas := 0
			for rrs := range records {
				for _, rr := range rrs {
					if rr.Header().Rrtype == dns.TypeSOA {
						if soas++; soas == 1 || soas == 4 {
							continue
						}
					}
					if i, found := slices.BinarySearch(got, packed(rr)); soas == 2 && found {
						got = slices.Delete(got, i, i+1)
					} else if soas == 3 && !found {
						got = slices.Insert(got, i, packed(rr))
					} else {
						t.Fatalf("from %d to %d, part %d: %s is there: %v", serial, zone.Serial, soas, rr, found)
					}
				}
			}
			if !slices.Equal(got, all) {
				t.Fatalf("the way from %d to %d leads elsewhere", serial, zone.Serial)
			}
		}
		versions[zone.Serial] = all
	}
}

// checkChain holds that a transferable zone's NSEC3 records are a closed chain of the
// names that are there, each signed for long enough.
func checkChain(t *testing.T, e *Transferable, now time.Time) {
	t.Helper()
	names := map[string][]uint16{} // by hash
	add := func(name string, rtype uint16) {
		for wire, _ := Wire(name); ; wire = wire[1+wire[0]:] {
			hash := string(hashName(wire))
			if types := names[hash]; rtype != 0 && !slices.Contains(types, rtype) {
				types = append(types, rtype)
				if rtype != dns.TypeRRSIG && !slices.Contains(types, dns.TypeRRSIG) {
					types = append(types, dns.TypeRRSIG)
				}
				slices.Sort(types)
				names[hash] = types
			} else if types == nil {
				names[hash] = nil
			}
			if rtype = 0; bytes.Equal(wire, e.Zone.origin) {
				return
			}
		}
	}
	got := map[string]*dns.NSEC3{}
	for rrs := range e.Records() {
		for _, rr := range rrs {
			switch rr := rr.(type) {
			case *dns.NSEC3:
				hash, err := hashText.DecodeString(string(bytes.ToUpper([]byte(rr.Hdr.Name[:32]))))
				if err != nil || got[string(hash)] != nil {
					t.Fatalf("%s: %v, or it is there twice", rr, err)
				}
				got[string(hash)] = rr
			case *dns.RRSIG:
				if int32(rr.Expiration-uint32(now.Unix())) < 24*3600 {
					t.Fatalf("%s ends", rr)
				}
			default:
				add(rr.Header().Name, rr.Header().Rrtype)
			}
		}
	}
	add("example.com.", dns.TypeDNSKEY) // the test has none
	if len(got) != len(names) {
		t.Fatalf("%d NSEC3 records for %d names", len(got), len(names))
	}
	var hashes []string
	for hash := range names {
		hashes = append(hashes, hash)
	}
	slices.Sort(hashes)
	for i, hash := range hashes {
		next := hashes[(i+1)%len(hashes)]
		rr := got[hash]
		if rr == nil || rr.NextDomain != hashText.EncodeToString([]byte(next)) || !slices.Equal(rr.TypeBitMap, names[hash]) {
			t.Fatalf("at %x: %v, want types %v", hash, rr, names[hash])
		}
	}
}
