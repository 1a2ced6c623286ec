package main

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// A zoneFile writes records for a name server.
type zoneFile struct {
	u      *ui
	origin string // of a whole zone; "" for records to be included
	ttl    int
	serial uint32
	ns     []string // NAME[=ADDRESS]
	mbox   string
	sets   []recordSet
}

// negativeTTL is how long a resolver may hold that a user does not exist: new
// users should be seen soon.
const negativeTTL = 300

// domain returns the mail domain of the origin, without the final dot.
func (z *zoneFile) domain() string {
	domain := strings.TrimSuffix(z.origin, ".")
	for _, sub := range []string{"_smimecert.", "_smime."} {
		domain = strings.TrimPrefix(domain, sub)
	}
	return domain
}

// within calls f for the sets of the zone.
func (z *zoneFile) within(f func(*recordSet)) {
	for i := range z.sets {
		if z.origin == "" || dns.IsSubDomain(z.origin, z.sets[i].owner) {
			f(&z.sets[i])
		}
	}
}

func (z *zoneFile) zone() error    { return z.write(presentation) }
func (z *zoneFile) rfc3597() error { return z.write(unknown) }

func (z *zoneFile) write(form func(*recordSet, []byte) string) error {
	if z.origin != "" {
		apex, err := z.apex()
		if err != nil {
			return err
		}
		for _, line := range apex {
			z.u.print("%s\n", line)
		}
	}
	z.within(func(set *recordSet) {
		for _, rdata := range set.rdata {
			z.u.print("%s\t%d\tIN\t%s\n", set.owner, z.ttl, form(set, rdata))
		}
	})
	return nil
}

// apex returns the SOA and NS records of a whole zone, and the addresses of
// name servers inside it, without which most servers refuse the zone.
func (z *zoneFile) apex() ([]string, error) {
	names := z.ns
	if len(names) == 0 {
		names = []string{"ns." + z.domain()}
	}
	mbox := z.mbox
	if mbox == "" {
		mbox = "hostmaster." + z.domain()
	}
	var servers, glue []string
	for _, server := range names {
		name, address, err := parseNS(server)
		if err != nil {
			return nil, fail(exitUsage, err)
		}
		if dns.IsSubDomain(z.origin, name) && !address.IsValid() {
			return nil, usageError(fmt.Sprintf("the name server %s is inside the zone, so its address must be too: -ns %s=ADDRESS", name, strings.TrimSuffix(name, ".")))
		}
		servers = append(servers, name)
		if dns.IsSubDomain(z.origin, name) {
			glue = append(glue, addressRecord(name, z.ttl, address))
		}
	}
	lines := []string{fmt.Sprintf("%s\t%d\tIN\tSOA\t%s %s %d 7200 3600 1209600 %d",
		z.origin, z.ttl, servers[0], dns.Fqdn(mbox), z.serial, min(negativeTTL, z.ttl))}
	for _, server := range servers {
		lines = append(lines, fmt.Sprintf("%s\t%d\tIN\tNS\t%s", z.origin, z.ttl, server))
	}
	return append(lines, glue...), nil
}

func addressRecord(name string, ttl int, address netip.Addr) string {
	rrtype := "AAAA"
	if address.Is4() {
		rrtype = "A"
	}
	return fmt.Sprintf("%s\t%d\tIN\t%s\t%s", name, ttl, rrtype, address)
}

// updates is how many names are in one update: a message has 64 KiB, and one
// name with full certificates can take several of them.
const updates = 20

// nsupdate writes commands that replace each name's records.
func (z *zoneFile) nsupdate() error {
	pending, last := 0, ""
	send := func() {
		if pending > 0 {
			z.u.print("send\n")
			pending = 0
		}
	}
	z.within(func(set *recordSet) {
		zone := z.origin
		if zone == "" {
			zone = set.domain + "."
		}
		if pending == updates || zone != last {
			send()
		}
		if zone != last && z.origin != "" {
			z.u.print("zone %s\n", zone)
		}
		last = zone
		z.u.print("update delete %s %s\n", set.owner, set.rrtype())
		for _, rdata := range set.rdata {
			z.u.print("update add %s %d IN %s\n", set.owner, z.ttl, presentation(set, rdata))
		}
		pending++
	})
	send()
	return nil
}

func (z *zoneFile) json(pub *publication) recordsJSON {
	result := recordsJSON{Schema: "smimea-records/1", Records: []recordJSON{}, LeftOut: []outJSON{}}
	z.within(func(set *recordSet) {
		for _, rdata := range set.rdata {
			_, data, _ := strings.Cut(presentation(set, rdata), "\t")
			result.Records = append(result.Records, recordJSON{set.owner, z.ttl, set.rrtype(), data})
		}
	})
	for _, out := range pub.out {
		result.LeftOut = append(result.LeftOut, outJSON{out.path, out.reason, out.err.Error()})
	}
	return result
}

func (set *recordSet) rrtype() string {
	if set.text {
		return "TXT"
	}
	return "SMIMEA"
}

// presentation writes a record's type and data.
func presentation(set *recordSet, rdata []byte) string {
	if !set.text {
		return fmt.Sprintf("SMIMEA\t%d %d %d %s", rdata[0], rdata[1], rdata[2], hex.EncodeToString(rdata[3:]))
	}
	var b strings.Builder
	b.WriteString("TXT\t")
	for i := 0; i < len(rdata); {
		end := i + 1 + int(rdata[i])
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteByte('"')
		for _, c := range rdata[i+1 : end] { // of a URL: printable ASCII
			if c == '"' || c == '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(c)
		}
		b.WriteByte('"')
		i = end
	}
	return b.String()
}

// unknown writes a record as RFC 3597 section 5 does, but for TXT, which every
// server knows.
func unknown(set *recordSet, rdata []byte) string {
	if set.text {
		return presentation(set, rdata)
	}
	return fmt.Sprintf("TYPE%d\t\\# %d %s", dns.TypeSMIMEA, len(rdata), hex.EncodeToString(rdata))
}
