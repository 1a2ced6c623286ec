package smimea

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

const (
	// HashSize is how many octets RFC 8162 section 3 keeps of the SHA-256.
	HashSize = 28
	// CertsLabel is the label above which the owners of SMIMEA records are
	// (RFC 8162 section 3).
	CertsLabel = "_smimecert"
	// TextsLabel is the label above which the owners of TXT records are.
	TextsLabel = "_smime"
)

// Hash returns the digest that stands for the local-part: the first 28 octets
// of its SHA-256 (RFC 8162 section 3, step 4). The domain is not in it.
func (a Address) Hash() [HashSize]byte {
	sum := sha256.Sum256([]byte(a.Local))
	return [HashSize]byte(sum[:HashSize])
}

// Label returns the leftmost label of [Address.Owner]: 56 hexadecimal digits.
func (a Address) Label() string {
	hash := a.Hash()
	return hex.EncodeToString(hash[:])
}

// Owner returns the name of the address's SMIMEA records:
//
//	c93f1e400f26708f98cb19d936620da35eec8f72e57f9eec01c1afd6._smimecert.example.com.
func (a Address) Owner() string {
	return a.Label() + "." + CertsLabel + "." + a.Domain + "."
}

// TextOwner returns the name of the address's TXT records, escaped for zone
// files:
//
//	firstname.lastname._smime.example.com.
//
// It fails as [Address.TextLabels] does, and if the name would be too long.
func (a Address) TextOwner() (string, error) {
	labels, err := a.TextLabels()
	if err != nil {
		return "", err
	}
	// A dotless name of n octets takes n+2 on the wire: one length octet in
	// front, the root behind.
	if size := len(labels) + 1 + len(TextsLabel) + len(a.Domain) + 2; size > MaxName {
		return "", fmt.Errorf("the TXT owner name would have %d octets; %d are possible", size, MaxName)
	}
	// Of the characters that need no quotes in a local-part only $ is special
	// in a zone file (RFC 1035 section 5.1: $ORIGIN, $INCLUDE).
	local := strings.ReplaceAll(LowerASCII(a.Local), "$", `\$`)
	return local + "." + TextsLabel + "." + a.Domain + ".", nil
}

// TextLabels returns the labels of the local-part in wire form, in lower case
// and without the root: what stands before _smime in the owner of TXT records.
// Its dots separate labels.
//
// Not every local-part can be a DNS name that is safe to publish. The error
// says why this one cannot.
func (a Address) TextLabels() ([]byte, error) {
	if !isASCII(a.Local) {
		return nil, errors.New("no TXT: the local-part is not ASCII, and resolvers would not agree on its name")
	}
	if !isDotString(a.Local) {
		return nil, errors.New("no TXT: the local-part needs quotes, or has an empty label")
	}
	wire := make([]byte, 0, len(a.Local)+1)
	for label := range strings.SplitSeq(LowerASCII(a.Local), ".") {
		if len(label) > MaxLabel {
			return nil, fmt.Errorf("no TXT: the local-part has a label of %d octets; %d are possible", len(label), MaxLabel)
		}
		switch {
		case label == "*":
			return nil, errors.New("no TXT: a label * is a wildcard in the DNS, it would answer for other users too")
		case len(wire) == 0 && label[0] == '*':
			return nil, errors.New("no TXT: many programs take a name that begins with * for a wildcard, and its signature would not validate")
		}
		wire = append(wire, byte(len(label)))
		wire = append(wire, label...)
	}
	return wire, nil
}
