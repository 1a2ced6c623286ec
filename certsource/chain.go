package certsource

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"slices"
	"strings"
	"time"
)

// Chains returns nil if the certificate chains to one of the roots, over the
// other certificates of its file, as one for mail, and otherwise a [*Refusal]
// of reason [Untrusted]. Revocation is not looked at.
//
// A certificate that is not valid yet is judged as of the day it will be.
func (c *Certificate) Chains(roots *Roots, now time.Time) error {
	leaf, err := x509.ParseCertificate(c.Raw)
	if err != nil {
		return Refuse(Untrusted, "Go's crypto/x509 cannot read the certificate"+because(err)+", so that `roots` cannot hold for it: it can only be published without them")
	}
	// crypto/x509 does not know SmtpUTF8Mailbox, and takes a critical
	// subjectAltName with nothing else in it for one that nobody has read.
	// This package has.
	leaf.UnhandledCriticalExtensions = slices.DeleteFunc(leaf.UnhandledCriticalExtensions, func(id asn1.ObjectIdentifier) bool {
		return id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17})
	})
	leaf.EmailAddresses = nil // Excluded judges them
	intermediates := x509.NewCertPool()
	unread, above := false, []*x509.Certificate{leaf}
	for _, der := range c.Others {
		other, err := ParseIssuer(der)
		if err != nil {
			unread = true
			continue
		}
		intermediates.AddCert(other)
		above = append(above, other)
	}
	if now.Before(c.NotBefore) {
		now = c.NotBefore
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots:         roots.authorities(),
		Intermediates: intermediates,
		CurrentTime:   now,
		// The default is TLS servers.
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	})
	if err != nil {
		detail := whyUntrusted(err)
		if why := roots.whyUnread(above...); why != "" {
			detail = why
		} else if unread {
			detail += "; Go's crypto/x509 cannot read another certificate of the file"
		}
		return Refuse(Untrusted, detail)
	}
	why := ""
	for _, chain := range chains {
		if why = Excluded(c.Addresses, chain); why == "" {
			return nil
		}
	}
	return Refuse(Untrusted, why)
}

// because gives the reason of a parse error, unless it quotes the certificate:
// what is in there is not for the log.
func because(err error) string {
	reason := strings.TrimPrefix(err.Error(), "x509: ")
	if strings.ContainsAny(reason, "\"@\n") || len(reason) > 100 {
		return ""
	}
	return " (" + reason + ")"
}

// whyUntrusted says in words of its own why Verify failed: its errors quote
// names and addresses.
func whyUntrusted(err error) string {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var critical x509.UnhandledCriticalExtension
	switch {
	case errors.As(err, &unknown):
		return "its issuer is not known, or a signature is wrong: put the intermediate certificates into the file, or the issuer among the roots"
	case errors.As(err, &critical):
		return "there is a critical extension that is not understood"
	case errors.As(err, &invalid):
		switch invalid.Reason {
		case x509.Expired:
			return "a certificate is not in date"
		case x509.NotAuthorizedToSign:
			return "an issuer may not sign certificates"
		case x509.IncompatibleUsage:
			return "an issuer's extended key usage excludes mail"
		case x509.TooManyIntermediates:
			return "the chain is longer than an issuer allows"
		case x509.CANotAuthorizedForThisName, x509.CANotAuthorizedForExtKeyUsage, x509.TooManyConstraints, x509.UnconstrainedName:
			return "an issuer's constraints exclude the certificate"
		}
	}
	return "the chain does not verify"
}
