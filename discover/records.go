package discover

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

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

// ask asks both questions of a look-up, at the same time.
func (l *lookup) ask(ctx context.Context) {
	var texts answered
	var asked sync.WaitGroup
	textOwner, noText := l.Address.TextOwner()
	if noText == nil {
		asked.Go(func() { texts = l.askRecords(ctx, l.Resolver, textOwner, dns.TypeTXT) })
	}
	certs := l.askRecords(ctx, l.Resolver, l.Address.Owner(), dns.TypeSMIMEA)
	asked.Wait()
	if noText != nil {
		l.TXT = Records{Err: noText}
		l.tell("%v", noText)
	} else {
		l.takeTXT(texts)
	}
	l.takeSMIMEA(certs)
}

// answered is a look-up with its records.
type answered struct {
	Records
	records []dns.RR
	at      string // the name that has them, which can be an alias's end
	whyNot  string
}

// askRecords looks up one name and type. A bogus answer is an error.
func (l *lookup) askRecords(ctx context.Context, resolver Resolver, name string, qtype uint16) answered {
	r := answered{Records: Records{Name: name}, at: name}
	a, err := resolver.Lookup(ctx, name, qtype)
	var unsigned *dnssec.UnsignedError
	switch {
	case errors.As(err, &unsigned) && qtype == dns.TypeSMIMEA:
		// Servers that do not know the type never answer: without a signature
		// the records would count for nothing all the same.
		r.Security, r.whyNot = dnssec.Insecure, unsigned.Error()
		return r
	case err != nil:
		r.Err = fmt.Errorf("%s: %w", dns.Type(qtype), err)
		return r
	}
	r.Security, r.Aliases, r.records, r.at, r.whyNot = a.Security, a.Aliases, a.Records, a.Name, a.Why
	if a.Security < dnssec.Insecure {
		code := Bogus
		if a.Security == dnssec.Indeterminate {
			code = Indeterminate
		}
		r.Err = Problem{code, fmt.Sprintf("%s: the answer is %s: %s", dns.Type(qtype), a.Security, a.Why)}
		r.records = nil
	}
	for i, rr := range r.records {
		if ttl := time.Duration(rr.Header().Ttl) * time.Second; i == 0 || ttl < r.TTL {
			r.TTL = ttl
		}
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
		l.tell("%s: %v", r.Name, r.Err)
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

// takeTXT keeps the URLs.
func (l *lookup) takeTXT(r answered) {
	for _, rr := range r.records {
		// A wildcard of the zone, for SPF say, can answer here too.
		text := textOf(rr.(*dns.TXT))
		if meansURL(text) {
			r.Data = append(r.Data, text)
		} else {
			r.Unusable = append(r.Unusable, strconv.Quote(text[:min(len(text), 100)])+" is no URL")
		}
	}
	slices.Sort(r.Data)
	r.Data = slices.Compact(r.Data)
	l.TXT = r.Records
	l.tellRecords("TXT", r)
	l.tellUnusable(r)
}

// textOf returns the octets of a TXT record. miekg/dns has its strings as they are
// written in a zone file, with escapes (RFC 1035 section 5.1).
func textOf(rr *dns.TXT) string {
	own := *rr
	own.Hdr.Name = "."
	const header = 11 // the root, type, class, TTL and length
	wire := make([]byte, dns.Len(&own)+header)
	n, err := dns.PackRR(&own, wire, 0, nil, false)
	if err != nil {
		return strings.Join(rr.Txt, "")
	}
	var text strings.Builder
	for rest := wire[header:n]; len(rest) > 0; {
		end := 1 + int(rest[0])
		text.Write(rest[1:end])
		rest = rest[end:]
	}
	return text.String()
}

// meansURL reports whether a TXT record is meant to be a URL, of whatever scheme and
// well-formed or not: one that cannot be asked is not the same as none.
func meansURL(text string) bool {
	scheme, rest, ok := strings.Cut(text, ":")
	if !ok || scheme == "" || strings.ContainsFunc(scheme, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '+' || r == '-' || r == '.')
	}) {
		return false
	}
	return strings.HasPrefix(rest, "//") || strings.EqualFold(scheme, "https") || strings.EqualFold(scheme, "http")
}

