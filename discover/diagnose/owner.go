package diagnose

import (
	"context"
	"fmt"
	"mime"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/discover"
	"coredns-smimea/discover/dnssec"
	"coredns-smimea/smimea"
)

// serverOwner looks at the records of one owner on one server, and at the two
// traps beside them: signed denials of other types that deny these records too.
func (e *examination) serverOwner(ctx context.Context, server *discover.Server, v *dnssec.Validator, where, apex, owner string, qtype uint16) {
	if !dns.IsSubDomain(apex, owner) {
		return
	}
	a, err := v.Lookup(ctx, owner, qtype)
	switch {
	case err != nil:
		e.say(Error, "no_answer", where, fmt.Sprintf("%s %s: %v", owner, dns.Type(qtype), err), "see that the server answers over TCP, too")
		return
	case a.Security != dnssec.Secure:
		e.insecure(where+": "+owner, a)
		return
	case len(a.Records) == 0:
		return // the address's own look-up says so
	}
	e.say(OK, "records", where, fmt.Sprintf("%s has %d %s records, signed", owner, len(a.Records), dns.Type(qtype)), "")
	e.signatures(ctx, server, where, owner, qtype)
	if len(a.Aliases) > 0 {
		return // the traps are at the alias's end, in another zone perhaps
	}
	other := dns.TypeA
	types, ok := e.bitmap(ctx, server, owner, other)
	switch {
	case !ok:
	case slices.Contains(types, dns.TypeNXNAME) || !slices.Contains(types, qtype):
		e.say(Error, "nsec_trap", where, fmt.Sprintf("a question for %s %s is answered with a signed proof that there is no %s: resolvers that use such proofs (RFC 8198, the default of Unbound) then hide the records from all their users", owner, dns.Type(other), dns.Type(qtype)),
			"have denials list the types that are there: CoreDNS's dnssec does with the plugin smimea, and no other does without")
	default:
		e.say(OK, "nsec", where, "a denial of other types at "+owner+" leaves its records be", "")
	}
	types, ok = e.bitmap(ctx, server, owner, dns.TypeDS)
	if ok && slices.Contains(types, dns.TypeNS) && !slices.Contains(types, dns.TypeSOA) {
		e.say(Error, "ds_trap", where, "a question for "+owner+" DS is answered with a signed proof of a delegation without keys: validating resolvers can take the records for unsigned",
			"have denials list no NS where there is none")
	}
}

// bitmap asks for a type that is not there, and returns the types that the NSEC
// or NSEC3 record of the name itself lists.
func (e *examination) bitmap(ctx context.Context, server *discover.Server, owner string, qtype uint16) ([]uint16, bool) {
	m, err := server.Exchange(ctx, question(owner, qtype))
	if err != nil {
		return nil, false
	}
	for _, rr := range m.Ns {
		switch rr := rr.(type) {
		case *dns.NSEC:
			if dns.CanonicalName(rr.Hdr.Name) == dns.CanonicalName(owner) {
				return rr.TypeBitMap, true
			}
		case *dns.NSEC3:
			if rr.Match(owner) {
				return rr.TypeBitMap, true
			}
		}
	}
	return nil, false
}

// minSignature is how long signatures should still hold: a resolver keeps them
// for as long as their records, and secondaries may be behind.
const minSignature = 24 * time.Hour

func (e *examination) signatures(ctx context.Context, server *discover.Server, where, owner string, qtype uint16) {
	m, err := server.Exchange(ctx, question(owner, qtype))
	if err != nil {
		return
	}
	for _, rr := range m.Answer {
		sig, ok := rr.(*dns.RRSIG)
		if !ok {
			continue
		}
		left := time.Duration(int32(sig.Expiration-uint32(time.Now().Unix()))) * time.Second
		if left < minSignature {
			e.say(Warning, "signature", where, fmt.Sprintf("the signature of %s %s ends in %v", owner, dns.Type(sig.TypeCovered), left.Round(time.Minute)), "see that the zone is signed anew in time")
		}
	}
}

// address looks an address up as a sender does.
func (e *examination) address(ctx context.Context, a smimea.Address) {
	client := e.Client
	client.Resolver = e.resolver
	r := client.Lookup(ctx, a)
	where := a.String()
	switch r.Verdict {
	case discover.Verified:
		e.say(OK, "verified", where, r.Why.Text, "")
	case discover.None:
		remedy := "put a certificate with exactly this address into the directory; smimea check says why one is left out"
		if r.Suggestion != "" {
			remedy = "senders must write it as " + r.Suggestion + ", or publish this form, too"
		}
		e.say(Error, "none", where, r.Why.Text, remedy)
	case discover.Unverified:
		e.say(Error, "unverified", where, r.Why.Text, "publish signed SMIMEA records")
	case discover.Wrong:
		e.say(Error, "wrong", where, r.Why.Text, "publish the records and the file of one certificate, which is in date and has the address")
	default:
		e.say(Error, "unknown", where, r.Why.Text, "see that what senders ask answers")
	}
	for _, d := range r.Downloads {
		e.media(d)
	}
	for _, c := range r.Certificates {
		if !c.NotAfter.IsZero() && time.Until(c.NotAfter) < 30*24*time.Hour {
			e.say(Warning, "expires", where, "its certificate ends on "+c.NotAfter.Format(time.DateOnly), "have it renewed, and publish the new one two TTLs before it is used")
		}
	}
}

// media looks at how a web server calls a certificate (RFC 2585 section 4.1, RFC
// 8551 section 3.2): some programs go by it.
func (e *examination) media(d discover.Download) {
	if d.Err != nil {
		return // the verdict has it, or it was a guess
	}
	kind, _, _ := mime.ParseMediaType(d.MediaType)
	switch strings.ToLower(kind) {
	case "application/pkix-cert", "application/pkcs7-mime":
		e.say(OK, "media_type", d.URL, "is called "+kind, "")
	case "application/x-x509-ca-cert":
		e.say(Warning, "media_type", d.URL, "is called "+kind+": browsers offer to install an authority", "have the web server call it application/pkix-cert")
	default:
		e.say(Warning, "media_type", d.URL, fmt.Sprintf("is called %q", d.MediaType), "have the web server call it application/pkix-cert")
	}
}
