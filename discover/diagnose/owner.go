package diagnose

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/discover"
	"coredns-smimea/discover/dnssec"
)

// serverOwner looks at the records of one owner on one server, and at the two
// traps beside them: signed denials of other types that deny these records too.
func (e *examination) serverOwner(ctx context.Context, server *discover.Server, v *dnssec.Validator, where, apex, owner string, qtype uint16) {
	a, err := v.Lookup(ctx, owner, qtype)
	switch {
	case err != nil:
		e.blame(apex, Finding{Level: Error, Code: "no_answer", Where: where, Text: fmt.Sprintf("%s %s: %v", owner, dns.Type(qtype), err), Remedy: "see that the server answers over TCP, too"})
		return
	case a.Security != dnssec.Secure:
		e.insecure(ctx, apex, where+": "+owner, a)
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
