package revocation

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"coredns-smimea/certsource"
	"coredns-smimea/internal/armour"
	"coredns-smimea/internal/plaintext"
)

// MaxSize is the size in octets above which a list, or a file of lists, is not read:
// that of a list of some two million certificates.
const MaxSize = 64 << 20

// A List is a certificate revocation list. It does not change.
type List struct {
	Raw []byte // DER
	// ThisUpdate is when it was issued, and NextUpdate when the next one will have
	// been, zero if it does not say.
	ThisUpdate, NextUpdate time.Time

	issuer  []byte // DER of its name
	scope   []byte // the issuing distribution point, nil for all certificates of the issuer
	part    bool   // it is not of all that users have
	number  *big.Int
	entries []entry // by ID
	head    *x509.RevocationList
	tbs     []byte
}

// An entry is a certificate that is revoked. A million of them are 16 MB.
type entry struct {
	id     ID
	at     uint32 // Unix time
	reason uint8
}

// Complete reports whether a list is of users' certificates and of all reasons to revoke
// them: only then it says that those it does not have are good.
func (l *List) Complete() bool { return !l.part }

// Len returns the number of certificates that the list revokes.
func (l *List) Len() int { return len(l.entries) }

// Object identifiers of the extensions of lists and of entries (RFC 5280 section 5).
var (
	idDelta             = []int{2, 5, 29, 27}
	idDistributionPoint = []int{2, 5, 29, 28}
	idNumber            = []int{2, 5, 29, 20}
	idAuthorityKey      = []int{2, 5, 29, 35}
)

const (
	oidReason            = "\x55\x1d\x15" // 2.5.29.21
	oidInvalidityDate    = "\x55\x1d\x18" // 2.5.29.24
	oidCertificateIssuer = "\x55\x1d\x1d" // 2.5.29.29
)

const removeFromCRL = 8

// reasons are the words of CRLReason (RFC 5280 section 5.3.1).
var reasons = map[uint8]string{
	1: "keyCompromise", 2: "cACompromise", 3: "affiliationChanged", 4: "superseded", 5: "cessationOfOperation",
	6: "certificateHold", 9: "privilegeWithdrawn", 10: "aACompromise",
}

var (
	errDelta    = errors.New("it is a delta list, which says only what has changed: name the complete list")
	errIndirect = errors.New("it is an indirect list, of certificates of other issuers than its own: name a list of the certificates' own issuer")
	errAttCerts = errors.New("it is a list of attribute certificates only: name the list of the users' certificates")
)

func damaged(what string) error {
	return fmt.Errorf("it is damaged (%s): fetch it again, whole", what)
}

// Read returns the lists and the certificates in data, which are PEM with any text
// around it, read as files of certificates are, or one list in DER. The certificates
// are those of issuers: of use to verify the lists.
func Read(data []byte) (lists []*List, issuers []*x509.Certificate, err error) {
	if len(data) > MaxSize {
		return nil, nil, fmt.Errorf("it is larger than %d octets: have the issuer split it by distribution points", MaxSize)
	}
	data = plaintext.Decode(data)
	if !bytes.Contains(data, []byte(armour.Begin)) {
		// Editors add line ends.
		rest := cryptobyte.String(data)
		if der := cryptobyte.String(nil); rest.ReadASN1Element(&der, asn1.SEQUENCE) && len(bytes.TrimRight(rest, "\r\n")) == 0 {
			data = der
		}
		l, err := Parse(data)
		if err != nil {
			return nil, nil, err
		}
		return []*List{l}, nil, nil
	}
	for block := range armour.Blocks(data) {
		if string(block.Label) == "X509 CRL" {
			if block.Damage != "" {
				return nil, nil, damaged(fmt.Sprintf("line %d: %s", block.Line, block.Damage))
			}
			l, err := Parse(block.DER)
			if err != nil {
				return nil, nil, err
			}
			lists = append(lists, l)
			continue
		}
		certs, unused := certsource.ReadBlock(block)
		for _, u := range unused {
			switch u.Refusal.Reason {
			case certsource.NoCertificate: // of another kind
			case certsource.PrivateKey:
				return nil, nil, fmt.Errorf("%v is in it: take it out, and replace the key if others could have read it", u)
			default:
				return nil, nil, damaged(u.String())
			}
		}
		for _, der := range certs {
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				return nil, nil, errors.New("a certificate in it cannot be read by Go's crypto/x509: take it out, or have it issued anew")
			}
			issuers = append(issuers, cert)
		}
	}
	if len(lists) == 0 {
		return nil, nil, errors.New("there is no list in it: name a file of a certificate revocation list, as PEM (X509 CRL) or DER")
	}
	return lists, issuers, nil
}

