// Package diagnose looks at a domain's S/MIME records and certificates from
// outside, as senders and validating resolvers do, and says what is wrong with
// them and how to mend it.
//
// [Doctor.Examine] looks at the delegation, the signatures and the denials at
// the names that RFC 8162 and the TXT records use; at every name server; and at
// some addresses, whose records and downloads it holds against each other.
package diagnose

import (
	"context"
	"errors"
	"slices"

	"github.com/miekg/dns"

	"coredns-smimea/discover"
	"coredns-smimea/discover/dnssec"
	"coredns-smimea/smimea"
)

// A Level is how bad a finding is.
type Level string

const (
	OK      Level = "ok"      // as it should be
	Warning Level = "warning" // works, but not well, or not for all
	Error   Level = "error"   // senders do not find certificates, or the wrong ones
)

// A Finding is one thing that was looked at.
type Finding struct {
	Level  Level
	Code   string // one word, for scripts
	Where  string // a name, a server or a URL
	Text   string
	Remedy string // "" if all is well
	// Follows is the code of an earlier finding that explains this one: once that
	// is mended, this one is gone, too, or can be judged.
	Follows string
}

// A Doctor examines domains.
type Doctor struct {
	// Server is whom to ask: a resolver, or the zone's name server.
	Server *discover.Server
	// Elsewhere is asked for what Server does not have, if not nil: Server is then
	// a name server, whose zones may not be delegated to it yet.
	Elsewhere *discover.Server
	// Anchors are what is trusted. A key of the domain counts for the zones that
	// are signed with it, since smimea keygen makes one for several.
	Anchors dnssec.Anchors
	// NameServers are asked in place of those of the NS records, if there are any.
	NameServers []*discover.Server
	// Client is how addresses are looked up; its Resolver is set here.
	Client discover.Client
	// Found is told each finding at once, if not nil.
	Found func(Finding)
}

// An examination is one under way.
type examination struct {
	*Doctor
	domain   string // without the final dot
	resolver *dnssec.Validator
	apexes   map[string]string // of the zones that the trees are in, by label
	findings []Finding
	causes   []cause
}

// Examine looks at a mail domain, as A-labels without the final dot, and at
// some of its addresses.
func (d *Doctor) Examine(ctx context.Context, domain string, addresses []smimea.Address) []Finding {
	e := &examination{Doctor: d, domain: domain, apexes: map[string]string{}}
	e.resolver = &dnssec.Validator{Exchange: e.exchange, Anchors: e.anchors(ctx)}
	for _, t := range trees {
		e.apexes[t.label] = e.tree(ctx, t, addresses)
	}
	for _, apex := range slices.Compact([]string{e.apexes[trees[0].label], e.apexes[trees[1].label]}) {
		if apex != "" && ctx.Err() == nil {
			e.zone(ctx, apex, addresses)
		}
	}
	e.authorization(ctx)
	for _, a := range addresses {
		if ctx.Err() == nil {
			e.address(ctx, a)
		}
	}
	if ctx.Err() != nil {
		e.say(Error, "interrupted", domain, "time was up before all was looked at", "give it more time, and see what is said not to answer")
	}
	return e.findings
}

// exchange asks Server, and Elsewhere for what it does not have.
func (e *examination) exchange(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	m, err := e.Server.Exchange(ctx, q)
	if e.Elsewhere == nil || err == nil && m.Authoritative && (m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError) {
		return m, err
	}
	other, otherErr := e.Elsewhere.Exchange(ctx, q)
	if otherErr != nil {
		return m, err // what the server of the domain says is more to the point
	}
	return other, nil
}

// beforehand is a Resolver of addresses before zones are delegated: their keys lead to
// nothing else, so that what Elsewhere says of hosts is taken as not signed.
type beforehand struct{ *examination }

func (e beforehand) Lookup(ctx context.Context, name string, qtype uint16) (*dnssec.Answer, error) {
	a, err := e.resolver.Lookup(ctx, name, qtype)
	if err != nil || a.Security != dnssec.Indeterminate || qtype != dns.TypeA && qtype != dns.TypeAAAA {
		return a, err
	}
	records, err := e.raw(ctx, name, qtype)
	if err != nil {
		return nil, err
	}
	return &dnssec.Answer{Security: dnssec.Insecure, Why: a.Why, Name: a.Name, Records: records}, nil
}

// say notes a finding.
func (e *examination) say(level Level, code, where, text, remedy string) {
	e.find(Finding{Level: level, Code: code, Where: where, Text: text, Remedy: remedy})
}

func (e *examination) find(f Finding) {
	e.findings = append(e.findings, f)
	if e.Found != nil {
		e.Found(f)
	}
}

// A cause is a finding that others follow from.
type cause struct {
	code string
	// of is what it is about: a zone, whose names follow, or a server or host.
	of string
}

// blame notes an error that others about the same zone, server or host will follow
// from, or one that follows from such an error itself.
func (e *examination) blame(of string, f Finding) {
	i := slices.IndexFunc(e.causes, func(c cause) bool {
		_, isName := dns.IsDomainName(of)
		return c.of == of || isName && dns.IsSubDomain(c.of, of)
	})
	if i >= 0 {
		f.Follows = e.causes[i].code
	} else {
		e.causes = append(e.causes, cause{f.Code, of})
	}
	e.find(f)
}

// question asks for what nothing else would ask for: without a validator's checks.
func question(name string, qtype uint16) *dns.Msg {
	q := new(dns.Msg)
	q.SetQuestion(name, qtype)
	q.SetEdns0(1232, true)
	q.CheckingDisabled = true
	return q
}

// raw asks for records without validating them: those that are wrong, too.
func (e *examination) raw(ctx context.Context, name string, qtype uint16) (records []dns.RR, err error) {
	m, err := e.exchange(ctx, question(name, qtype))
	if err != nil {
		return nil, err
	}
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return nil, errors.New(dns.RcodeToString[m.Rcode])
	}
	for _, rr := range m.Answer {
		if rr.Header().Rrtype == qtype {
			records = append(records, rr)
		}
	}
	return records, nil
}
