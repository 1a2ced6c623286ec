package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/certsource"
	"coredns-smimea/certsource/directory"
	"coredns-smimea/smimea"
	"coredns-smimea/smimea/zone"
)

var recordsVerb = verb{
	name:     "records",
	synopsis: "FILE... | DIR",
	summary:  "the records to publish, for a name server of any kind",
	help: `
Prints the SMIMEA and TXT records of certificates: for those who do not run
CoreDNS, or want to see what it would answer. Files that are left out are named
on stderr (smimea check says more), and the records of the others are printed;
the exit status is then 1.

To be included in a zone that exists ($INCLUDE), or as a zone of its own:

  smimea records /etc/smime > smime.inc
  smimea records -zone _smimecert.example.com -ns ns1.example.net /etc/smime
  smimea records -zone _smime.example.com -ns ns1.example.net /etc/smime

For a name server that knows no SMIMEA records, and for one that is updated:

  smimea records -format rfc3597 /etc/smime
  smimea records -format nsupdate /etc/smime | nsupdate -k key

What is printed holds today: run it again when a file changes or expires.
nsupdate replaces the records of the names that it has; of users who are gone it
knows nothing.
`,
	setup: func(f *flag.FlagSet) action {
		o := recordsOptions{}
		o.define(f)
		f.StringVar(&o.format, "format", "zone", "`FORM`: zone, rfc3597 (a zone, with SMIMEA as TYPE53) or nsupdate")
		f.StringVar(&o.zone, "zone", "", "print all of the `ZONE`, with SOA and NS: a mail domain, or its _smimecert or _smime part")
		f.Var(&o.ns, "ns", "name server `NAME[=ADDRESS]` of the zone, may be repeated (default ns.<mail domain>)")
		f.StringVar(&o.mbox, "mbox", "", "`MAILBOX` of the SOA, as a name (default hostmaster.<mail domain>)")
		f.Uint64Var(&o.serial, "serial", 0, "`NUMBER` of the SOA (default seconds since 1970)")
		return func(u *ui, operands []string) (exit, error) { return records(u, operands, &o) }
	},
}

type recordsOptions struct {
	policyFlags
	format, zone, mbox string
	ns                 list
	serial             uint64
}

type recordsJSON struct {
	Schema  string       `json:"schema"` // smimea-records/1
	Records []recordJSON `json:"records"`
	LeftOut []outJSON    `json:"left_out"`
}

type recordJSON struct {
	Owner string `json:"owner"`
	TTL   uint32 `json:"ttl"`
	Type  string `json:"type"`
	Data  string `json:"data"` // presentation form
}

type outJSON struct {
	Path   string `json:"path"`
	Reason string `json:"reason"` // certsource's word
	Detail string `json:"detail"`
}

func records(u *ui, operands []string, o *recordsOptions) (exit, error) {
	if len(operands) == 0 {
		return 0, usageError("a directory or file is missing")
	}
	write := map[string]func(*zoneWriter){"zone": (*zoneWriter).zone, "rfc3597": (*zoneWriter).rfc3597, "nsupdate": (*zoneWriter).nsupdate}[o.format]
	if write == nil {
		return 0, usageError("unknown -format " + quote(o.format) + ": want zone, rfc3597 or nsupdate")
	}
	p, err := o.policy(u)
	if err != nil {
		return 0, err
	}
	zones, err := o.zones(p)
	if err != nil {
		return 0, err
	}
	out := []outJSON{}
	id := uint32(0)
	s := source{Options: directory.Options{Roots: p.roots, Margin: p.ttl}, now: p.now, progress: u.progress("reading certificates")}
	err = s.read(operands, func(f sourceFile) {
		if len(f.certs) == 0 {
			out = append(out, outJSON{f.path, string(f.refusal.Reason), f.refusal.Error()})
			return
		}
		for _, unused := range f.unused {
			u.warn("%s: not published: %s", f.path, unused)
		}
		for i := range f.certs {
			id++
			for _, err := range zones.publish(p, f, &f.certs[i], id) {
				out = append(out, outJSON{f.path, "address", err.Error()})
			}
		}
	})
	if err != nil {
		return 0, err
	}
	slices.SortStableFunc(out, func(a, b outJSON) int { return cmp.Compare(a.Path, b.Path) })
	w := &zoneWriter{u: u, sets: zones.sets(uint32(cmp.Or(o.serial, uint64(p.now.Unix()))))}
	status := exitOK
	if len(out) > 0 {
		status = exitNone
	}
	if u.json {
		return status, u.emit(recordsJSON{"smimea-records/1", w.json(), out})
	}
	for _, left := range out {
		u.warn("%s: %s", left.Path, left.Detail)
	}
	write(w)
	return status, nil
}

// zoneSet are the zones that records are made for, by mail domain: one that was
// asked for, or one for each domain there is.
type zoneSet struct {
	ttl   uint32
	only  bool // the zones that are there are all
	zones map[string]*zone.Edit
}