// Parse reads one list in DER. Its signature is verified by [List.SignedBy]. Lists
// that are of no use by themselves, delta lists and indirect ones, are refused.
func Parse(der []byte) (*List, error) {
	if len(der) > MaxSize {
		return nil, fmt.Errorf("it is larger than %d octets", MaxSize)
	}
	s, ok := readSigned(der)
	if !ok {
		return nil, errors.New("it is no certificate revocation list, or a damaged one: name one as PEM (X509 CRL) or DER")
	}
	l := &List{Raw: der, tbs: s.tbs}
	var tbs, issuer, revoked, extensions cryptobyte.String
	element := s.tbs
	if !element.ReadASN1(&tbs, asn1.SEQUENCE) ||
		!tbs.SkipOptionalASN1(asn1.INTEGER) ||
		!tbs.SkipASN1(asn1.SEQUENCE) ||
		!tbs.ReadASN1Element(&issuer, asn1.SEQUENCE) {
		return nil, errors.New("it is something else than a certificate revocation list")
	}
	times := []byte(tbs)
	if !skipTime(&tbs) {
		return nil, errors.New("it is something else than a certificate revocation list")
	}
	skipTime(&tbs) // the next update is optional
	times = times[:len(times)-len(tbs)]
	if tbs.PeekASN1Tag(asn1.SEQUENCE) && !tbs.ReadASN1(&revoked, asn1.SEQUENCE) {
		return nil, damaged("its entries")
	}
	tag := asn1.Tag(0).Constructed().ContextSpecific()
	if tbs.PeekASN1Tag(tag) && !tbs.ReadASN1Element(&extensions, tag) || !tbs.Empty() {
		return nil, damaged("its extensions")
	}
	// crypto/x509 reads all but the entries, of which it would make two hundred
	// octets each.
	var err error
	if l.head, err = x509.ParseRevocationList(shellOf(s, issuer, times, extensions)); err != nil {
		return nil, damaged("its head")
	}
	l.issuer, l.number = issuer, l.head.Number
	l.ThisUpdate, l.NextUpdate = l.head.ThisUpdate, l.head.NextUpdate
	if err := l.readExtensions(l.head.Extensions); err != nil {
		return nil, err
	}
	return l, l.readEntries(revoked)
}

func skipTime(s *cryptobyte.String) bool {
	return s.PeekASN1Tag(asn1.UTCTime) && s.SkipASN1(asn1.UTCTime) ||
		s.PeekASN1Tag(asn1.GeneralizedTime) && s.SkipASN1(asn1.GeneralizedTime)
}

func (l *List) readExtensions(extensions []pkix.Extension) error {
	for _, x := range extensions {
		switch {
		case x.Id.Equal(idDelta):
			return errDelta
		case x.Id.Equal(idDistributionPoint):
			l.scope = x.Value
			if err := l.readScope(x.Value); err != nil {
				return err
			}
		case x.Id.Equal(idNumber) || x.Id.Equal(idAuthorityKey):
		case x.Critical:
			return fmt.Errorf("it has a critical extension that is not understood (%v), so that nothing of it may be used (RFC 5280 section 5.2)", x.Id)
		}
	}
	return nil
}

// readScope reads an issuing distribution point (RFC 5280 section 5.2.5). Which part of
// the certificates a list is of does not matter to what it names: that is revoked.
func (l *List) readScope(der []byte) error {
	input := cryptobyte.String(der)
	var point cryptobyte.String
	if !input.ReadASN1(&point, asn1.SEQUENCE) || !input.Empty() {
		return damaged("its distribution point")
	}
	for !point.Empty() {
		var value cryptobyte.String
		var tag asn1.Tag
		if !point.ReadAnyASN1(&value, &tag) {
			return damaged("its distribution point")
		}
		yes := len(value) == 1 && value[0] != 0
		switch {
		case tag == asn1.Tag(4).ContextSpecific() && yes:
			return errIndirect
		case tag == asn1.Tag(5).ContextSpecific() && yes:
			return errAttCerts
		case tag == asn1.Tag(2).ContextSpecific() && yes: // of authorities only
			l.part = true
		case tag == asn1.Tag(3).ContextSpecific(): // for some reasons only
			l.part = true
		}
	}
	return nil
}

