package testcert

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cb "golang.org/x/crypto/cryptobyte/asn1"
)

// A Template describes a certificate. The zero value of each field is usable;
// a certificate of the zero Template has a P-256 key, no address, no key usage
// and no extended key usage, is valid for a year, and is issued by [Shared].
type Template struct {
	// Addresses go into the subjectAltName: as rfc822Name, or, if the
	// local-part is not ASCII, as SmtpUTF8Mailbox.
	Addresses []string

	// CommonName of the subject, "Zoo User" if empty.
	CommonName string
	// SubjectAddresses go into the subject, as emailAddress.
	SubjectAddresses []Text

	Key       Key    // of which kind the key is
	PublicKey []byte // DER of the SubjectPublicKeyInfo, in place of a key of that kind

	NotBefore time.Time // an hour ago if zero
	NotAfter  time.Time // a year after NotBefore if zero

	KeyUsage x509.KeyUsage      // none if 0
	EKU      []x509.ExtKeyUsage // none if nil

	Authority bool // basicConstraints with CA:TRUE

	// Issuer signs the certificate, [Shared] if nil.
	Issuer *Authority
	// Signer makes the certificate self-signed, with a key of its own.
	Signer *Signer

	Serial     []byte      // content octets of the serial number, random if nil
	Version1   bool        // X.509 v1: without any extension
	Extensions []Extension // after those that the fields above make

	subjectName []byte // DER of the whole subject, in place of what the fields above make
}

// A Text is a string of one of ASN.1's string types.
type Text struct {
	Tag   cb.Tag
	Bytes []byte
}

// An Extension is one of a certificate's.
type Extension struct {
	ID       asn1.ObjectIdentifier
	Critical bool
	Value    []byte // DER
}

// Object identifiers of extensions, for [Extension].
var (
	SubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidExtKeyUsage      = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidCommonName       = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidEmailAddress     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}
	oidSmtpUTF8Mailbox  = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 9}
)

var purposes = map[x509.ExtKeyUsage]asn1.ObjectIdentifier{
	x509.ExtKeyUsageAny:             {2, 5, 29, 37, 0},
	x509.ExtKeyUsageServerAuth:      {1, 3, 6, 1, 5, 5, 7, 3, 1},
	x509.ExtKeyUsageClientAuth:      {1, 3, 6, 1, 5, 5, 7, 3, 2},
	x509.ExtKeyUsageEmailProtection: {1, 3, 6, 1, 5, 5, 7, 3, 4},
}

// firstGeneral is the first date that is no UTCTime (RFC 5280 section 4.1.2.5).
var firstGeneral = time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)

func contextTag(n uint8) cb.Tag { return cb.Tag(n).ContextSpecific() }

// DER makes the certificate.
func (t Template) DER() ([]byte, error) {
	der, _, err := t.build()
	return der, err
}

// build makes the certificate, and returns its SubjectPublicKeyInfo too.
func (t Template) build() (der, spki []byte, err error) {
	if t.NotBefore.IsZero() {
		t.NotBefore = time.Now().Add(-time.Hour)
	}
	if t.NotAfter.IsZero() {
		t.NotAfter = t.NotBefore.AddDate(1, 0, 0)
	}
	spki = t.PublicKey
	if spki == nil && t.Signer == nil {
		if spki, err = t.Key.public(); err != nil {
			return nil, nil, err
		}
	}
	subject, err := t.subject()
	if err != nil {
		return nil, nil, err
	}
	signer, issuer := t.Signer, subject
	if signer != nil {
		spki = signer.spki
	} else {
		authority := t.Issuer
		if authority == nil {
			authority = Shared()
		}
		signer, issuer = authority.signer, authority.name
	}

	b := cryptobyte.NewBuilder(make([]byte, 0, 1024))
	b.AddASN1(cb.SEQUENCE, func(b *cryptobyte.Builder) {
		if !t.Version1 {
			b.AddASN1(contextTag(0).Constructed(), func(b *cryptobyte.Builder) { b.AddASN1Int64(2) })
		}
		serial := t.Serial
		if serial == nil {
			serial = make([]byte, 16)
			rand.Read(serial)
			serial[0] = serial[0]&0x3f | 0x40
		}
		b.AddASN1(cb.INTEGER, func(b *cryptobyte.Builder) { b.AddBytes(serial) })
		b.AddBytes(signer.algorithm)
		b.AddBytes(issuer)
		b.AddASN1(cb.SEQUENCE, func(b *cryptobyte.Builder) {
			addTime(b, t.NotBefore)
			addTime(b, t.NotAfter)
		})
		b.AddBytes(subject)
		b.AddBytes(spki)
		t.addExtensions(b)
	})
	tbs, err := b.Bytes()
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the certificate: %w", err)
	}
	der, err = signer.sign(tbs)
	return der, spki, err
}

