package certsource

import (
	"bytes"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// A certificate is what the walk over an X.509 certificate (RFC 5280 section
// 4.1) finds. The slices are parts of raw. The extensions are only kept here,
// and read for the one certificate that is published.
type certificate struct {
	raw             []byte
	line            int    // of the text where its block begins, 0 if there is none
	issuer, subject []byte // DER of the names
	spki            []byte // DER of the SubjectPublicKeyInfo
	notBefore       time.Time
	notAfter        time.Time
	authority       bool // basicConstraints has cA

	// The values of extensions, nil where there is no such extension.
	altName     []byte
	keyUsage    []byte
	extKeyUsage []byte
}

// Content octets of the object identifiers looked for.
const (
	oidKeyUsage         = "\x55\x1d\x0f"                         // 2.5.29.15
	oidSubjectAltName   = "\x55\x1d\x11"                         // 2.5.29.17
	oidBasicConstraints = "\x55\x1d\x13"                         // 2.5.29.19
	oidExtKeyUsage      = "\x55\x1d\x25"                         // 2.5.29.37
	oidAnyPurpose       = "\x55\x1d\x25\x00"                     // 2.5.29.37.0
	oidEmailProtection  = "\x2b\x06\x01\x05\x05\x07\x03\x04"     // 1.3.6.1.5.5.7.3.4
	oidSmtpUTF8Mailbox  = "\x2b\x06\x01\x05\x05\x07\x08\x09"     // 1.3.6.1.5.5.7.8.9
	oidEmailAddress     = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01" // 1.2.840.113549.1.9.1
	oidSignedData       = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02" // 1.2.840.113549.1.7.2
	oidPKCS7            = "\x2a\x86\x48\x86\xf7\x0d\x01\x07"     // 1.2.840.113549.1.7
	oidPKCS5            = "\x2a\x86\x48\x86\xf7\x0d\x01\x05"     // 1.2.840.113549.1.5
	oidPKCS12PBE        = "\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01" // 1.2.840.113549.1.12.1
)

var (
	tagVersion    = asn1.Tag(0).Constructed().ContextSpecific()
	tagIssuerUID  = asn1.Tag(1).ContextSpecific()
	tagSubjectUID = asn1.Tag(2).ContextSpecific()
	tagExtensions = asn1.Tag(3).Constructed().ContextSpecific()
)

func damaged(detail string) *Refusal { return Refuse(Malformed, detail) }

// looksBinary reports whether data is ASN.1 and not text: text, too, may start
// with 0x30, which is "0", but then goes on with no length.
func looksBinary(data []byte) bool {
	if len(data) < 2 || data[0] != 0x30 {
		return false
	}
	if data[1] >= 0x80 {
		return data[1] <= 0x84
	}
	return len(data) == 2+int(data[1])
}

// checkTrailer judges what follows the one value of a file or block. White space
// may, which editors add and openssl ignores.
func checkTrailer(rest []byte) *Refusal {
	if rest = bytes.TrimLeft(rest, " \t\r\n"); len(rest) == 0 {
		return nil
	}
	if what := privateKeyDER(rest); what != "" {
		return Refuse(PrivateKey, what)
	}
	return damaged("other data follows the DER")
}

// certificateElement splits data after the DER element it starts with.
func certificateElement(data []byte) (raw, rest []byte, refusal *Refusal) {
	s := cryptobyte.String(data)
	var element cryptobyte.String
	if s.ReadASN1Element(&element, asn1.SEQUENCE) {
		return element, s, nil
	}
	return nil, nil, damaged("not DER")
}

// walk goes over the DER of a certificate. It checks the shape of everything down
// to the extensions, but judges no values: what algorithm, curve, serial number or
// names there are is of no concern here.
func (cert *certificate) walk() *Refusal {
	input := cryptobyte.String(cert.raw)
	var outer, tbs cryptobyte.String
	if !input.ReadASN1(&outer, asn1.SEQUENCE) || !outer.ReadASN1(&tbs, asn1.SEQUENCE) {
		return damaged("not DER")
	}
	if !outer.SkipASN1(asn1.SEQUENCE) || !outer.SkipASN1(asn1.BIT_STRING) || !outer.Empty() {
		return Refuse(NoCertificate, "ASN.1 that is no certificate")
	}

	var issuer, validity, subject, spki cryptobyte.String
	if !tbs.SkipOptionalASN1(tagVersion) ||
		!tbs.SkipASN1(asn1.INTEGER) || // the serial number, whatever its sign or size
		!tbs.SkipASN1(asn1.SEQUENCE) ||
		!tbs.ReadASN1Element(&issuer, asn1.SEQUENCE) ||
		!tbs.ReadASN1(&validity, asn1.SEQUENCE) ||
		!tbs.ReadASN1Element(&subject, asn1.SEQUENCE) ||
		!tbs.ReadASN1Element(&spki, asn1.SEQUENCE) {
		// A certificate request and a revocation list are signed in the same way.
		return Refuse(NoCertificate, "something signed that is no certificate, or a damaged one")
	}
	cert.issuer, cert.subject, cert.spki = issuer, subject, spki

	var ok bool
	if cert.notBefore, ok = readTime(&validity); !ok {
		return damaged("notBefore is not a date")
	}
	if cert.notAfter, ok = readTime(&validity); !ok || !validity.Empty() {
		return damaged("notAfter is not a date")
	}

	var key, algorithm cryptobyte.String
	if !spki.ReadASN1(&key, asn1.SEQUENCE) ||
		!key.ReadASN1(&algorithm, asn1.SEQUENCE) || !algorithm.SkipASN1(asn1.OBJECT_IDENTIFIER) ||
		!key.SkipASN1(asn1.BIT_STRING) || !key.Empty() {
		return damaged("no public key that can be read")
	}

	var extensions cryptobyte.String
	var present bool
	if !tbs.SkipOptionalASN1(tagIssuerUID) || !tbs.SkipOptionalASN1(tagSubjectUID) ||
		!tbs.ReadOptionalASN1(&extensions, &present, tagExtensions) || !tbs.Empty() {
		return damaged("the certificate does not end as one")
	}
	if !present {
		return nil
	}
	return cert.walkExtensions(extensions)
}

// walkExtensions keeps the values of the extensions that matter here. Those
// may be there once (RFC 5280 section 4.2): with two, one program would
// believe the first and another the second.
func (cert *certificate) walkExtensions(explicit cryptobyte.String) *Refusal {
	var extensions, constraints cryptobyte.String
	if !explicit.ReadASN1(&extensions, asn1.SEQUENCE) || !explicit.Empty() {
		return damaged("the extensions cannot be read")
	}
	for !extensions.Empty() {
		var extension, id, value cryptobyte.String
		if !extensions.ReadASN1(&extension, asn1.SEQUENCE) ||
			!extension.ReadASN1(&id, asn1.OBJECT_IDENTIFIER) ||
			!extension.SkipOptionalASN1(asn1.BOOLEAN) ||
			!extension.ReadASN1(&value, asn1.OCTET_STRING) || !extension.Empty() {
			return damaged("an extension cannot be read")
		}
		var kept *[]byte
		switch string(id) {
		case oidSubjectAltName:
			kept = &cert.altName
		case oidKeyUsage:
			kept = &cert.keyUsage
		case oidExtKeyUsage:
			kept = &cert.extKeyUsage
		case oidBasicConstraints:
			kept = (*[]byte)(&constraints)
		default:
			continue
		}
		if *kept != nil {
			return damaged("an extension is there twice")
		}
		*kept = value
	}
	if constraints == nil {
		return nil
	}
	var body, authority cryptobyte.String
	var present bool
	if !constraints.ReadASN1(&body, asn1.SEQUENCE) || !body.ReadOptionalASN1(&authority, &present, asn1.BOOLEAN) {
		return damaged("the basic constraints cannot be read")
	}
	// BER's TRUE is any octet but zero. To take one for FALSE would publish
	// an authority.
	cert.authority = present && !bytes.Equal(authority, []byte{0})
	return nil
}

// checkPurpose refuses certificates whose extended key usage is there and
// excludes mail (RFC 8550 section 4.4.4).
func (cert *certificate) checkPurpose() *Refusal {
	if cert.extKeyUsage == nil {
		return nil
	}
	value := cryptobyte.String(cert.extKeyUsage)
	var purposes cryptobyte.String
	if !value.ReadASN1(&purposes, asn1.SEQUENCE) || !value.Empty() {
		return damaged("the extended key usage cannot be read")
	}
	mail := false
	for !purposes.Empty() {
		var purpose cryptobyte.String
		if !purposes.ReadASN1(&purpose, asn1.OBJECT_IDENTIFIER) {
			return damaged("the extended key usage cannot be read")
		}
		mail = mail || string(purpose) == oidEmailProtection || string(purpose) == oidAnyPurpose
	}
	if !mail {
		return Refuse(Purpose, "the extended key usage excludes mail")
	}
	return nil
}

// encrypts reports whether keyUsage is absent, or has keyEncipherment (bit 2)
// or keyAgreement (bit 4). The BIT STRING is read by hand, since the field's
// encoders do not all clear the unused bits.
func (cert *certificate) encrypts() bool {
	if cert.keyUsage == nil {
		return true
	}
	value := cryptobyte.String(cert.keyUsage)
	var bits cryptobyte.String
	if !value.ReadASN1(&bits, asn1.BIT_STRING) || len(bits) < 2 {
		return false
	}
	return bits[1]&(0x80>>2|0x80>>4) != 0
}
