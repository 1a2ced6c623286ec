package main

import (
	"flag"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"coredns-smimea/smimea"
)

var recordsVerb = verb{
	name:     "records",
	synopsis: "FILE... | DIR",
	summary:  "the records to publish, for a name server of any kind",
	help: `
Prints the SMIMEA and TXT records of certificates: for those who do not run
CoreDNS, or want to see what it would answer. Files that are left out are named
on stderr (smimea check says more), and the records of the others are printed.

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
		o.policyFlags.define(f)
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
	TTL   int    `json:"ttl"`
	Type  string `json:"type"`
	Data  string `json:"data"` // presentation form
}

type outJSON struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
	Detail string `json:"detail"`
}

func records(u *ui, operands []string, o *recordsOptions) (exit, error) {
	if len(operands) == 0 {
		return 0, usageError("a directory or file is missing")
	}
	var form func(z *zoneFile) error
	switch o.format {
	case "zone":
		form = (*zoneFile).zone
	case "rfc3597":
		form = (*zoneFile).rfc3597
	case "nsupdate":
		form = (*zoneFile).nsupdate
	default:
		return 0, usageError("unknown -format " + quote(o.format))
	}
	p, err := o.policy()
	if err != nil {
		return 0, fail(exitUsage, err)
	}
	z := &zoneFile{u: u, ttl: int(p.ttl.Seconds()), ns: o.ns, mbox: o.mbox, serial: uint32(o.serial)}
	if o.zone != "" {
		if z.origin, err = parseZone(o.zone); err != nil {
			return 0, fail(exitUsage, err)
		}
		p.domains = []string{z.domain()}
	}
	if o.serial == 0 {
		z.serial = uint32(p.now.Unix())
	}
	files, err := readSources(u, operands)
	if err != nil {
		return 0, err
	}
	pub := p.publish(files)
	z.sets = pub.sets
	status := exitOK
	for _, out := range pub.out {
		if !u.json {
			u.warn("%s: %v", out.path, out.err)
		}
		status = exitNone
	}
	if u.json {
		return status, u.emit(z.json(pub))
	}
	return status, form(z)
}

// policyFlags are the flags that say how is published: the directive's options.
type policyFlags struct {
	records records3
	url     string
	ttl     time.Duration
	casing  string
}

func (o *policyFlags) define(f *flag.FlagSet) {
	f.Var(&o.records, "record", "`\"USAGE SELECTOR MATCHING\"` of the SMIMEA records, may be repeated (default \"3 1 1\")")
	f.StringVar(&o.url, "url", "https://{domain}/.well-known/smime/{file}", "`TEMPLATE` of the URL in the TXT records, with {domain}, {file}, {hash}, or off")
	f.DurationVar(&o.ttl, "ttl", time.Hour, "`DURATION` for which records can be cached")
	f.StringVar(&o.casing, "case", "lower", "lower: publish under the lower-case local-part too; exact: do not")
}

func (o *policyFlags) policy() (*policy, error) {
	p := &policy{records: o.records, ttl: o.ttl, now: time.Now()}
	if len(p.records) == 0 {
		p.records = []smimea.Association{{Usage: 3, Selector: 1, Matching: 1}}
	}
	if o.ttl < time.Second || o.ttl > 24*time.Hour || o.ttl%time.Second != 0 {
		return nil, fmt.Errorf("the ttl %v is not whole seconds from 1s to 24h", o.ttl)
	}
	switch o.casing {
	case "exact":
		p.exact = true
	case "lower":
	default:
		return nil, fmt.Errorf("unknown -case %q: want lower or exact", o.casing)
	}
	if o.url != "off" {
		var err error
		if p.url, err = smimea.ParseURLTemplate(o.url); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// records3 is a flag of associations.
type records3 []smimea.Association

func (r *records3) String() string { return "" }

func (r *records3) Set(s string) error {
	fields := strings.Fields(s)
	if len(fields) != 3 {
		return fmt.Errorf("want three numbers in one argument, as in \"3 1 1\"")
	}
	a, err := smimea.ParseAssociation(fields[0], fields[1], fields[2])
	if err == nil {
		*r = append(*r, a)
	}
	return err
}

// list is a flag that can be repeated.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// parseServer splits NAME[=ADDRESS].
func parseNS(s string) (name string, address netip.Addr, err error) {
	name, text, found := strings.Cut(s, "=")
	if name, err = parseZone(name); err != nil {
		return "", netip.Addr{}, err
	}
	if found {
		if address, err = netip.ParseAddr(text); err != nil {
			return "", netip.Addr{}, fmt.Errorf("the name server %q: %w", s, err)
		}
	}
	return name, address, nil
}
