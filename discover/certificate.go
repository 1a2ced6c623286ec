package discover

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/discover/dnssec"
	"coredns-smimea/smimea"
)

// A Certificate is one that was found, and how it fared.
type Certificate struct {
	Raw    []byte // DER
	Source string // the URL it came from, or "SMIMEA"
	// Addresses, NotBefore, NotAfter, Encrypts and Signs are what it says.
	Addresses           []string
	NotBefore, NotAfter time.Time
	Encrypts, Signs     bool
	// Match is how much of it the SMIMEA records vouch for, and Association
	// the record that does.
	Match       Match
	Association string
	// Problems are why it must not be used. Without any, it can.
	Problems []Problem
	// Chain are its issuers, DER, the nearest first, as far as they were found:
	// with the certificate, in SMIMEA records, or where it says that they are. It
	// is without a root: who does not have that has no use for it.
	Chain [][]byte
	// Issuer is the certificate of its issuer, DER, a root's too; nil if it was
	// not found.
	Issuer []byte
	// Untrusted is "", or why it does not chain to the roots. It says nothing
	// about the verdict, but with usages 0 and 1.
	Untrusted string
	// Revocation is what the issuer says: "good", "revoked", or why it is not
	// known; "" if it was not asked.
	Revocation string

	parsed *x509.Certificate // nil if crypto/x509 cannot read it
	spki   []byte
	named  []association     // that are of it
	issuer *x509.Certificate // of a chain that verifies
}

// A Match is how much of a certificate an SMIMEA record vouches for.
type Match string

const (
	Unmatched Match = ""
	// ByCertificate: all of it.
	ByCertificate Match = "certificate"
	// ByKey: its key. Who has the web server could have changed the rest.
	ByKey Match = "key"
	// ByAuthority: its issuer.
	ByAuthority Match = "authority"
)

func (m Match) limits() string {
	switch m {
	case ByKey:
		return " (by its key; the rest of it is not vouched for)"
	case ByAuthority:
		return " (by its issuer)"
	}
	return ""
}

func (c *Certificate) usable() bool { return len(c.Problems) == 0 }

func (c *Certificate) problem(code Code, format string, args ...any) {
	c.Problems = append(c.Problems, Problem{code, fmt.Sprintf(format, args...)})
}

// Limits of what strangers send: certificates that are read, and of these users'
// that are held against chains, which is what costs. A bundle of a whole company
// may be larger: those that are of the address come first.
const (
	maxCertificates = 1024
	maxChained      = 8
)

// add takes one certificate in: an authority as a link of chains, any other as
// one that could be the user's. Each is read once.
func (l *lookup) add(der []byte, source string) {
	if l.seen[string(der)] {
		return
	}
	if len(l.seen) == maxCertificates {
		if !l.overfull {
			l.tell("only the first %d certificates are looked at", maxCertificates)
		}
		l.overfull = true
		return
	}
	l.seen[string(der)] = true
	c := &Certificate{Raw: der, Source: source}
	c.parsed, _ = x509.ParseCertificate(der)
	cert, err := certsource.Parse(der)
	var refusal *certsource.Refusal
	errors.As(err, &refusal)
	switch {
	case refusal == nil:
		c.Addresses, c.NotBefore, c.NotAfter, c.Encrypts, c.Signs, c.spki = cert.Addresses, cert.NotBefore, cert.NotAfter, cert.Encrypts, true, cert.SPKI
		if c.parsed != nil && c.parsed.KeyUsage != 0 {
			c.Signs = c.parsed.KeyUsage&(x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment) != 0
		}
		l.check(c)
	case refusal.Reason == certsource.Authority:
		l.addAuthority(der)
		return
	default:
		if c.parsed != nil {
			c.NotBefore, c.NotAfter, c.spki = c.parsed.NotBefore, c.parsed.NotAfter, c.parsed.RawSubjectPublicKeyInfo
		}
		c.problem(Code(refusal.Reason), "%s", refusalWords(refusal))
	}
	l.name(c)
	l.Certificates = append(l.Certificates, c)
}

// name notes the records that are of a certificate. Those of usage 3 need nothing
// else (RFC 8162 section 5, RFC 6698 section 2.1.1).
func (l *lookup) name(c *Certificate) {
	c.Match, c.Association, c.named = Unmatched, "", l.associations.of(c.Raw, c.spki)
	for _, a := range c.named {
		if a.Usage == smimea.UsageDANEEE {
			c.matched(a, matchOf(a))
		}
	}
}

// known reports whether there is a certificate to rely on already.
func (l *lookup) known() bool {
	return l.SMIMEA.Security == dnssec.Secure && slices.ContainsFunc(l.Certificates, func(c *Certificate) bool {
		return c.usable() && c.Match != Unmatched
	})
}

