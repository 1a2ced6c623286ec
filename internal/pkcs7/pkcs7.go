// Package pkcs7 writes certificates as PKCS #7.
package pkcs7

import (
	"bytes"
	encoding_asn1 "encoding/asn1"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

var (
	oidData       = encoding_asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData = encoding_asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
)

// CertsOnly returns the degenerate SignedData of RFC 8551 section 3.8, in DER:
// certificates and no signer. The certificates are a SET OF, so their order in
// it is that of their encodings whatever the order given: same certificates,
// same bytes.
func CertsOnly(certificates [][]byte) ([]byte, error) {
	sorted := slices.Clone(certificates)
	slices.SortFunc(sorted, bytes.Compare)
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { // ContentInfo
		b.AddASN1ObjectIdentifier(oidSignedData)
		b.AddASN1(asn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { // SignedData
				b.AddASN1Int64(1)
				b.AddASN1(asn1.SET, func(*cryptobyte.Builder) {}) // digestAlgorithms
				b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(oidData)
				})
				b.AddASN1(asn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
					for _, certificate := range sorted {
						b.AddBytes(certificate)
					}
				})
				b.AddASN1(asn1.SET, func(*cryptobyte.Builder) {}) // signerInfos
			})
		})
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encoding certs-only PKCS#7: %w", err)
	}
	return der, nil
}
