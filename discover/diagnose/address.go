package diagnose

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"mime"
	"net/url"
	"slices"
	"strings"
	"time"

	"coredns-smimea/discover"
	"coredns-smimea/smimea"
)

// How long certificates should still hold. That of a web server is renewed by a
// program, or by nobody.
const (
	minCertificate = 30 * 24 * time.Hour
	minTLS         = 14 * 24 * time.Hour
)

// address looks an address up as a sender does.
func (e *examination) address(ctx context.Context, a smimea.Address) {
	client := e.Client
	client.Resolver = e.resolver
	if e.Elsewhere != nil {
		client.Resolver = beforehand{e}
	}
	r := client.Lookup(ctx, a)
	where := a.String()
	f := Finding{Level: Error, Code: string(r.Verdict), Where: where, Text: r.Why.Text}
	switch r.Verdict {
	case discover.Verified:
		e.say(OK, "verified", where, r.Why.Text, "")
	case discover.None:
		f.Remedy = "put a certificate with exactly this address into the directory; smimea check says why one is left out"
		if r.Suggestion != "" {
			f.Remedy = "senders must write it as " + r.Suggestion + ", or publish this form, too"
		}
		e.find(f)
	default:
		f.Remedy = remedy(r)
		e.blame(about(r), f)
	}
	e.unusable(r)
	for _, d := range r.Downloads {
		e.downloaded(d)
	}
	for _, c := range r.Certificates {
		e.chain(where, c)
		if !c.NotAfter.IsZero() && time.Until(c.NotAfter) < minCertificate && !expired(c) && !renewed(c, r.Certificates) {
			e.say(Warning, "expires", where, "its certificate ends on "+c.NotAfter.Format(time.DateOnly), "have it renewed, and publish the new one two TTLs before it is used")
		}
	}
}

// unusable says which records count as if they were not there. A TXT record of the
// whole zone's wildcard, for SPF say, does no harm while all is well.
func (e *examination) unusable(r *discover.Result) {
	const most = 5
	for _, text := range r.SMIMEA.Unusable[:min(len(r.SMIMEA.Unusable), most)] {
		e.say(Warning, "unusable", r.SMIMEA.Name, "an SMIMEA record says nothing: "+text, "publish it as smimea records prints it, or take it away")
	}
	if r.Verdict == discover.Verified || len(r.TXT.Data) > 0 {
		return
	}
	for _, text := range r.TXT.Unusable[:min(len(r.TXT.Unusable), most)] {
		e.say(Warning, "unusable", r.TXT.Name, "a TXT record says nothing: "+text, "have it be the certificate's URL, from https:// on, and nothing else")
	}
}

// chain says where the certificate of a certificate's issuer was not found, which mail
// programs need. Without a URL of it nobody can tell it from a root, which is not given
// out.
func (e *examination) chain(where string, c *discover.Certificate) {
	parsed, err := x509.ParseCertificate(c.Raw)
	if err != nil || c.Match == discover.Unmatched || c.Untrusted == "" || c.Issuer != nil || bytes.Equal(parsed.RawIssuer, parsed.RawSubject) {
		return
	}
	if urls := parsed.IssuingCertificateURL; len(urls) > 0 {
		e.say(Warning, "chain", where, "its issuer's certificate is missing: it is not given out with it, nor found at "+urls[0],
			"put the intermediate certificate behind the user's in its file, or name it with the server's option chain")
		return
	}
	e.say(OK, "chain", where, "its issuer's certificate is not given out with it, and it names no URL of it (caIssuers), as is right for a root only", "")
}

// expired reports whether it has been said already.
func expired(c *discover.Certificate) bool { return time.Now().After(c.NotAfter) }

// renewed reports whether another certificate that is found takes a certificate's place.
func renewed(c *discover.Certificate, found []*discover.Certificate) bool {
	return slices.ContainsFunc(found, func(other *discover.Certificate) bool {
		return len(other.Problems) == 0 && other.Match != discover.Unmatched && time.Until(other.NotAfter) >= minCertificate &&
			(other.Encrypts || !c.Encrypts && other.Signs)
	})
}

// about is what a verdict other than that all is well is about: the domain's zone, the
// web server, or only the address itself.
func about(r *discover.Result) string {
	switch r.Why.Code {
	case discover.NotSigned, discover.Bogus, discover.Indeterminate, discover.NoAnswer:
		return r.Address.Owner()
	case discover.Unreachable, discover.PrivateAddress:
		for _, d := range r.Downloads {
			if u, err := url.Parse(d.URL); err == nil && d.Err != nil {
				return "https://" + u.Host
			}
		}
	}
	return "address " + r.Address.String()
}

