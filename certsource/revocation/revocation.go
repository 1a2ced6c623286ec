// Package revocation reads certificate revocation lists (RFC 5280 section 5), and
// says which certificates they revoke. Where lists come from, and what follows
// from a revocation, is for others: it knows neither disk, nor network, nor time.
//
// A list counts for what its issuer has signed, and for nothing else: [Set.Revoked]
// verifies that the key that has signed the list, or one that has certified that key under
// the same name, has signed the certificate, too. So it does not matter where the issuer's certificate was found, and a list of a
// stranger who has the same name revokes nothing.
package revocation

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// An ID stands for a certificate by its issuer's name and its serial number, which
// is how lists name certificates: the first 8 octets of the SHA-256 of their DER. Two
// certificates of one issuer have the same by an accident of one in 2^64.
type ID uint64

func idOf(issuer, serial []byte) ID {
	var room [256]byte
	sum := sha256.Sum256(append(append(room[:0], issuer...), serial...)) // DER says where it ends
	return ID(binary.BigEndian.Uint64(sum[:8]))
}

// signed is what a certificate and a list have in common.
type signed struct {
	tbs       cryptobyte.String // an element
	algorithm cryptobyte.String // an element
	signature []byte
}

func readSigned(der []byte) (s signed, ok bool) {
	input := cryptobyte.String(der)
	var outer cryptobyte.String
	ok = input.ReadASN1(&outer, asn1.SEQUENCE) && input.Empty() &&
		outer.ReadASN1Element(&s.tbs, asn1.SEQUENCE) &&
		outer.ReadASN1Element(&s.algorithm, asn1.SEQUENCE) &&
		outer.ReadASN1BitStringAsBytes(&s.signature) && outer.Empty()
	return s, ok
}

// IDOf returns the ID of a certificate in DER, whatever its keys and its serial
// number are; false if it is none.
func IDOf(cert []byte) (ID, bool) {
	s, ok := readSigned(cert)
	if !ok {
		return 0, false
	}
	var tbs, issuer, serial cryptobyte.String
	ok = s.tbs.ReadASN1(&tbs, asn1.SEQUENCE) &&
		tbs.SkipOptionalASN1(asn1.Tag(0).Constructed().ContextSpecific()) &&
		tbs.ReadASN1(&serial, asn1.INTEGER) &&
		tbs.SkipASN1(asn1.SEQUENCE) &&
		tbs.ReadASN1Element(&issuer, asn1.SEQUENCE)
	return idOf(issuer, serial), ok
}

// hasSigned reports whether the key of an issuer has signed a certificate in DER. It
// is not Certificate.CheckSignatureFrom, since crypto/x509 refuses to read certificates
// that are published all the same.
func hasSigned(issuer *x509.Certificate, cert []byte) bool {
	s, ok := readSigned(cert)
	if !ok {
		return false
	}
	// Only within something that it can read does crypto/x509 say which algorithm an
	// identifier is of.
	shell, err := x509.ParseRevocationList(shellOf(s, emptyName, noTime, nil))
	return err == nil && issuer.CheckSignature(shell.SignatureAlgorithm, s.tbs, s.signature) == nil
}

var (
	emptyName = []byte{0x30, 0}
	noTime    = append([]byte{0x17, 13}, "700101000000Z"...)
)

// shellOf returns the DER of a list without entries, of version 2 whatever the version
// was, with the algorithm and the signature of something signed: the signature is not
// that of the shell. times and extensions are elements.
func shellOf(s signed, issuer, times, extensions []byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(1)
			b.AddBytes(s.algorithm)
			b.AddBytes(issuer)
			b.AddBytes(times)
			b.AddBytes(extensions)
		})
		b.AddBytes(s.algorithm)
		b.AddASN1BitString(s.signature)
	})
	der, err := b.Bytes()
	if err != nil {
		return nil // more octets than lengths can say: nothing reads it
	}
	return der
}
