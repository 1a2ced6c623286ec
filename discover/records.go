package discover

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"coredns-smimea/discover/dnssec"
	"coredns-smimea/smimea"
)

// An association is one SMIMEA record.
type association struct {
	smimea.Association
	data []byte
}

func (a association) String() string {
	return a.Association.String() + " " + hex.EncodeToString(a.data)
}

// answered is a look-up with its records.
type answered struct {
	Records
	records []dns.RR
	whyNot  string
}

// askRecords looks up one name and type. A bogus answer is an error.
func (l *lookup) askRecords(ctx context.Context, name string, qtype uint16) answered {
	r := answered{Records: Records{Name: name}}
	a, err := l.Resolver.Lookup(ctx, name, qtype)
	var unsigned *dnssec.UnsignedError
	switch {
	case errors.As(err, &unsigned) && qtype == dns.TypeSMIMEA:
		// Servers that do not know the type never answer: without a signature
		// the records would count for nothing all the same.
		r.Security, r.whyNot = dnssec.Insecure, unsigned.Error()
		return r
	case err != nil:
		r.Err = err
		return r
	}
	r.Security, r.Aliases, r.records, r.whyNot = a.Security, a.Aliases, a.Records, a.Why
	if r.Err = a.Err(); r.Err != nil {
		r.records = nil
	}
	return r
}

func (r Records) why() string {
	if r.Err != nil {
		return r.Err.Error()
	}
	return r.Name + " is " + r.Security.String()
}

// tellRecords says what a look-up found.
func (l *lookup) tellRecords(kind string, r answered) {
	switch {
	case r.Err != nil:
		l.tell("%s %s: %v", kind, r.Name, r.Err)
	case len(r.Data) == 0:
		l.tell("%s %s: none (%s)", kind, r.Name, securityWords(r))
	default:
		l.tell("%s %s: %d (%s)", kind, r.Name, len(r.Data), securityWords(r))
	}
}

func securityWords(r answered) string {
	if r.whyNot != "" {
		return r.Security.String() + ": " + r.whyNot
	}
	return r.Security.String()
}

// askTXT looks for URLs.
func (l *lookup) askTXT(ctx context.Context) {
	name, err := l.Address.TextOwner()
	if err != nil {
		l.TXT = Records{Err: err}
		l.tell("%v", err)
	} else {
		r := l.askRecords(ctx, name, dns.TypeTXT)
		for _, rr := range r.records {
			// A wildcard of the zone, for SPF say, can answer here too.
			if text := strings.Join(rr.(*dns.TXT).Txt, ""); isURL(text) {
				r.Data = append(r.Data, text)
			}
		}
		slices.Sort(r.Data)
		l.TXT = r.Records
		l.tellRecords("TXT", r)
	}
	for _, text := range l.TXT.Data {
		l.urls = append(l.urls, target{text, l.Address.Domain, l.TXT.Security == dnssec.Secure})
	}
	if len(l.urls) == 0 && (l.TXT.Err == nil || l.TXT.Name == "") {
		direct := "https://" + l.Address.Domain + testOnlyDirectPort + "/.well-known/smime/" + l.Address.Label() + ".p7c"
		l.urls = append(l.urls, target{direct, l.Address.Domain, false})
	}
}

func isURL(text string) bool {
	if len(text) > 8192 || !strings.HasPrefix(strings.ToLower(text), "https://") {
		return false
	}
	u, err := url.Parse(text)
	return err == nil && u.Hostname() != "" && u.User == nil
}

// askSMIMEA looks for associations.
func (l *lookup) askSMIMEA(ctx context.Context) {
	r := l.askRecords(ctx, l.Address.Owner(), dns.TypeSMIMEA)
	var all []association
	var unusable []string
	for _, rr := range r.records {
		record := rr.(*dns.SMIMEA)
		data, err := hex.DecodeString(record.Certificate)
		a := association{smimea.Association{Usage: record.Usage, Selector: record.Selector, Matching: record.MatchingType}, data}
		r.Data = append(r.Data, a.String())
		if err != nil || !a.usable() {
			unusable = append(unusable, a.Association.String())
			continue
		}
		all = append(all, a)
	}
	slices.Sort(r.Data)
	l.SMIMEA = r.Records
	l.tellRecords("SMIMEA", r)
	if len(unusable) > 0 {
		l.tell("of these, not usable: %s", strings.Join(unusable, ", "))
	}
	l.associations = strongest(all)
	if l.SMIMEA.Err != nil {
		l.SMIMEA.Err = fmt.Errorf("SMIMEA: %w", l.SMIMEA.Err)
	}
	if l.TXT.Err != nil && l.TXT.Name != "" {
		l.TXT.Err = fmt.Errorf("TXT: %w", l.TXT.Err)
	}
}

// usable reports whether a record can be understood. Others are as if they were
// not there (RFC 6698 section 4.1).
func (a association) usable() bool {
	if a.Usage > smimea.UsageDANEEE || a.Selector > smimea.SelectorSPKI {
		return false
	}
	switch a.Matching {
	case smimea.MatchingFull:
		return len(a.data) > 0
	case smimea.MatchingSHA256:
		return len(a.data) == 32
	case smimea.MatchingSHA512:
		return len(a.data) == 64
	}
	return false
}

// strongest leaves out digests beside which there are better ones, as RFC 7671
// section 9 says.
func strongest(all []association) []association {
	better := func(a, b association) bool {
		return a.Usage == b.Usage && a.Selector == b.Selector &&
			a.Matching == smimea.MatchingSHA256 && b.Matching == smimea.MatchingSHA512
	}
	return slices.DeleteFunc(slices.Clone(all), func(a association) bool {
		return slices.ContainsFunc(all, func(b association) bool { return better(a, b) })
	})
}

// testOnlyDirectPort is ":" and a port, for tests, which have no port 443.
var testOnlyDirectPort string
