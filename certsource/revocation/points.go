package revocation

import (
	"bytes"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// pointsID begins the extension of distribution points: its object identifier in DER.
var pointsID = []byte{0x06, 0x03, 0x55, 0x1d, 0x1f}

// Points returns the URLs where a certificate in DER says that the lists are which its
// issuer has signed (RFC 5280 section 4.2.1.13), of whatever schemes.
func Points(cert []byte) (urls []string) {
	if !bytes.Contains(cert, pointsID) {
		return nil // as most
	}
	s, ok := readSigned(cert)
	var tbs, all, extensions cryptobyte.String
	if !ok || !s.tbs.ReadASN1(&tbs, asn1.SEQUENCE) {
		return nil
	}
	for !tbs.Empty() {
		var tag asn1.Tag
		if !tbs.ReadAnyASN1(&all, &tag) {
			return nil
		}
		if tag == asn1.Tag(3).Constructed().ContextSpecific() && all.ReadASN1(&extensions, asn1.SEQUENCE) {
			break
		}
	}
	for !extensions.Empty() {
		var x, value cryptobyte.String
		if !extensions.ReadASN1(&x, asn1.SEQUENCE) {
			return nil
		}
		if !bytes.HasPrefix(x, pointsID) {
			continue
		}
		x = x[len(pointsID):]
		if x.SkipOptionalASN1(asn1.BOOLEAN) && x.ReadASN1(&value, asn1.OCTET_STRING) {
			return readPoints(value)
		}
	}
	return nil
}

func readPoints(value cryptobyte.String) (urls []string) {
	context := func(n asn1.Tag) asn1.Tag { return n.Constructed().ContextSpecific() }
	var points cryptobyte.String
	if !value.ReadASN1(&points, asn1.SEQUENCE) {
		return nil
	}
	for !points.Empty() {
		var point, name, full cryptobyte.String
		if !points.ReadASN1(&point, asn1.SEQUENCE) {
			return urls
		}
		if !point.PeekASN1Tag(context(0)) || !point.ReadASN1(&name, context(0)) || !name.ReadASN1(&full, context(0)) {
			continue // a name relative to the issuer's
		}
		if point.SkipOptionalASN1(asn1.Tag(1).ContextSpecific()); point.PeekASN1Tag(context(2)) {
			continue // the list is another issuer's
		}
		for !full.Empty() {
			var general cryptobyte.String
			var tag asn1.Tag
			if !full.ReadAnyASN1(&general, &tag) {
				return urls
			}
			if tag == asn1.Tag(6).ContextSpecific() {
				urls = append(urls, string(general))
			}
		}
	}
	return urls
}
