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
	"crypto/rand"
	"encoding/hex"
	"fmt"
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
}

// A Doctor examines domains.
type Doctor struct {
	// Server answers for the whole DNS, or at least for the domain and all
	// that is on the way to it from Anchors.
	Server  *discover.Server
	Anchors dnssec.Anchors
	// NameServers are asked in place of those that the NS records name.
	NameServers []*discover.Server
	// Client looks addresses up. Its Resolver is set.
	Client discover.Client
	// Found is told each finding at once, if not nil.
	Found func(Finding)
}

// An examination is one under way.
type examination struct {
	*Doctor
	domain   string // without the final dot
	resolver *dnssec.Validator
	findings []Finding
}

// Examine looks at a mail domain, as A-labels without the final dot, and at
// some of its addresses.
func (d *Doctor) Examine(ctx context.Context, domain string, addresses []smimea.Address) []Finding {
	e := &examination{Doctor: d, domain: domain, resolver: &dnssec.Validator{Exchange: d.Server.Exchange, Anchors: d.Anchors}}
	zones := map[string]bool{}
	for _, t := range trees {
		if apex := e.tree(ctx, t, len(addresses) > 0); apex != "" && !zones[apex] {
			zones[apex] = true
			e.zone(ctx, apex, addresses)
		}
	}
	for _, a := range addresses {
		e.address(ctx, a)
	}
	return e.findings
}

func (e *examination) say(level Level, code, where, text, remedy string) {
	f := Finding{level, code, where, text, remedy}
	e.findings = append(e.findings, f)
	if e.Found != nil {
		e.Found(f)
	}
}

// A tree is one of the two sub-trees of a mail domain.
type tree struct {
	label string
	qtype uint16
}

var trees = []tree{{"_smimecert", dns.TypeSMIMEA}, {"_smime", dns.TypeTXT}}

// tree looks at the top of a sub-tree, and returns the apex of its zone.
func (e *examination) tree(ctx context.Context, t tree, published bool) (apex string) {
	name := t.label + "." + e.domain + "."
	apex, err := discover.Apex(ctx, e.Server.Exchange, name)
	if err != nil {
		e.say(Error, "no_answer", name, err.Error(), "see that the domain's name servers can be reached, and answer")
		return ""
	}
	if apex == name {
		e.delegation(ctx, name)
	}
	a, err := e.resolver.Lookup(ctx, name, t.qtype)
	if err != nil {
		e.say(Error, "no_answer", name, err.Error(), "see that the domain's name servers can be reached, and answer")
		return apex
	}
	switch {
	case e.insecure(name, a):
	case a.NameError && published:
		e.say(Error, "empty_denied", name, "the name is said not to exist, so that resolvers deny all names below it, too (RFC 8020)",
			"answer NOERROR with no records for names that only have others below them")
	case a.NameError:
		e.say(Warning, "nothing", name, "nothing is published below the name", "publish a certificate, or name an address that has one")
	default:
		e.say(OK, "signed", name, "exists, and is signed", "")
	}
	e.denial(ctx, e.resolver, "", randomLabel()+"."+name, t.qtype)
	return apex
}

// insecure says what is wrong with the security of an answer, if anything is.
func (e *examination) insecure(where string, a *dnssec.Answer) bool {
	switch a.Security {
	case dnssec.Secure:
		return false
	case dnssec.Insecure:
		e.say(Error, "insecure", where, "is not signed: "+a.Why, "sign the zone, and have the DS record of its key put into the parent zone; without, SMIMEA records count for nothing (RFC 8162 section 6)")
	case dnssec.Bogus:
		e.say(Error, "bogus", where, "does not validate: "+a.Why, "mend the signatures, or the DS record in the parent zone; until then the names do not exist for validating resolvers")
	default:
		e.say(Error, "indeterminate", where, a.Why, "name a trust anchor that is above the domain")
	}
	return true
}

// delegation looks at the DS records of a sub-zone.
func (e *examination) delegation(ctx context.Context, name string) {
	a, err := e.resolver.Lookup(ctx, name, dns.TypeDS)
	switch {
	case err != nil:
		e.say(Error, "no_answer", name, err.Error(), "see that the parent zone's name servers answer")
	case len(a.Records) > 0 && a.Security == dnssec.Secure:
		e.say(OK, "delegated", name, "is a zone of its own, with DS records in its parent", "")
	case len(e.Anchors[name]) > 0:
		e.say(OK, "delegated", name, "is a zone of its own, with a trust anchor", "")
	case a.Security >= dnssec.Insecure && len(a.Records) == 0:
		e.say(Error, "no_ds", name, "is a zone of its own, without DS records in its parent", "have the parent publish the DS record that smimea keygen printed")
	}
}

