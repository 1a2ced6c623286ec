package revocation

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"coredns-smimea/certsource"
)

// A Verified is a list, and the certificate of the issuer that has signed it.
type Verified struct {
	*List
	Issuer *x509.Certificate
	// For is the certificate of another key of the issuer's, if that has certified the
	// key of the list: the list is of its certificates, too (RFC 5280 section 6.3.3 (f)).
	// So it is where lists have a key of their own, and after a key roll-over.
	For *x509.Certificate
}

// Verify looks among certificates for the issuer that has signed a list. The error
// says why there is none.
func Verify(l *List, issuers []*x509.Certificate) (Verified, error) {
	var failed error
	for _, issuer := range issuers {
		if !l.Names(issuer) {
			continue
		}
		if failed = l.SignedBy(issuer); failed == nil {
			return Verified{l, issuer, certifier(issuer, issuers)}, nil
		}
	}
	if failed != nil {
		return Verified{}, fmt.Errorf("its signature is not that of the issuer it names (%v): fetch it again from the issuer", failed)
	}
	return Verified{}, ErrIssuer
}

// certifier looks for the certificate of another key with a certificate's name that has
// signed it.
func certifier(cert *x509.Certificate, among []*x509.Certificate) *x509.Certificate {
	for _, other := range among {
		if bytes.Equal(other.RawSubject, cert.RawSubject) && !bytes.Equal(other.RawSubjectPublicKeyInfo, cert.RawSubjectPublicKeyInfo) &&
			cert.CheckSignatureFrom(other) == nil {
			return other
		}
	}
	return nil
}

// ErrIssuer is why a list does not count whose issuer is not known.
var ErrIssuer = fmt.Errorf("its issuer's certificate is not known, so that nothing vouches for it: put that certificate among the roots or those of chain, or as PEM into the file of the list")

// A Set is all lists that count at one moment. It does not change. A nil Set revokes
// nothing.
type Set struct{ lists []Verified }

// NewSet returns a Set of lists. Of several by one key of an issuer that are of the same
// certificates, the newest counts.
func NewSet(lists []Verified) *Set {
	s := new(Set)
	for _, l := range lists {
		i := slices.IndexFunc(s.lists, func(other Verified) bool {
			return l.Replaces(other.List) && bytes.Equal(l.Issuer.RawSubjectPublicKeyInfo, other.Issuer.RawSubjectPublicKeyInfo)
		})
		switch {
		case i < 0:
			s.lists = append(s.lists, l)
		case l.Newer(s.lists[i].List):
			s.lists[i] = l
		}
	}
	return s
}

// Concerns reports whether a certificate with an ID may be revoked: for sure, but for
// one of an issuer that shares its name and the serial number with another. It takes
// some hundred nanoseconds where lists are long.
func (s *Set) Concerns(id ID) bool {
	if s == nil {
		return false
	}
	return slices.ContainsFunc(s.lists, func(l Verified) bool { _, ok := l.find(id); return ok })
}

// Revoked returns why a certificate in DER is revoked, a refusal of reason
// [certsource.Revoked]; nil if it is not.
func (s *Set) Revoked(cert []byte) *certsource.Refusal {
	id, ok := IDOf(cert)
	if !ok || s == nil {
		return nil
	}
	for _, l := range s.lists {
		if e, ok := l.find(id); ok && (hasSigned(l.Issuer, cert) || l.For != nil && hasSigned(l.For, cert)) {
			return certsource.Refuse(certsource.Revoked, e.String())
		}
	}
	return nil
}

func (e entry) String() string {
	text := "on " + time.Unix(int64(e.at), 0).UTC().Format(time.DateOnly)
	if word, ok := reasons[e.reason]; ok {
		text += ", " + word
	}
	return text
}
