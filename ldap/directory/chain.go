package directory

import (
	"bytes"
	"crypto/x509"

	"coredns-smimea/certsource"
)

// chainOf returns those other certificates of a file that lead from its leaf
// upwards, in order, without a root.
func chainOf(cert *certsource.Certificate) (chain [][]byte) {
	at, err := x509.ParseCertificate(cert.Raw)
	for err == nil && len(chain) < len(cert.Others) {
		var issuer *x509.Certificate
		for _, der := range cert.Others {
			other, parseErr := x509.ParseCertificate(der)
			if parseErr == nil && !bytes.Equal(other.RawSubject, other.RawIssuer) &&
				bytes.Equal(other.RawSubject, at.RawIssuer) && at.CheckSignatureFrom(other) == nil {
				issuer = other
			}
		}
		if issuer == nil {
			break
		}
		chain = append(chain, issuer.Raw)
		at = issuer
	}
	return chain
}