// remedy says what to do about a verdict, with the values seen.
func remedy(r *discover.Result) string {
	switch r.Why.Code {
	case discover.NotSigned:
		return "sign the zone, and publish signed SMIMEA records"
	case discover.NoRecord:
		return "publish an SMIMEA record of the certificate, signed: smimea records prints it"
	case discover.Mismatch:
		return mismatch(r)
	case discover.UnknownAuthority:
		return "have the certificate issued by an authority that senders know, or publish it with usage 3"
	case discover.Expired:
		return "have the certificate renewed, and publish the new one in its place"
	case discover.OtherAddress:
		return "publish a certificate that has the address " + r.Address.String() + "; this one is of " + strings.Join(r.Certificates[0].Addresses, ", ")
	case discover.NotThere, discover.NoCertificate, discover.BadURL, discover.AwayFromHTTPS, discover.ForeignHost, discover.TooManyHops:
		return "have the TXT record name a URL of https that gives out the certificate: " + downloads(r)
	case discover.NothingFound:
		return "publish a TXT record with the certificate's URL, or the whole certificate in an SMIMEA record (3 0 0)"
	case discover.Unreachable, discover.BadStatus:
		return "see that the web server answers for " + downloads(r)
	case discover.PrivateAddress:
		return "give the web server's name an address that everybody can reach"
	case discover.Interrupted:
		return "look again, and leave more time; if that does not help, see that the web server answers for " + downloads(r)
	case discover.Bogus, discover.Indeterminate, discover.NoAnswer:
		return "see that the names can be resolved and validate"
	}
	return "publish the records and the file of one certificate, which is in date, for mail, and has the address"
}

// downloads names the URLs that failed, and where they were redirected to.
func downloads(r *discover.Result) string {
	var failed []string
	for _, d := range r.Downloads {
		if d.Err != nil {
			failed = append(failed, strings.Join(append([]string{d.URL}, d.Moved...), " -> "))
		}
	}
	return strings.Join(failed, ", ")
}

// mismatch names what the records have, and what the certificate's would be.
func mismatch(r *discover.Result) string {
	c := r.Certificates[0]
	return fmt.Sprintf("the records have %s; of the certificate from %s they would be %s: publish the records and the file of one certificate",
		strings.Join(shortened(r.SMIMEA.Data), ", "), c.Source, strings.Join(shortened(r.Expected(c)), ", "))
}

// shortened cuts records off that hold whole certificates.
func shortened(records []string) (short []string) {
	for _, text := range records {
		if len(text) > 160 {
			text = text[:70] + "..."
		}
		short = append(short, text)
	}
	return short
}

// downloaded looks at how a web server gives out a certificate.
func (e *examination) downloaded(d discover.Download) {
	if !d.TLSEnds.IsZero() && time.Until(d.TLSEnds) < minTLS {
		e.say(Warning, "tls_expires", d.URL, fmt.Sprintf("the TLS certificate of the web server ends on %s, in %v", d.TLSEnds.Format(time.DateOnly), time.Until(d.TLSEnds).Round(time.Hour)),
			"see that it is renewed in time: without it nobody can download certificates")
	}
	if d.Err != nil {
		return // the verdict has it, or it was a guess
	}
	e.media(d)
}

// media looks at how a web server calls a certificate (RFC 2585 section 4.1, RFC
// 8551 section 3.2, RFC 8555 section 9.1): some programs go by it.
func (e *examination) media(d discover.Download) {
	where := d.URL
	if len(d.Moved) > 0 {
		where += " (redirected to " + strings.Join(d.Moved, ", ") + ")"
	}
	kind, _, _ := mime.ParseMediaType(d.MediaType)
	switch strings.ToLower(kind) {
	case "application/pkix-cert", "application/pkcs7-mime", "application/pem-certificate-chain":
		e.say(OK, "media_type", where, "is called "+kind, "")
	case "application/x-x509-ca-cert":
		e.say(Warning, "media_type", where, "is called "+kind+": browsers offer to install an authority", "have the web server call it application/pkix-cert")
	default:
		e.say(Warning, "media_type", where, fmt.Sprintf("is called %q", d.MediaType), "have the web server call it application/pkix-cert")
	}
}