func (l *List) readEntries(revoked cryptobyte.String) error {
	for !revoked.Empty() {
		var in, serial cryptobyte.String
		if !revoked.ReadASN1(&in, asn1.SEQUENCE) || !in.ReadASN1(&serial, asn1.INTEGER) {
			return damaged("an entry")
		}
		var at time.Time
		switch {
		case in.PeekASN1Tag(asn1.UTCTime) && in.ReadASN1UTCTime(&at):
		case in.ReadASN1GeneralizedTime(&at):
		default:
			return damaged("the date of an entry")
		}
		reason, err := readReason(in)
		if err != nil {
			return err
		}
		if reason == removeFromCRL {
			continue // it is revoked no more
		}
		l.entries = append(l.entries, entry{idOf(l.issuer, serial), uint32(max(0, at.Unix())), reason})
	}
	l.entries = slices.Clip(l.entries)
	slices.SortFunc(l.entries, func(a, b entry) int { return cmp.Compare(a.id, b.id) })
	return nil
}

// readReason reads the extensions of an entry, of which there may be none.
func readReason(in cryptobyte.String) (reason uint8, err error) {
	if in.Empty() {
		return 0, nil
	}
	var extensions cryptobyte.String
	if !in.ReadASN1(&extensions, asn1.SEQUENCE) || !in.Empty() {
		return 0, damaged("an entry")
	}
	for !extensions.Empty() {
		var x, id, value cryptobyte.String
		critical := false
		if !extensions.ReadASN1(&x, asn1.SEQUENCE) || !x.ReadASN1(&id, asn1.OBJECT_IDENTIFIER) ||
			x.PeekASN1Tag(asn1.BOOLEAN) && !x.ReadASN1Boolean(&critical) ||
			!x.ReadASN1(&value, asn1.OCTET_STRING) {
			return 0, damaged("an extension of an entry")
		}
		switch {
		case string(id) == oidReason:
			var n int
			if !value.ReadASN1Enum(&n) || n < 0 || n > 255 {
				return 0, damaged("the reason of an entry")
			}
			reason = uint8(n)
		case string(id) == oidCertificateIssuer:
			return 0, errIndirect
		case string(id) == oidInvalidityDate:
		case critical:
			return 0, errors.New("an entry has a critical extension that is not understood, so that nothing of the list may be used (RFC 5280 section 5.3)")
		}
	}
	return reason, nil
}

// SignedBy returns nil if a certificate is of the list's issuer and its key has signed
// the list.
func (l *List) SignedBy(issuer *x509.Certificate) error {
	if !l.Names(issuer) {
		return errors.New("it is of another issuer")
	}
	if issuer.KeyUsage&x509.KeyUsageCRLSign != 0 {
		// It may be of a key for lists only, which crypto/x509 takes for no issuer's.
		return issuer.CheckSignature(l.head.SignatureAlgorithm, l.tbs, l.head.Signature)
	}
	head := *l.head
	head.RawTBSRevocationList = l.tbs
	return head.CheckSignatureFrom(issuer)
}

// Skew is by how much the clock of an issuer may be ahead of ours.
const Skew = 10 * time.Minute

// Begun returns nil if a list has been issued by a time, which may be off by [Skew]. One
// from the future counts when that has come.
func (l *List) Begun(now time.Time) error {
	if now.Before(l.ThisUpdate.Add(-Skew)) {
		return fmt.Errorf("it is issued in the future only, on %s: it will count then, unless the clock of this machine is wrong", l.ThisUpdate.Format(time.DateTime))
	}
	return nil
}

// Names reports whether a certificate has the name of the list's issuer.
func (l *List) Names(issuer *x509.Certificate) bool { return bytes.Equal(l.issuer, issuer.RawSubject) }

// Newer reports whether a list comes after another one of the same issuer.
func (l *List) Newer(than *List) bool {
	if c := l.ThisUpdate.Compare(than.ThisUpdate); c != 0 {
		return c > 0
	}
	return l.number != nil && than.number != nil && l.number.Cmp(than.number) > 0
}

// IssuerName returns the DER of the issuer's name.
func (l *List) IssuerName() string { return string(l.issuer) }

// Replaces reports whether a list is of the same certificates as another.
func (l *List) Replaces(other *List) bool {
	return bytes.Equal(l.issuer, other.issuer) && bytes.Equal(l.scope, other.scope)
}

func (l *List) find(id ID) (entry, bool) {
	i, ok := slices.BinarySearchFunc(l.entries, id, func(e entry, id ID) int { return cmp.Compare(e.id, id) })
	if !ok {
		return entry{}, false
	}
	return l.entries[i], true
}
