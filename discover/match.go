package discover

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"slices"
	"strings"

	"coredns-smimea/certsource"
	"coredns-smimea/smimea"
)

// Limits of the authorities that chains can lead over, against certificates that
// are made to keep us busy: how many, and the size of RSA keys, in bits, as for TLS.
const (
	maxAuthorities = 32
	maxRSA         = 8192
)

// An authority is a certificate that others may be issued by.
type authority struct {
	parsed *x509.Certificate
	named  []association // that are of it, of usages 0 and 2
}

// addAuthority takes in an authority that crypto/x509 can read.
func (l *lookup) addAuthority(der []byte) {
	parsed, err := certsource.ParseIssuer(der)
	switch {
	case err != nil:
		l.tell("an authority's certificate is not used: crypto/x509 cannot read it")
		return
	case slices.ContainsFunc(l.authorities[string(parsed.RawSubject)], func(known *authority) bool { return bytes.Equal(known.parsed.Raw, der) }):
		return
	}
	if key, ok := parsed.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > maxRSA {
		l.tell("an authority's certificate is not used: its RSA key has more than %d bits", maxRSA)
		return
	}
	subject := string(parsed.RawSubject)
	l.authorities[subject] = append(l.authorities[subject], &authority{parsed, l.associations.of(parsed.Raw, parsed.RawSubjectPublicKeyInfo)})
}

// above returns the authorities whose names lead up from certificates, of all that
// were found: the nearest first, and no more than are worth to be looked at.
func (l *lookup) above(certs []*Certificate) (found []*authority) {
	asked := map[string]bool{}
	up := func(issuer []byte) {
		if asked[string(issuer)] {
			return
		}
		asked[string(issuer)] = true
		for _, a := range l.authorities[string(issuer)] {
			if len(found) < maxAuthorities {
				found = append(found, a)
			}
		}
	}
	for _, c := range certs {
		if c.parsed != nil {
			up(c.parsed.RawIssuer)
		}
	}
	for i := 0; i < len(found); i++ {
		up(found[i].parsed.RawIssuer)
	}
	return found
}

// chain holds the best certificates against the roots and the domain's own trust
// anchors, with the usages of RFC 6698 section 2.1.1.
func (l *lookup) chain(ctx context.Context) {
	const tooMany = "there are too many certificates to look at it"
	chained := l.chained()
	for _, c := range l.Certificates[len(chained):] {
		c.Untrusted = tooMany
	}
	authorities := l.above(chained)
	intermediates, anchors := x509.NewCertPool(), x509.NewCertPool()
	ofAnchor := map[string]association{}
	for _, a := range authorities {
		intermediates.AddCert(a.parsed)
		for _, named := range a.named {
			// With a digest only, the anchor must have come with the certificate
			// (RFC 7671 section 5.2.2), and has.
			if _, known := ofAnchor[string(a.parsed.Raw)]; named.Usage == smimea.UsageDANETA && !known {
				ofAnchor[string(a.parsed.Raw)] = named
				anchors.AddCert(a.parsed)
			}
		}
	}
	for _, c := range chained {
		if ctx.Err() != nil {
			l.cut = true
			return
		}
		l.hold(c, intermediates)
		if len(ofAnchor) == 0 {
			continue
		}
		chains, err := l.chains(c, anchors, intermediates)
		if err != nil {
			continue
		}
		for _, chain := range chains {
			c.matched(ofAnchor[string(chain[len(chain)-1].Raw)], ByAuthority)
		}
		if c.issuer == nil && len(chains[0]) > 1 {
			c.issuer = chains[0][1]
		}
	}
}

// hold holds a certificate against the known authorities, and the records that
// demand one.
func (l *lookup) hold(c *Certificate, intermediates *x509.CertPool) {
	c.Untrusted = ""
	trusted, err := l.chains(c, l.Roots, intermediates)
	if err != nil {
		c.Untrusted = chainWords(err)
		return
	}
	if len(trusted[0]) > 1 {
		c.issuer = trusted[0][1]
	}
	for _, a := range c.named {
		if a.Usage == smimea.UsagePKIXEE {
			c.matched(a, matchOf(a))
		}
	}
	if !slices.ContainsFunc(l.associations.records, func(a association) bool { return a.Usage == smimea.UsagePKIXTA }) {
		return
	}
	for _, chain := range trusted {
		for _, link := range chain[1:] {
			for _, a := range l.associations.of(link.Raw, link.RawSubjectPublicKeyInfo) {
				if a.Usage == smimea.UsagePKIXTA {
					c.matched(a, ByAuthority)
				}
			}
		}
	}
}

// oidAltName is of the subjectAltName, which certsource has read where
// crypto/x509 has not (RFC 9598).
var oidAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// chains returns the ways from a certificate to roots, as one for mail.
func (l *lookup) chains(c *Certificate, roots, intermediates *x509.CertPool) ([][]*x509.Certificate, error) {
	if c.parsed == nil {
		return nil, errors.New("crypto/x509 cannot read the certificate")
	}
	leaf := *c.parsed
	leaf.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(leaf.UnhandledCriticalExtensions), oidAltName.Equal)
	leaf.EmailAddresses = nil // certsource.Excluded judges them
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: l.now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	})
	if err != nil {
		return nil, err
	}
	why := ""
	chains = slices.DeleteFunc(chains, func(chain []*x509.Certificate) bool {
		excluded := certsource.Excluded(c.Addresses, chain)
		why = cmp.Or(why, excluded)
		return excluded != ""
	})
	if len(chains) == 0 {
		return nil, errors.New(why)
	}
	return chains, nil
}

func matchOf(a association) Match {
	if a.Selector == smimea.SelectorCert {
		return ByCertificate
	}
	return ByKey
}

// strength orders matches.
var strength = map[Match]int{ByAuthority: 1, ByKey: 2, ByCertificate: 3}

func (c *Certificate) matched(a association, m Match) {
	if strength[m] > strength[c.Match] {
		c.Match, c.Association = m, a.Association.String()
	}
}

// chainWords says why a chain does not verify, without the names that the
// errors of crypto/x509 quote.
func chainWords(err error) string {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &unknown):
		return "no issuer is known"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "a certificate is not in date"
	}
	return strings.TrimPrefix(strings.SplitN(err.Error(), "\n", 2)[0], "x509: ")
}
