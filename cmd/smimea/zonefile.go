package main

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// A recordSet is one RRset.
type recordSet struct {
	domain string // the mail domain
	rrs    []dns.RR
}

func (s recordSet) rrtype() uint16 { return s.rrs[0].Header().Rrtype }

// rank puts the apex in front: servers want the SOA first.
func (s recordSet) rank() int {
	switch s.rrtype() {
	case dns.TypeSOA:
		return 0
	case dns.TypeNS:
		return 1
	case dns.TypeA, dns.TypeAAAA:
		return 2
	}
	return 3
}

// A zoneWriter writes records for a name server.
type zoneWriter struct {
	u    *ui
	sets []recordSet
}

func (w *zoneWriter) zone()    { w.write(presentation) }
func (w *zoneWriter) rfc3597() { w.write(unknown) }

func (w *zoneWriter) write(data func(dns.RR) (rrtype, data string)) {
	for _, set := range w.sets {
		for _, rr := range set.rrs {
			rrtype, text := data(rr)
			w.u.print("%s\t%d\tIN\t%s\t%s\n", ownerText(rr), rr.Header().Ttl, rrtype, text)
		}
	}
}

// maxUpdate is how many octets the records of one update can have: a message has
// 65,535 (RFC 2136 section 2, RFC 1035 section 4.2.2), of which the header, the zone
// and a signature (TSIG, with the names of two servers) need some.
const maxUpdate = 64_000

// nsupdate writes commands that replace each name's records, in as few messages as
// hold them. A message is of one zone (RFC 2136 section 2.3), and _smimecert and _smime
// may be two. An apex is not for us to update.
func (w *zoneWriter) nsupdate() {
	sets := slices.Clone(w.sets)
	slices.SortStableFunc(sets, func(a, b recordSet) int {
		return cmp.Or(cmp.Compare(a.domain, b.domain), cmp.Compare(b.rrtype(), a.rrtype()))
	})
	size, part := 0, recordSet{}
	for _, set := range sets {
		if set.rank() < 3 {
			continue
		}
		rrtype := dns.TypeToString[set.rrtype()]
		needs := dns.Len(set.rrs[0]) // at least that of the deletion, which has no data
		for _, rr := range set.rrs {
			needs += dns.Len(rr)
		}
		if size > 0 && (size+needs > maxUpdate || set.domain != part.domain || set.rrtype() != part.rrtype()) {
			w.u.print("send\n")
			size = 0
		}
		part = set
		w.u.print("update delete %s %s\n", ownerText(set.rrs[0]), rrtype)
		size += dns.Len(set.rrs[0])
		for _, rr := range set.rrs {
			// One name can have more than a message holds: it is filled in several.
			if size += dns.Len(rr); size > maxUpdate {
				w.u.print("send\n")
				size = dns.Len(rr)
			}
			_, data := presentation(rr)
			w.u.print("update add %s %d IN %s %s\n", ownerText(rr), rr.Header().Ttl, rrtype, data)
		}
	}
	if size > 0 {
		w.u.print("send\n")
	}
}

func (w *zoneWriter) json() []recordJSON {
	records := []recordJSON{}
	for _, set := range w.sets {
		for _, rr := range set.rrs {
			rrtype, data := presentation(rr)
			records = append(records, recordJSON{ownerText(rr), rr.Header().Ttl, rrtype, data})
		}
	}
	return records
}

// ownerText writes an owner for the zone files of all servers: some take no
// other characters in a name than these, though the DNS has no such rule, and
// RFC 1035 section 5.1 gives some a meaning.
func ownerText(rr dns.RR) string {
	name := rr.Header().Name
	wire := make([]byte, 256)
	end, err := dns.PackDomainName(name, wire, 0, nil, false)
	if err != nil {
		return name
	}
	var b strings.Builder
	for label := wire[:end]; label[0] != 0; label = label[1+label[0]:] {
		for _, c := range label[1 : 1+label[0]] {
			if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
				b.WriteByte(c)
			} else {
				fmt.Fprintf(&b, "\\%03d", c)
			}
		}
		b.WriteByte('.')
	}
	return b.String()
}

// presentation writes a record's type and data.
func presentation(rr dns.RR) (rrtype, data string) {
	return dns.TypeToString[rr.Header().Rrtype], strings.TrimPrefix(rr.String(), rr.Header().String())
}

// unknown writes SMIMEA as RFC 3597 section 5 does, and other types as usual:
// every server knows them.
func unknown(rr dns.RR) (rrtype, data string) {
	r, ok := rr.(*dns.SMIMEA)
	if !ok {
		return presentation(rr)
	}
	digest, _ := hex.DecodeString(r.Certificate)
	return fmt.Sprintf("TYPE%d", dns.TypeSMIMEA), fmt.Sprintf("\\# %d %02x%02x%02x%x", 3+len(digest), r.Usage, r.Selector, r.MatchingType, digest)
}
