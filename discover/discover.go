// Package discover finds a correspondent's S/MIME certificate: the sender's
// side of what this project publishes.
//
// Most callers need two functions: [smimea.ParseAddress] reads an address, and
// [Client.Lookup] does all the rest: the SMIMEA records (RFC 8162), the TXT record
// with a URL, the download, and the verdict. A milter, which encrypts what goes out
// if it can, defers what it cannot judge, and says why:
//
//	address, err := smimea.ParseAddress(recipient)
//	...
//	switch result := client.Lookup(ctx, address); result.Verdict {
//	case discover.Verified:
//		encryptTo(result.Certificates[0].Raw)
//	case discover.None, discover.Unverified:
//		passOn(result.Why.Code) // as the policy has it
//	case discover.Wrong:
//		refuse(result.Why.Text)
//	default: // discover.Unknown
//		tryAgainLater(result.Why.Text)
//	}
//
// Only [Verified] is a certificate to rely on, and only [None] says that there is
// none: everything else that goes wrong is [Unknown] or [Wrong], so that nobody who
// cannot be reached is taken for somebody without a certificate, and written to in
// the clear. What was wrong is a [Problem], with a [Code] to decide by.
//
// A [Client] needs a [Resolver]: a [dnssec.Validator], which trusts a trust anchor
// only, or [TrustAD], which trusts the resolver that it asks.
//
// All that others send is bounded, by count and by size, and ends with the context.
package discover

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/discover/dnssec"
	"coredns-smimea/smimea"
)

// A Resolver looks up records, and says how far they can be trusted. It must be
// safe for concurrent use.
type Resolver interface {
	Lookup(ctx context.Context, name string, qtype uint16) (*dnssec.Answer, error)
}

// A Verdict is the outcome of a look-up.
type Verdict string

const (
	// Verified: the certificate is the one that the domain's signed SMIMEA
	// records name, in date, and the address's.
	Verified Verdict = "verified"
	// None: the domain says, signed, that it has neither SMIMEA records nor a
	// URL for the address, and no certificate was found where it could be.
	None Verdict = "none"
	// Unverified: whatever was found, nothing signed says that it is right:
	// the zone is not signed, or has no SMIMEA records.
	Unverified Verdict = "unverified"
	// Wrong: something was found that must not be used: it is not what the
	// SMIMEA records name, expired, revoked, or somebody else's.
	Wrong Verdict = "wrong"
	// Unknown: servers did not answer, or with a forgery. Try again later.
	Unknown Verdict = "unknown"
)

// A Purpose is what a certificate is looked for.
type Purpose string

// The purposes. Any prefers a certificate to encrypt to.
const (
	Any     Purpose = ""
	Encrypt Purpose = "encrypt"
	Sign    Purpose = "sign" // to check signatures with
)

// A Client looks for certificates. It is safe for concurrent use if its fields
// are not changed.
type Client struct {
	Resolver Resolver
	// Purpose leaves out certificates that cannot be used for it.
	Purpose Purpose
	// Roots are the authorities that certificates are held against, and with
	// usages 0 and 1 must chain to. The system's if nil.
	Roots *x509.CertPool
	// WebRoots are the authorities of web servers. The system's if nil.
	WebRoots *x509.CertPool
	// AllowPrivate lets downloads go to addresses that are not public ones:
	// who writes a TXT record could otherwise have us ask servers inside.
	AllowPrivate bool
	// Proxy returns the proxy for a URL, nil for none. The environment's if nil
	// (HTTPS_PROXY, HTTP_PROXY, NO_PROXY). A proxy itself may have a private
	// address; a host that has one, as far as the Resolver knows, it is not sent
	// to unless AllowPrivate.
	Proxy func(*url.URL) (*url.URL, error)
	// Revocation asks the issuers whether certificates are revoked. No answer
	// is noted, and changes nothing.
	Revocation bool
	// Story is told each step as it is done, if not nil.
	Story func(step string)
	// Now is the time, time.Now if nil.
	Now func() time.Time
}

// A Result is what a look-up found. It is never nil.
type Result struct {
	Address smimea.Address
	Verdict Verdict
	// Why is the reason for the verdict.
	Why Problem
	// Certificates are those found that are no authorities, the best first. If
	// the verdict is Verified, the first one is.
	Certificates []*Certificate
	// SMIMEA and TXT are the two DNS look-ups.
	SMIMEA, TXT Records
	// Downloads are the URLs that were asked: those of the TXT records, or a guess.
	Downloads []Download
	// Expires is until when the result may be kept: for the least TTL of the
	// records, no longer than the certificate holds, nor than an hour. What is
	// Unknown or Wrong is not to be kept: it may be mended at any time.
	Expires time.Time
	// Suggestion is another address that has records: the one with its
	// local-part in lower case. It can be another user's.
	Suggestion string
	// Story is how it went, a line each, without the verdict.
	Story []string

	associations []association // the usable ones
}