func (t *Template) subject() ([]byte, error) {
	if t.subjectName != nil {
		return t.subjectName, nil
	}
	name := t.CommonName
	if name == "" {
		name = "Zoo User"
	}
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(cb.SEQUENCE, func(b *cryptobyte.Builder) {
		addAttribute(b, oidCommonName, Text{cb.UTF8String, []byte(name)})
		for _, address := range t.SubjectAddresses {
			addAttribute(b, oidEmailAddress, address)
		}
	})
	return b.Bytes()
}

func addAttribute(b *cryptobyte.Builder, id asn1.ObjectIdentifier, value Text) {
	b.AddASN1(cb.SET, func(b *cryptobyte.Builder) {
		b.AddASN1(cb.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(id)
			b.AddASN1(value.Tag, func(b *cryptobyte.Builder) { b.AddBytes(value.Bytes) })
		})
	})
}

func addTime(b *cryptobyte.Builder, t time.Time) {
	if t.Before(firstGeneral) {
		b.AddASN1UTCTime(t.UTC())
		return
	}
	b.AddASN1(cb.GeneralizedTime, func(b *cryptobyte.Builder) {
		b.AddBytes(t.UTC().AppendFormat(nil, "20060102150405Z"))
	})
}

func (t *Template) addExtensions(b *cryptobyte.Builder) {
	if t.Version1 {
		return
	}
	var all []Extension
	if t.Authority {
		all = append(all, Extension{oidBasicConstraints, true, []byte{0x30, 3, 1, 1, 0xff}})
	}
	if t.KeyUsage != 0 {
		all = append(all, Extension{oidKeyUsage, true, keyUsage(t.KeyUsage)})
	}
	if t.EKU != nil {
		all = append(all, Extension{oidExtKeyUsage, false, extKeyUsage(t.EKU)})
	}
	if len(t.Addresses) > 0 {
		all = append(all, Extension{SubjectAltName, false, AltName(t.Addresses...)})
	}
	all = append(all, t.Extensions...)
	if len(all) == 0 {
		return
	}
	b.AddASN1(contextTag(3).Constructed(), func(b *cryptobyte.Builder) {
		b.AddASN1(cb.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, e := range all {
				b.AddASN1(cb.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(e.ID)
					if e.Critical {
						b.AddASN1Boolean(true)
					}
					b.AddASN1OctetString(e.Value)
				})
			}
		})
	})
}

// AltName returns the value of a subjectAltName with addresses: those with a
// local-part that is not ASCII as SmtpUTF8Mailbox, the others as rfc822Name.
func AltName(addresses ...string) []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(cb.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, address := range addresses {
			if isASCII(address) {
				b.AddASN1(contextTag(1), func(b *cryptobyte.Builder) { b.AddBytes([]byte(address)) })
				continue
			}
			b.AddASN1(contextTag(0).Constructed(), func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oidSmtpUTF8Mailbox)
				b.AddASN1(contextTag(0).Constructed(), func(b *cryptobyte.Builder) {
					b.AddASN1(cb.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(address)) })
				})
			})
		}
	})
	return b.BytesOrPanic()
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// keyUsage returns the BIT STRING of a key usage, whose bit 0 is the first.
func keyUsage(usage x509.KeyUsage) []byte {
	var bits [2]byte
	last := 0
	for i := range 9 {
		if usage&(1<<i) != 0 {
			bits[i/8] |= 0x80 >> (i % 8)
			last = i
		}
	}
	octets := bits[:last/8+1]
	return append([]byte{3, byte(len(octets) + 1), byte(7 - last%8)}, octets...)
}

func extKeyUsage(usages []x509.ExtKeyUsage) []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(cb.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, usage := range usages {
			b.AddASN1ObjectIdentifier(purposes[usage])
		}
	})
	return b.BytesOrPanic()
}
