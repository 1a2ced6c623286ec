package answer

import (
	"fmt"
	"hash/maphash"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestKept holds what a slot keeps.
func TestKept(t *testing.T) {
	k := NewKept()
	sig := func(expires time.Duration) []dns.RR {
		return []dns.RR{&dns.RRSIG{Hdr: dns.RR_Header{Name: "a.", Rrtype: dns.TypeRRSIG, Class: dns.ClassINET}, SignerName: "a.", Expiration: uint32(time.Now().Add(expires).Unix())}}
	}
	now := time.Now()
	name := []byte("\x01a\x00")
	if k.put(0, 1, name, sig(8*24*time.Hour), now); k.get(0, 1, name, now) != nil {
		t.Errorf("what was put once is there")
	}
	if k.put(0, 1, name, sig(8*24*time.Hour), now); k.get(0, 1, name, now) == nil {
		t.Errorf("what was put again is not there")
	}
	for _, c := range []struct {
		zone   int
		serial uint32
		name   string
		at     time.Time
	}{{1, 1, "\x01a\x00", now}, {0, 2, "\x01a\x00", now}, {0, 1, "\x01b\x00", now}, {0, 1, "\x01a\x00", now.Add(6*24*time.Hour + time.Minute)}} {
		if k.get(c.zone, c.serial, []byte(c.name), c.at) != nil {
			t.Errorf("%v is there", c)
		}
	}
	// Others have to wait where all of a set are asked for often.
	var others [][]byte
	for i := 0; len(others) <= keptInSet; i++ {
		if n := fmt.Appendf(nil, "\x08%08d\x00", i); k.set(n) == k.set(name) {
			others = append(others, n)
		}
	}
	last := others[keptInSet]
	put := func(serial uint32, n []byte) {
		k.again(maphash.Bytes(k.seed, n))
		k.put(0, serial, n, sig(8*24*time.Hour), now)
	}
	for _, n := range others[:keptInSet-1] {
		put(1, n)
	}
	for _, n := range append(others[:keptInSet-1:keptInSet-1], name) {
		if k.get(0, 1, n, now) == nil {
			t.Errorf("%q is not there", n)
		}
	}
	if put(1, last); k.get(0, 1, last, now) != nil {
		t.Errorf("what was asked for often was displaced at once")
	}
	if put(1, last); k.get(0, 1, last, now) == nil {
		t.Errorf("what was not asked for any more was not displaced")
	}
	if put(2, others[0]); k.get(0, 2, others[0], now) == nil {
		t.Errorf("what is of an older version was not displaced")
	}
}
