package diagnose

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"

	"github.com/miekg/dns"

	"coredns-smimea/discover"
	"coredns-smimea/discover/dnssec"
	"coredns-smimea/smimea"
)

// A tree is one of the two sub-trees of a mail domain.
type tree struct {
	label string
	qtype uint16
}

var trees = []tree{{"_smimecert", dns.TypeSMIMEA}, {"_smime", dns.TypeTXT}}

const reachServers = "see that the domain's name servers can be reached, and answer"

// owner is the name of an address in the tree, false if it can have none.
func (t tree) owner(a smimea.Address) (string, bool) {
	if t.qtype == dns.TypeSMIMEA {
		return a.Owner(), true
	}
	owner, err := a.TextOwner()
	return owner, err == nil
}

// tree looks at the top of a sub-tree, and returns the apex of its zone.
func (e *examination) tree(ctx context.Context, t tree, addresses []smimea.Address) (apex string) {
	name := t.label + "." + e.domain + "."
	if t.qtype == dns.TypeTXT && !e.anchored(name) {
		e.say(OK, "no_txt", name, "no trust anchor is above the name, which is not looked at: certificates are found by their SMIMEA records alone", "")
		return ""
	}
	apex, err := discover.Apex(ctx, e.exchange, name)
	if err != nil {
		e.unanswered(e.domain+".", name, err)
		return ""
	}
	if apex == name {
		e.delegation(ctx, name)
	}
	a, err := e.resolver.Lookup(ctx, name, t.qtype)
	if err != nil {
		e.unanswered(apex, name, err)
		return apex
	}
	switch {
	case e.insecure(ctx, apex, name, a):
	case a.NameError && e.published(ctx, t, addresses):
		e.say(Error, "empty_denied", name, "the name is said not to exist, so that resolvers deny all names below it, too (RFC 8020)",
			"answer NOERROR with no records for names that only have others below them")
	case a.NameError && t.qtype == dns.TypeTXT:
		e.say(OK, "no_txt", name, "there are no TXT records: certificates are found by their SMIMEA records alone", "")
	case a.NameError:
		e.say(Warning, "nothing", name, "nothing is published below the name", "publish a certificate, or name an address that has one")
	default:
		e.say(OK, "signed", name, "exists, and is signed", "")
	}
	e.denial(ctx, e.resolver, apex, "", randomLabel()+"."+name, t.qtype)
	return apex
}

// anchored reports whether one of the doctor's trust anchors is at or above a name. The
// anchor of _smimecert alone says that the domain is to have no other zone.
func (e *examination) anchored(name string) bool {
	for zone := range e.Anchors {
		if dns.IsSubDomain(zone, name) {
			return true
		}
	}
	return false
}

// published reports whether some of the addresses have records in a tree.
func (e *examination) published(ctx context.Context, t tree, addresses []smimea.Address) bool {
	return slices.ContainsFunc(addresses, func(a smimea.Address) bool {
		owner, ok := t.owner(a)
		if !ok {
			return false
		}
		answer, err := e.resolver.Lookup(ctx, owner, t.qtype)
		return err == nil && len(answer.Records) > 0
	})
}

// unanswered says that a question had no answer.
func (e *examination) unanswered(zone, where string, err error) {
	e.blame(zone, Finding{Level: Error, Code: "no_answer", Where: where, Text: err.Error(), Remedy: reachServers})
}

// insecure says what is wrong with the security of an answer, if anything is.
func (e *examination) insecure(ctx context.Context, apex, where string, a *dnssec.Answer) bool {
	f := Finding{Level: Error, Where: where}
	switch a.Security {
	case dnssec.Secure:
		return false
	case dnssec.Insecure:
		f.Code, f.Text = "insecure", "is not signed, so that SMIMEA records count for nothing (RFC 8162 section 6): "+a.Why
		f.Remedy = e.publishDS(ctx, apex)
	case dnssec.Bogus:
		f.Code, f.Text = "bogus", "does not validate, so that validating resolvers have no answer: "+a.Why
		f.Remedy = "see that " + apex + " is signed anew in time, that all its servers have the same version, and that nothing on the way takes signatures out"
		if wrong := e.wrongDS(ctx, apex); wrong != "" {
			f.Text += "; " + wrong
			f.Remedy = e.publishDS(ctx, apex) + " (in place of what is there)"
		}
	default:
		f.Code, f.Text, f.Remedy = "indeterminate", a.Why, "name a trust anchor that is above the domain"
	}
	e.blame(apex, f)
	return true
}

// delegation looks at the DS records of a sub-zone.
func (e *examination) delegation(ctx context.Context, name string) {
	a, err := e.resolver.Lookup(ctx, name, dns.TypeDS)
	switch {
	case len(e.resolver.Anchors[name]) > 0 && (err != nil || len(a.Records) == 0 || a.Security != dnssec.Secure):
		e.say(OK, "delegated", name, "is a zone of its own, with a trust anchor; its parent must have: "+oneLine(e.rightDS(ctx, name)), "")
	case err != nil:
		e.blame(name, Finding{Level: Error, Code: "no_answer", Where: name, Text: err.Error(), Remedy: "see that the parent zone's name servers answer"})
	case len(a.Records) > 0 && a.Security == dnssec.Secure:
		e.say(OK, "delegated", name, "is a zone of its own, with DS records in its parent", "")
	case a.Security >= dnssec.Insecure && len(a.Records) == 0:
		e.blame(name, Finding{Level: Error, Code: "no_ds", Where: name, Text: "is a zone of its own, without DS records in its parent", Remedy: e.publishDS(ctx, name)})
	}
}

// denial looks at the denial of a name that does not exist. On says whose it is.
func (e *examination) denial(ctx context.Context, v *dnssec.Validator, apex, on, name string, qtype uint16) {
	a, err := v.Lookup(ctx, name, qtype)
	var server *dnssec.ServerError
	switch {
	case errors.As(err, &server):
		e.blame(apex, Finding{Level: Error, Code: "no_denial", Where: name, Text: on + err.Error(), Remedy: "answer for names that do not exist, too"})
	case err != nil:
		e.blame(apex, Finding{Level: Error, Code: "no_denial", Where: name, Text: on + err.Error(), Remedy: reachServers})
	case len(a.Records) > 0 && a.Wildcard:
		e.say(Warning, "wildcard", name, on+"a wildcard has records for every user", "remove it, unless all users share a certificate")
	case len(a.Records) > 0:
		e.say(Error, "invented", name, on+"there are records for a name that nobody has", "answer for users only")
	case a.Security == dnssec.Bogus:
		e.blame(apex, Finding{Level: Error, Code: "bogus_denial", Where: name, Text: on + "the denial does not validate: " + a.Why,
			Remedy: "sign denials; a resolver that validates answers SERVFAIL, and mail to users without a certificate is held up"})
	case a.Security == dnssec.Secure:
		e.say(OK, "denied", name, on+"a name that does not exist is denied, signed", "")
	}
}

// randomLabel is of the form of a digest that no address has.
func randomLabel() string {
	var b [28]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