// Expected returns the SMIMEA records that a certificate would have: of the usages,
// selectors and matching types of the records that were found.
func (r *Result) Expected(c *Certificate) (records []string) {
	for _, a := range r.associations {
		expected := association{a.Association, a.Append(nil, c.Raw, c.spki)[3:]}.String()
		if !slices.Contains(records, expected) {
			records = append(records, expected)
		}
	}
	return records
}

// Records are one DNS look-up.
type Records struct {
	Name     string
	Security dnssec.Security
	// Err is why nothing is known: no answer, a bogus one, or, for TXT, that
	// the address cannot have any.
	Err error
	// Data are the records: "3 1 1 c93f…", or the URL.
	Data []string
	// Unusable are records that count as if they were not there, and why: SMIMEA
	// records that say nothing, which are in Data, too, and TXT records that are no URL.
	Unusable []string
	// Aliases led to Name's records.
	Aliases []string
	// TTL is the least of the records', 0 without any.
	TTL time.Duration
}

// A Download is one URL that was asked for a certificate.
type Download struct {
	URL string
	// MediaType is what the server calls it. Nothing depends on it.
	MediaType string
	// Moved are the URLs that it was redirected to.
	Moved []string
	// TLSEnds is when the web server's certificate ends, zero if none was seen.
	TLSEnds time.Time
	// Err is nil if certificates came.
	Err error
}

// Lookup looks for the certificates of an address. The context bounds it all;
// each question and download has a bound of its own besides.
func (c *Client) Lookup(ctx context.Context, a smimea.Address) *Result {
	l := &lookup{Client: c, Result: &Result{Address: a}, now: time.Now(), seen: map[string]bool{}, authorities: map[string][]*authority{},
		tried: map[string]bool{}, verified: map[string]error{}}
	if c.Now != nil {
		l.now = c.Now()
	}
	l.ask(ctx)
	if l.SMIMEA.Err == nil { // otherwise nothing could come of it
		l.addFromRecords()
		l.chain(ctx)
		l.download(ctx)
		l.judge(ctx)
		if _, why := l.outcome(); why.Code == Mismatch && l.refresh(ctx) {
			l.judge(ctx)
		}
	}
	for _, c := range l.chained() {
		l.tell("%s", c.line())
	}
	if more := len(l.Certificates) - maxChained; more > 0 {
		l.tell("and %d other certificates", more)
	}
	if l.Verdict, l.Why = l.verdict(); l.Verdict == Unknown && ctx.Err() != nil {
		l.Why.Code = Interrupted // whatever failed first
	}
	l.Expires = l.expires()
	if len(l.Certificates) == 0 && len(l.SMIMEA.Data) == 0 && l.Verdict != Unknown {
		l.suggest(ctx)
	}
	return l.Result
}

// A lookup is one look-up under way.
type lookup struct {
	*Client
	*Result
	now          time.Time
	associations associations            // usable ones
	at           string                  // the name that has the SMIMEA records
	seen         map[string]bool         // certificates, by their DER
	authorities  map[string][]*authority // by their subjects
	guessed      bool                    // what was downloaded nothing names
	tried        map[string]bool         // places of issuers
	asked        int                     // how many of them
	verified     map[string]error        // signatures, by issuer and certificate
	overfull     bool                    // there are more certificates than are looked at
	cut          bool                    // the context ended while certificates were judged
}

func (l *lookup) tell(format string, args ...any) {
	step := fmt.Sprintf(format, args...)
	l.Result.Story = append(l.Result.Story, step)
	if l.Client.Story != nil {
		l.Client.Story(step)
	}
}

// suggest looks whether the address with its local-part in lower case has
// records. It is not looked up on its own: only the receiving domain may say
// that case does not matter (RFC 8162 section 4).
func (l *lookup) suggest(ctx context.Context) {
	lower := l.Address.Lower()
	if lower == l.Address {
		return
	}
	if r := l.askRecords(ctx, l.Resolver, lower.Owner(), dns.TypeSMIMEA); r.Err == nil && len(r.records) > 0 {
		l.Suggestion = lower.String()
		l.tell("%s has SMIMEA records; it may be the same user", l.Suggestion)
	}
}