// addFromRecords takes in the certificates that signed SMIMEA records hold.
func (l *lookup) addFromRecords() {
	if l.SMIMEA.Security != dnssec.Secure {
		return
	}
	for _, a := range l.associations.records {
		if a.Matching != smimea.MatchingFull || a.Selector != smimea.SelectorCert {
			continue
		}
		if a.Usage == smimea.UsageDANEEE || a.Usage == smimea.UsagePKIXEE {
			l.add(a.data, fromRecords)
		} else {
			l.addAuthority(a.data)
		}
	}
}

// fromRecords is the source of certificates that SMIMEA records hold.
const fromRecords = "SMIMEA"

// judge holds the certificates against chains and issuers, and sorts them, the
// best first.
func (l *lookup) judge(ctx context.Context) {
	l.sort()
	l.chain(ctx)
	l.findIssuers(ctx)
	l.report()
	if l.Revocation {
		for _, c := range l.chained() {
			if c.Revocation == "" && c.usable() {
				l.checkRevocation(ctx, c)
			}
		}
	}
	l.sort()
}

func (l *lookup) sort() {
	slices.SortStableFunc(l.Certificates, func(a, b *Certificate) int {
		return cmpBool(a.usable() && a.Match != Unmatched, b.usable() && b.Match != Unmatched,
			a.usable(), b.usable(), a.Match != Unmatched, b.Match != Unmatched,
			a.Encrypts, b.Encrypts, a.NotBefore.After(b.NotBefore), b.NotBefore.After(a.NotBefore))
	})
}

// cmpBool compares pairs of booleans, of which true comes first.
func cmpBool(pairs ...bool) int {
	for i := 0; i+1 < len(pairs); i += 2 {
		switch {
		case pairs[i] && !pairs[i+1]:
			return -1
		case !pairs[i] && pairs[i+1]:
			return 1
		}
	}
	return 0
}

// line says in one line how a certificate fared.
func (c *Certificate) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "certificate from %s, valid until %s", c.Source, c.NotAfter.Format(time.DateOnly))
	if c.Match != Unmatched {
		fmt.Fprintf(&b, ", its %s named by an SMIMEA record", c.Match)
	}
	for _, problem := range c.Problems {
		b.WriteString("; " + problem.Text)
	}
	if c.Untrusted != "" {
		b.WriteString("; not by a known authority: " + c.Untrusted)
	}
	return b.String()
}

// refusalWords leaves out the remedy, which is for publishers.
func refusalWords(r *certsource.Refusal) string {
	switch r.Reason {
	case certsource.NoAddress:
		return "the certificate has no mail address"
	case certsource.Purpose:
		return "the certificate is not for mail"
	}
	return "the certificate cannot be used: " + string(r.Reason)
}

// check holds a certificate against the time, the address and the purpose. An
// expired one must not be used, even if the SMIMEA records name it: RFC 8162
// section 9 says the reverse of what RFC 7671 says for TLS.
func (l *lookup) check(c *Certificate) {
	if l.now.After(c.NotAfter) {
		c.problem(Expired, "the certificate expired on %s", c.NotAfter.Format(time.DateOnly))
	}
	if l.now.Before(c.NotBefore) {
		c.problem(NotYetValid, "the certificate is not valid before %s", c.NotBefore.Format(time.DateOnly))
	}
	switch exact, folded := isFor(c.Addresses, l.Address); {
	case exact:
	case folded:
		l.tell("the certificate writes the local-part in another case")
	default:
		c.problem(OtherAddress, "the certificate is for another address")
	}
	if l.Purpose == Encrypt && !c.Encrypts {
		c.problem(NotToEncrypt, "the certificate is not one to encrypt to")
	}
	if l.Purpose == Sign && !c.Signs {
		c.problem(NotToSign, "the certificate is not one to check signatures with")
	}
}

// isFor reports whether an address is among a certificate's. Domains compare as
// A-labels. Local-parts compare exactly, and if they are not ASCII octet by octet
// (RFC 9598 section 5), without the NFC that owner names have; folded if only the
// case of ASCII letters differs, which RFC 8550 section 3 lets pass.
func isFor(certified []string, a smimea.Address) (exact, folded bool) {
	for _, text := range certified {
		if isASCII(a.Local) && isASCII(text) && !strings.HasPrefix(text, `"`) && !strings.EqualFold(text[:max(0, strings.LastIndexByte(text, '@'))], a.Local) {
			continue // cheap, should there be thousands
		}
		other, err := smimea.ParseAddress(text)
		switch {
		case err != nil || other.Domain != a.Domain:
		case other.Local == a.Local:
			if isASCII(a.Local) || strings.HasPrefix(text, a.Local+"@") || strings.HasPrefix(text, `"`) {
				exact = true
			}
		case isASCII(a.Local) && other.Lower() == a.Lower():
			folded = true
		}
	}
	return exact, folded
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}