// denial looks at the denial of a name that does not exist. On says whose it is.
func (e *examination) denial(ctx context.Context, v *dnssec.Validator, on, name string, qtype uint16) {
	a, err := v.Lookup(ctx, name, qtype)
	switch {
	case err != nil:
		e.say(Error, "no_denial", name, on+err.Error(), "answer for names that do not exist, too")
	case len(a.Records) > 0 && a.Wildcard:
		e.say(Warning, "wildcard", name, on+"a wildcard has records for every user", "remove it, unless all users share a certificate")
	case len(a.Records) > 0:
		e.say(Error, "invented", name, on+"there are records for a name that nobody has", "answer for users only")
	case a.Security == dnssec.Bogus:
		e.say(Error, "bogus_denial", name, on+"the denial does not validate: "+a.Why, "sign denials; a resolver that validates answers SERVFAIL, and mail to users without a certificate is held up")
	case a.Security == dnssec.Secure:
		e.say(OK, "denied", name, on+"a name that does not exist is denied, signed", "")
	}
}

func question(name string, qtype uint16) *dns.Msg {
	q := new(dns.Msg)
	q.SetQuestion(name, qtype)
	q.SetEdns0(1232, true)
	q.CheckingDisabled = true
	return q
}

// randomLabel is of the form of a digest that no address has.
func randomLabel() string {
	var b [28]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// nameServers returns the servers of a zone, with their names.
func (e *examination) nameServers(ctx context.Context, apex string) (servers []*discover.Server, names []string) {
	if len(e.NameServers) > 0 {
		for _, s := range e.NameServers {
			names = append(names, s.String())
		}
		return e.NameServers, names
	}
	a, err := e.resolver.Lookup(ctx, apex, dns.TypeNS)
	if err != nil || len(a.Records) == 0 {
		e.say(Error, "no_ns", apex, "no NS records are found", "publish them, in the zone and in its parent")
		return nil, nil
	}
	for _, rr := range a.Records {
		name := dns.CanonicalName(rr.(*dns.NS).Ns)
		addresses, err := discover.Addresses(ctx, e.resolver, name)
		if err != nil || len(addresses) == 0 {
			e.say(Error, "no_address", name, "the name server of "+apex+" has no address", "give it an A or AAAA record")
		}
		for _, address := range addresses {
			if server, err := discover.ParseServer(address.String()); err == nil {
				servers, names = append(servers, server), append(names, name+" ("+address.String()+")")
			}
		}
	}
	return servers, names
}

// zone looks at every name server of a zone.
func (e *examination) zone(ctx context.Context, apex string, addresses []smimea.Address) {
	servers, names := e.nameServers(ctx, apex)
	var serials []uint32
	for i, server := range servers {
		where := names[i]
		m, err := server.Exchange(ctx, question(apex, dns.TypeSOA))
		if err != nil {
			e.say(Error, "dead", where, "does not answer for "+apex+": "+err.Error(), "start it, let UDP and TCP through, or take it out of the NS records")
			continue
		}
		soa := firstSOA(m)
		if soa == nil || !m.Authoritative {
			e.say(Error, "lame", where, "does not have the zone "+apex, "configure the zone there, or take it out of the NS records")
			continue
		}
		serials = append(serials, soa.Serial)
		e.say(OK, "serial", where, fmt.Sprintf("has %s with serial %d", apex, soa.Serial), "")
		v := discover.Through(e.resolver, apex, server.Exchange)
		for _, t := range trees {
			if top := t.label + "." + e.domain + "."; dns.IsSubDomain(apex, top) {
				e.denial(ctx, v, where+": ", randomLabel()+"."+top, t.qtype)
			}
		}
		for _, a := range addresses {
			e.serverOwner(ctx, server, v, where, apex, a.Owner(), dns.TypeSMIMEA)
			if owner, err := a.TextOwner(); err == nil {
				e.serverOwner(ctx, server, v, where, apex, owner, dns.TypeTXT)
			}
		}
	}
	if len(slices.Compact(slices.Sorted(slices.Values(serials)))) > 1 {
		e.say(Warning, "serials", apex, fmt.Sprintf("the name servers have different serials: %v", serials), "see that transfers work; for a while after a change this is as it should be")
	}
}

func firstSOA(m *dns.Msg) *dns.SOA {
	for _, rr := range m.Answer {
		if soa, ok := rr.(*dns.SOA); ok {
			return soa
		}
	}
	return nil
}
