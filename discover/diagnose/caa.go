package diagnose

import (
	"context"
	"strings"

	"github.com/miekg/dns"

	"coredns-smimea/discover/dnssec"
)

// authorization says which authorities may issue certificates for mail: the CAA
// records with issuemail (RFC 9495) of the domain, or of the closest name above it
// that has CAA records (RFC 8659 section 3).
func (e *examination) authorization(ctx context.Context) {
	for name := e.domain + "."; name != "."; {
		a, err := e.resolver.Lookup(ctx, name, dns.TypeCAA)
		if err != nil || a.Security == dnssec.Bogus {
			if name == e.domain+"." {
				return // what is amiss has been said of names that matter more
			}
			break
		}
		if len(a.Records) > 0 {
			e.issuers(name, a.Records)
			return
		}
		labels := dns.SplitDomainName(name)
		name = dns.Fqdn(strings.Join(labels[1:], "."))
	}
	e.say(OK, "caa", e.domain+".", "has no CAA records: any authority may issue certificates for its addresses", "")
}

func (e *examination) issuers(name string, records []dns.RR) {
	var allowed []string
	found := false
	for _, rr := range records {
		caa, ok := rr.(*dns.CAA)
		if !ok || !strings.EqualFold(caa.Tag, "issuemail") {
			continue
		}
		found = true
		if issuer, _, _ := strings.Cut(caa.Value, ";"); strings.TrimSpace(issuer) != "" {
			allowed = append(allowed, strings.TrimSpace(issuer))
		}
	}
	switch {
	case !found:
		e.say(OK, "caa", name, "has CAA records without issuemail: any authority may issue certificates for its addresses (RFC 9495)", "")
	case len(allowed) == 0:
		e.say(Warning, "caa", name, "has a CAA record that forbids every authority to issue certificates for its addresses (issuemail \";\")",
			"name the authority that issues them, unless they are all self-signed: "+name+" CAA 0 issuemail \"AUTHORITY\"")
	default:
		e.say(OK, "caa", name, "has CAA records: certificates for its addresses may be issued by "+strings.Join(allowed, ", "), "")
	}
}