// takeSMIMEA keeps the associations.
func (l *lookup) takeSMIMEA(r answered) {
	var all []association
	for _, rr := range r.records {
		record := rr.(*dns.SMIMEA)
		data, err := hex.DecodeString(record.Certificate)
		a := association{smimea.Association{Usage: record.Usage, Selector: record.Selector, Matching: record.MatchingType}, data}
		r.Data = append(r.Data, a.String())
		if why := a.unusable(); err != nil || why != "" {
			r.Unusable = append(r.Unusable, a.Association.String()+": "+cmp.Or(why, "its data are no hexadecimal digits"))
			continue
		}
		all = append(all, a)
	}
	slices.Sort(r.Data)
	slices.Sort(r.Unusable)
	r.Unusable = slices.Compact(r.Unusable)
	l.SMIMEA, l.at = r.Records, r.at
	l.tellRecords("SMIMEA", r)
	l.tellUnusable(r)
	l.associations = newAssociations(all)
	l.Result.associations = l.associations.records
}

// tellUnusable says which records count as if they were not there, the first of them
// where they are many.
func (l *lookup) tellUnusable(r answered) {
	if len(r.Unusable) > 0 {
		l.tell("not usable: %s", strings.Join(r.Unusable[:min(len(r.Unusable), maxUnused)], ", "))
	}
}

// unusable returns why a record says nothing, "" if it does. Such ones are as if they
// were not there (RFC 6698 section 4.1).
func (a association) unusable() string {
	length := map[uint8]int{smimea.MatchingSHA256: 32, smimea.MatchingSHA512: 64}[a.Matching]
	switch {
	case a.Usage > smimea.UsageDANEEE:
		return "there is no such usage"
	case a.Selector > smimea.SelectorSPKI:
		return "there is no such selector"
	case a.Matching == smimea.MatchingFull && len(a.data) > 0:
		return ""
	case a.Matching == smimea.MatchingFull:
		return "it is empty"
	case length == 0:
		return "there is no such matching type"
	case len(a.data) != length:
		return fmt.Sprintf("its digest has %d octets, and not %d", len(a.data), length)
	}
	return ""
}

// associations are the usable records, to be found by what they are of.
type associations struct {
	records []association            // in order, each once
	by      map[string][]association // by what [associationKey] returns
	forms   []smimea.Association     // selectors and matching types that there are
}

func newAssociations(all []association) associations {
	x := associations{by: map[string][]association{}}
	for _, a := range strongest(all) {
		key := associationKey(a.Association, a.data)
		if slices.ContainsFunc(x.by[key], func(b association) bool { return a.Usage == b.Usage }) {
			continue
		}
		if x.by[key] = append(x.by[key], a); !slices.Contains(x.forms, formOf(a)) {
			x.forms = append(x.forms, formOf(a))
		}
		x.records = append(x.records, a)
	}
	return x
}

// formOf leaves out the usage.
func formOf(a association) smimea.Association {
	return smimea.Association{Selector: a.Selector, Matching: a.Matching}
}

func associationKey(a smimea.Association, data []byte) string {
	return string([]byte{a.Selector, a.Matching}) + string(data)
}

// of returns the records that are of a certificate, each at most once a usage.
func (x associations) of(raw, spki []byte) (found []association) {
	for _, form := range x.forms {
		found = append(found, x.by[associationKey(form, form.Append(nil, raw, spki)[3:])]...)
	}
	return found
}

// strongest leaves out digests beside which there are better ones, as RFC 7671
// section 9 says.
func strongest(all []association) []association {
	strong := map[smimea.Association]bool{}
	for _, a := range all {
		strong[a.Association] = true
	}
	return slices.DeleteFunc(slices.Clone(all), func(a association) bool {
		better := a.Association
		better.Matching = smimea.MatchingSHA512
		return a.Matching == smimea.MatchingSHA256 && strong[better]
	})
}
