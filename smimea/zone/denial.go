package zone

import (
	"bytes"
	"slices"

	"github.com/miekg/dns"
)

// NSEC returns the record that denies every type but those that exist at a
// name, and, where the name does not exist, says so (RFC 9824 sections 3.1 to
// 3.3). It covers nothing but the name itself.
//
// Name is the owner in wire form, lower case; extra are types at the name that
// the zone does not know of, such as DNSKEY at its apex.
func (z *Zone) NSEC(n Name, name []byte, ttl uint32, extra ...uint16) *dns.NSEC {
	next := Successor(name)
	if !within(next, z.origin) {
		next = z.origin // what a zone's last NSEC points to
	}
	types := slices.Concat(n.Types(), extra, []uint16{dns.TypeRRSIG, dns.TypeNSEC})
	if n.Kind == Absent {
		types = append(types, dns.TypeNXNAME)
	}
	slices.Sort(types)
	return &dns.NSEC{
		Hdr:        dns.RR_Header{Name: Text(name), Rrtype: dns.TypeNSEC, Class: dns.ClassINET, Ttl: ttl},
		NextDomain: Text(next),
		TypeBitMap: slices.Compact(types),
	}
}

// within reports whether a name is at or below another, both in wire form.
func within(name, other []byte) bool {
	for off := 0; !bytes.Equal(name[off:], other); off += 1 + int(name[off]) {
		if name[off] == 0 {
			return false
		}
	}
	return true
}
