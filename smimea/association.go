package smimea

import (
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
)

// The values that an [Association] can have (RFC 6698 section 2.1, named as in
// RFC 7218).
const (
	UsagePKIXTA = 0 // an authority that must be in the certificate's valid path
	UsagePKIXEE = 1 // the user's certificate, which must have a valid path
	UsageDANETA = 2 // an authority that the domain vouches for
	UsageDANEEE = 3 // the user's certificate, which the domain vouches for

	SelectorCert = 0 // the whole certificate
	SelectorSPKI = 1 // its SubjectPublicKeyInfo

	MatchingFull   = 0 // the selected octets themselves
	MatchingSHA256 = 1
	MatchingSHA512 = 2
)

// An Association says how an SMIMEA record stands for a certificate
// (RFC 8162 section 2). Usages 0 and 2 stand for an authority: made of a
// user's certificate they match it only if it has issued itself.
type Association struct {
	Usage, Selector, Matching uint8
}

// ParseAssociation reads the three numbers of an association as they stand in
// a record, "3", "1", "1" say.
func ParseAssociation(usage, selector, matching string) (Association, error) {
	var a Association
	for _, field := range []struct {
		name, text string
		max        byte
		value      *uint8
	}{
		{"usage", usage, UsageDANEEE, &a.Usage},
		{"selector", selector, SelectorSPKI, &a.Selector},
		{"matching type", matching, MatchingSHA512, &a.Matching},
	} {
		if len(field.text) != 1 || field.text[0] < '0' || field.text[0] > '0'+field.max {
			return Association{}, fmt.Errorf("%s %q: want a number from 0 to %d", field.name, field.text, field.max)
		}
		*field.value = field.text[0] - '0'
	}
	return a, nil
}

// String returns the association as in a record's presentation form: "3 1 1".
func (a Association) String() string {
	return fmt.Sprintf("%d %d %d", a.Usage, a.Selector, a.Matching)
}

// Append appends the data of an SMIMEA record: the three numbers, then what
// they select of a certificate's DER or its SubjectPublicKeyInfo's.
func (a Association) Append(dst, cert, spki []byte) []byte {
	dst = append(dst, a.Usage, a.Selector, a.Matching)
	selected := cert
	if a.Selector == SelectorSPKI {
		selected = spki
	}
	switch a.Matching {
	case MatchingSHA256:
		sum := sha256.Sum256(selected)
		return append(dst, sum[:]...)
	case MatchingSHA512:
		sum := sha512.Sum512(selected)
		return append(dst, sum[:]...)
	}
	return append(dst, selected...)
}
