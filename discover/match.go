package discover

import (
	"bytes"
	"crypto/x509"
	"errors"
	"strings"

	"coredns-smimea/smimea"
)

// matches reports whether an association is of a certificate.
func (a association) matches(raw, spki []byte) bool {
	return bytes.Equal(a.Append(nil, raw, spki)[3:], a.data)
}

// match holds a certificate against the SMIMEA records (RFC 8162 section 5,
// with the usages of RFC 6698 section 2.1.1), and against the roots.
func (l *lookup) match(c *Certificate) {
	trusted, chainErr := l.chains(c, l.Roots)
	if chainErr != nil {
		c.Chain = chainWords(chainErr)
	}
	for _, a := range l.associations {
		switch a.Usage {
		case smimea.UsageDANEEE:
			if a.matches(c.Raw, c.spki) {
				c.matched(a, matchOf(a))
			}
		case smimea.UsagePKIXEE:
			if a.matches(c.Raw, c.spki) && chainErr == nil {
				c.matched(a, matchOf(a))
			}
		case smimea.UsagePKIXTA:
			for _, chain := range trusted {
				for _, authority := range chain[1:] {
					if a.matches(authority.Raw, authority.RawSubjectPublicKeyInfo) {
						c.matched(a, ByAuthority)
					}
				}
			}
		case smimea.UsageDANETA:
			if l.chainsToAnchor(c, a) {
				c.matched(a, ByAuthority)
			}
		}
	}
}

// chainsToAnchor reports whether a certificate chains to one that the domain
// names as its own trust anchor. With a digest only, the anchor must have come
// with the certificate (RFC 7671 section 5.2.2).
func (l *lookup) chainsToAnchor(c *Certificate, a association) bool {
	anchors := x509.NewCertPool()
	found := false
	for _, authority := range l.authorities {
		cert, err := x509.ParseCertificate(authority.raw)
		if err == nil && a.matches(cert.Raw, cert.RawSubjectPublicKeyInfo) {
			anchors.AddCert(cert)
			found = true
		}
	}
	if !found {
		return false
	}
	_, err := l.chains(c, anchors)
	return err == nil
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