func (o *recordsOptions) zones(p *policy) (*zoneSet, error) {
	z := &zoneSet{ttl: uint32(p.ttl.Seconds()), zones: map[string]*zone.Edit{}}
	if o.zone == "" {
		if len(o.ns) > 0 || o.mbox != "" || o.serial != 0 {
			return nil, usageError("-ns, -mbox and -serial are of a whole zone: say which by -zone")
		}
		return z, nil
	}
	if o.serial > 1<<32-1 {
		return nil, usageError("a serial has 32 bits")
	}
	origin, err := parseZone(o.zone)
	if err != nil {
		return nil, fail(exitUsage, err)
	}
	domain := strings.TrimPrefix(strings.TrimPrefix(origin, "_smimecert."), "_smime.")
	place := zone.Place{Origin: origin, TTL: z.ttl, Apex: zone.Apex{
		Mailbox: dns.Fqdn(cmp.Or(o.mbox, "hostmaster."+domain)),
		Refresh: 3600, Retry: 900, Expire: 1209600, Negative: min(negativeTTL, z.ttl),
	}}
	if len(o.ns) == 0 {
		o.ns = list{"ns." + domain}
	}
	for _, text := range o.ns {
		ns, err := parseNS(text, origin)
		if err != nil {
			return nil, fail(exitUsage, err)
		}
		place.Apex.NS = append(place.Apex.NS, ns)
	}
	z.only = true
	return z, z.add(place)
}

// negativeTTL is how long a resolver may hold that a user does not exist: new
// users should be seen soon.
const negativeTTL = 300

func (z *zoneSet) add(from zone.Place) error {
	place, err := zone.NewPlace(from)
	if err != nil {
		return fail(exitUsage, err)
	}
	z.zones[place.Domain] = zone.NewZone(place, "").Edit()
	return nil
}

// publish adds the records of one of a file's certificates, and returns what is wrong
// with its addresses. That one has no TXT record is for check to say.
func (z *zoneSet) publish(p *policy, f sourceFile, cert *certsource.Certificate, id uint32) (bad []error) {
	publication := zone.Publication{File: id, Lower: p.Lower, Certs: p.Data(cert.Raw, cert.SPKI)}
	for _, text := range cert.Addresses {
		entry, err := p.Entry(text, f.source(cert))
		if err != nil {
			bad = append(bad, err)
			continue
		}
		domain := entry.Address.Domain
		if z.zones[domain] == nil {
			if z.only {
				continue
			}
			if err := z.add(zone.Place{Origin: domain, Layout: zone.Beside, TTL: z.ttl}); err != nil {
				bad = append(bad, err)
				continue
			}
		}
		publication.URL = entry.URL
		if err := z.zones[domain].Publish(entry.Address, publication); err != nil {
			bad = append(bad, err)
		}
	}
	return bad
}

// sets returns all record sets: domain by domain, the apex first, then by owner.
func (z *zoneSet) sets(serial uint32) []recordSet {
	var all []recordSet
	for domain, edit := range z.zones {
		zone, _ := edit.Zone(func(uint32) uint32 { return serial })
		zone.Serial = serial
		for rrs := range zone.Records() {
			all = append(all, recordSet{domain, rrs})
		}
	}
	slices.SortStableFunc(all, func(a, b recordSet) int {
		return cmp.Or(cmp.Compare(a.domain, b.domain), cmp.Compare(a.rank(), b.rank()),
			cmp.Compare(a.rrs[0].Header().Name, b.rrs[0].Header().Name))
	})
	return all
}

// parseNS reads NAME[=ADDRESS]. Inside the zone a name server needs an address,
// without which most servers refuse the zone; outside it, none is of use.
func parseNS(s, origin string) (zone.NameServer, error) {
	name, text, found := strings.Cut(s, "=")
	fqdn, err := parseZone(name)
	if err != nil {
		return zone.NameServer{}, err
	}
	ns := zone.NameServer{Name: fqdn}
	inside := dns.IsSubDomain(origin, fqdn)
	switch {
	case inside && !found:
		return ns, fmt.Errorf("the name server %s is inside the zone, so its address must be too: -ns %s=ADDRESS", fqdn, strings.TrimSuffix(fqdn, "."))
	case !inside && found:
		return ns, fmt.Errorf("the name server %s is outside the zone, and so is its address: -ns %s", fqdn, strings.TrimSuffix(fqdn, "."))
	case found:
		address, err := netip.ParseAddr(text)
		if err != nil {
			return ns, fmt.Errorf("the name server %q: %w", s, err)
		}
		ns.Addresses = []netip.Addr{address}
	}
	return ns, nil
}

// list is a flag that can be repeated.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// A records3 is a flag of associations.
type records3 []smimea.Association

func (r *records3) String() string { return "" }

func (r *records3) Set(s string) error {
	fields := strings.Fields(s)
	if len(fields) != 3 {
		return errors.New("want three numbers in one argument, as in \"3 1 1\"")
	}
	a, err := smimea.ParseAssociation(fields[0], fields[1], fields[2])
	if err == nil {
		*r = append(*r, a)
	}
	return err
}

const maxTTL = 24 * time.Hour
