package certsource

import (
	"bytes"
	"fmt"
	"slices"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

const (
	// maxAddress is the most octets of an address: 64 of the local-part, "@",
	// and 255 of the domain (RFC 5321 section 4.5.3.1).
	maxAddress = 320
	// maxAddresses is the most addresses of a certificate. Each costs names
	// in the DNS, so one file must not have them by the ten thousand.
	maxAddresses = 1000
)

var (
	tagRFC822Name = asn1.Tag(1).ContextSpecific()
	tagOtherName  = asn1.Tag(0).ContextSpecific().Constructed()
	tagOtherValue = asn1.Tag(0).ContextSpecific().Constructed()
)

// String types that cryptobyte/asn1 has no name for.
const (
	tagNumericString   = asn1.Tag(18)
	tagVisibleString   = asn1.Tag(26)
	tagUniversalString = asn1.Tag(28)
	tagBMPString       = asn1.Tag(30)
)

// addresses are the addresses of one certificate.
type addresses struct {
	list    []string
	seen    int // how many there were, with duplicates and those dropped
	dropped int
	altName bool // they are in the subjectAltName
}

// addresses returns the addresses certified: the rfc822Names and
// SmtpUTF8Mailboxes (RFC 9598) of the subjectAltName, or, only where that has
// neither, the emailAddresses of the subject (RFC 8550 section 3).
func (cert *certificate) addresses() (addresses, *Refusal) {
	var found addresses
	if cert.altName != nil {
		if refusal := found.addAltName(cert.altName); refusal != nil {
			return found, refusal
		}
	}
	if found.altName = found.seen > 0; !found.altName {
		if refusal := found.addSubject(cert.subject); refusal != nil {
			return found, refusal
		}
	}
	switch {
	case found.seen > maxAddresses:
		return found, damaged(fmt.Sprintf("more than %d addresses", maxAddresses))
	case len(found.list) > 0:
		return found, nil
	case found.dropped > 0:
		return found, Refuse(NoAddress, "what there is for one is too long, or not text")
	}
	return found, Refuse(NoAddress, "neither in the subjectAltName nor in the subject")
}

// add adds an address as it is certified, if it is one that can be handled.
func (a *addresses) add(octets []byte) {
	if a.seen++; a.seen > maxAddresses {
		return
	}
	if !usable(octets) {
		a.dropped++
		return
	}
	if a.list == nil {
		a.list = append(make([]string, 0, 1), string(octets))
		return
	}
	if !slices.Contains(a.list, string(octets)) {
		a.list = append(a.list, string(octets))
	}
}

// usable reports whether octets can be an address at all. The text of an
// rfc822Name is ASCII by its type, but UTF-8 has been put there. Control
// characters are in no mailbox (RFC 5321 section 4.1.2), and would let an
// address pass for another where it is shown or stored.
func usable(octets []byte) bool {
	if len(octets) == 0 || len(octets) > maxAddress {
		return false
	}
	ascii := true
	for _, c := range octets {
		if c < ' ' || c == 0x7f {
			return false
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	// RFC 9598 section 3 forbids a byte order mark.
	return ascii || utf8.Valid(octets) && !bytes.HasPrefix(octets, []byte("\ufeff"))
}

// addAltName adds the addresses of a GeneralNames (RFC 5280 section 4.2.1.6).
func (a *addresses) addAltName(value cryptobyte.String) *Refusal {
	var names cryptobyte.String
	if !value.ReadASN1(&names, asn1.SEQUENCE) || !value.Empty() {
		return damaged("the subjectAltName cannot be read")
	}
	for !names.Empty() {
		var name cryptobyte.String
		var tag asn1.Tag
		if !names.ReadAnyASN1(&name, &tag) {
			return damaged("the subjectAltName cannot be read")
		}
		switch tag {
		case tagRFC822Name:
			a.add(name)
		case tagOtherName:
			var id, explicit, mailbox cryptobyte.String
			if !name.ReadASN1(&id, asn1.OBJECT_IDENTIFIER) || string(id) != oidSmtpUTF8Mailbox {
				continue
			}
			if !name.ReadASN1(&explicit, tagOtherValue) || !explicit.ReadASN1(&mailbox, asn1.UTF8String) || !explicit.Empty() {
				mailbox = nil
			}
			a.add(mailbox)
		}
	}
	return nil
}

// addSubject adds the emailAddresses of a Name, of any string type.
func (a *addresses) addSubject(name cryptobyte.String) *Refusal {
	// Walking all of the name is only worth it for those that have one.
	if !bytes.Contains(name, []byte(oidEmailAddress)) {
		return nil
	}
	var sets cryptobyte.String
	if !name.ReadASN1(&sets, asn1.SEQUENCE) {
		return damaged("the subject cannot be read")
	}
	for !sets.Empty() {
		var set cryptobyte.String
		if !sets.ReadASN1(&set, asn1.SET) {
			return damaged("the subject cannot be read")
		}
		for !set.Empty() {
			var attribute, id, value cryptobyte.String
			var tag asn1.Tag
			if !set.ReadASN1(&attribute, asn1.SEQUENCE) ||
				!attribute.ReadASN1(&id, asn1.OBJECT_IDENTIFIER) ||
				!attribute.ReadAnyASN1(&value, &tag) {
				return damaged("the subject cannot be read")
			}
			if string(id) == oidEmailAddress {
				a.add(text(value, tag))
			}
		}
	}
	return nil
}

// text returns a string of any of ASN.1's types as UTF-8, nil if it is not one.
func text(value []byte, tag asn1.Tag) []byte {
	if len(value) > 4*maxAddress {
		return nil
	}
	switch tag {
	case asn1.UTF8String, asn1.IA5String, asn1.PrintableString, tagNumericString, tagVisibleString:
		return value
	case asn1.T61String:
		// Nobody implements T.61: those who write it write ISO 8859-1.
		runes := make([]rune, len(value))
		for i, c := range value {
			runes[i] = rune(c)
		}
		return []byte(string(runes))
	case tagBMPString:
		if len(value)%2 != 0 {
			return nil
		}
		return wide(value, 2)
	case tagUniversalString:
		if len(value)%4 != 0 {
			return nil
		}
		return wide(value, 4)
	}
	return nil
}

// wide returns the UTF-8 of characters of size octets each, nil if one is none.
func wide(value []byte, size int) []byte {
	var out []byte
	for ; len(value) >= size; value = value[size:] {
		var r uint32
		for _, c := range value[:size] {
			r = r<<8 | uint32(c)
		}
		if r > utf8.MaxRune || utf16.IsSurrogate(rune(r)) {
			return nil
		}
		out = utf8.AppendRune(out, rune(r))
	}
	return out
}
