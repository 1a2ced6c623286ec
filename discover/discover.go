// Package discover finds a correspondent's S/MIME certificate: the sender's
// side of what this project publishes.
//
// [Client.Lookup] does all of it: the TXT record with a URL, the download, the
// SMIMEA records (RFC 8162), and the verdict. Only [Verified] is a certificate to
// rely on, and only [None] says that there is none: everything else that goes
// wrong is [Unknown] or [Wrong], so that nobody who cannot be reached is taken
// for somebody without a certificate, and written to in the clear.
//
//	c := &discover.Client{Resolver: resolver}
//	result := c.Lookup(ctx, address)
//	if result.Verdict == discover.Verified {
//		encryptTo(result.Certificates[0].Raw)
//	}
//
// A [Resolver] is a [dnssec.Validator], which trusts a trust anchor only, or
// [TrustAD], which trusts the resolver that it asks.
package discover

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/discover/dnssec"
	"coredns-smimea/smimea"
)

// A Resolver looks up records, and says how far they can be trusted.
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
	// Why is the reason for the verdict, in words.
	Why string
	// Certificates are those found that are no authorities, the best first. If
	// the verdict is Verified, the first one is.
	Certificates []*Certificate
	// SMIMEA and TXT are the two DNS look-ups.
	SMIMEA, TXT Records
	// Downloads are the URLs that were asked.
	Downloads []Download
	// Suggestion is another address that has records: the one with its
	// local-part in lower case. It can be another user's.
	Suggestion string
	// Story is how it went, a line each.
	Story []string
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
	// Aliases led to Name's records.
	Aliases []string
}

// A Download is one URL that was asked for a certificate.
type Download struct {
	URL string
	// MediaType is what the server calls it. Nothing depends on it.
	MediaType string
	// Err is nil if certificates came.
	Err error
}

// Lookup looks for the certificates of an address. The context bounds it all;
// each question and download has a bound of its own besides.
func (c *Client) Lookup(ctx context.Context, a smimea.Address) *Result {
	l := &lookup{Client: c, Result: &Result{Address: a}, now: time.Now()}
	if c.Now != nil {
		l.now = c.Now()
	}
	l.askTXT(ctx)
	l.askSMIMEA(ctx)
	if l.SMIMEA.Err == nil { // otherwise nothing could come of it
		l.download(ctx)
	}
	l.judge(ctx)
	l.decide()
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
	associations []association // usable ones
	urls         []target
	authorities  []*certificateBytes
}

func (l *lookup) tell(format string, args ...any) {
	step := fmt.Sprintf(format, args...)
	l.Result.Story = append(l.Result.Story, step)
	if l.Client.Story != nil {
		l.Client.Story(step)
	}
}

// decide comes to the verdict.
func (l *lookup) decide() {
	l.Verdict, l.Why = l.verdict()
	l.tell("%s: %s", l.Verdict, l.Why)
}

func (l *lookup) verdict() (Verdict, string) {
	if l.SMIMEA.Err != nil {
		return Unknown, l.SMIMEA.Err.Error()
	}
	secure := l.SMIMEA.Security == dnssec.Secure
	var best *Certificate
	if len(l.Certificates) > 0 {
		best = l.Certificates[0]
	}
	switch {
	case secure && len(l.associations) > 0 && best != nil:
		switch {
		case best.usable() && best.Match != Unmatched:
			return Verified, "the certificate is the one that the signed SMIMEA records name" + best.Match.limits()
		case best.Match == Unmatched && l.demandsRoots() && best.Chain != "":
			return Wrong, "the signed SMIMEA records demand a known authority (usage 0 or 1), but " + best.Chain
		case best.Match == Unmatched:
			return Wrong, "the signed SMIMEA records name another certificate than the one found"
		}
		return Wrong, best.Problems[0]
	case secure && len(l.associations) > 0:
		if err := l.downloadError(); err != nil {
			return Unknown, "there are SMIMEA records, but the certificate cannot be had: " + err.Error()
		}
		return Unknown, "there are SMIMEA records, but no certificate was found that they could name"
	case best != nil && !best.usable():
		return Wrong, best.Problems[0]
	case best != nil && secure:
		return Unverified, "a certificate was found, but no usable SMIMEA record says that it is right"
	case best != nil:
		return Unverified, "a certificate was found, but the zone is not signed: " + l.SMIMEA.why()
	}
	return l.nothing(secure)
}

// demandsRoots reports whether some record only counts with a known authority.
func (l *lookup) demandsRoots() bool {
	return slices.ContainsFunc(l.associations, func(a association) bool { return a.Usage <= smimea.UsagePKIXEE })
}

// nothing is the verdict where there is no certificate, and no SMIMEA record
// that could be used.
func (l *lookup) nothing(secure bool) (Verdict, string) {
	if l.TXT.Err != nil && l.TXT.Name != "" {
		return Unknown, l.TXT.Err.Error()
	}
	if len(l.TXT.Data) > 0 {
		if err := l.downloadError(); isContent(err) {
			return Wrong, err.Error()
		} else if err != nil {
			return Unknown, err.Error()
		}
	}
	switch {
	case !secure:
		return Unverified, "nothing was found, and the zone is not signed, so that there could be something all the same: " + l.SMIMEA.why()
	case len(l.SMIMEA.Data) > 0:
		return Unverified, "no SMIMEA record is usable, and no certificate was found"
	case l.TXT.Name != "" && l.TXT.Security != dnssec.Secure:
		return Unverified, "nothing was found, but that there is no TXT record is not signed"
	}
	return None, "the domain says, signed, that it has no certificate of the address"
}

// downloadError returns the gravest reason why a download failed: one that may
// go away rather than one that will not.
func (l *lookup) downloadError() error {
	var found error
	for _, d := range l.Downloads {
		if d.Err == nil {
			continue
		}
		if found == nil || !isContent(d.Err) {
			found = d.Err
		}
	}
	return found
}

// suggest looks whether the address with its local-part in lower case has
// records. It is not looked up on its own: only the receiving domain may say
// that case does not matter (RFC 8162 section 4).
func (l *lookup) suggest(ctx context.Context) {
	lower := l.Address.Lower()
	if lower == l.Address {
		return
	}
	if r := l.askRecords(ctx, lower.Owner(), dns.TypeSMIMEA); r.Err == nil && len(r.records) > 0 {
		l.Suggestion = lower.String()
		l.tell("%s has SMIMEA records; it may be the same user", l.Suggestion)
	}
}
