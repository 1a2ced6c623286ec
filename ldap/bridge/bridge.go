// Package bridge makes authorities known to mail programs for as much as DNSSEC
// vouches for, and no more.
//
// A domain can say by SMIMEA records (RFC 8162) which certificate a user has,
// whoever has issued it. A mail program knows nothing of that: it accepts what
// chains to its own roots. A [Bridge] is such a root, made here, whose key never
// leaves the machine. For the authority of a certificate that has been verified
// it issues a cross-certificate: the authority's subject and key, constrained to
// what the record vouches for. With that the mail program's own check comes to
// the same as the DNS.
//
// Certificates that are self-signed cannot be bridged. To issue them again, under
// their issuer's name and with their serial number, would make NSS refuse the
// originals (SEC_ERROR_REUSED_ISSUER_AND_SERIAL), and so all mail signed with them.
package bridge

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// The names of the files in a bridge's directory: the root, for people to install,
// and its key.
const (
	RootFile = "smimea-bridge.crt"
	KeyFile  = "smimea-bridge.key"
)

const (
	// period is how often there is a new cross-certificate of an authority: mail
	// programs keep all that they get.
	period = 4 * 24 * time.Hour
	// validity is that of one. Each is handed out in its first half.
	validity = 2 * period
	// early is how long before it is handed out one begins, for clocks that
	// are slow.
	early = 24 * time.Hour
)

// A Bridge issues cross-certificates. It is safe for concurrent use.
type Bridge struct {
	root *x509.Certificate
	key  crypto.Signer
	now  func() time.Time
}

// A Scope is what an authority is made known for: one mailbox, or a domain.
type Scope struct {
	text string
}

// Mailbox is the scope of one address, in the form that the certificate has. It
// is for SMIMEA records of usage 3, which say nothing about the authority.
func Mailbox(address string) Scope { return Scope{address} }

// Domain is the scope of all addresses of a mail domain, and of no domain below
// it. It is for SMIMEA records of usage 2, by which the domain names the authority.
func Domain(domain string) Scope { return Scope{domain} }

// holds reports whether an address is in the scope, as RFC 5280 section 4.2.1.10
// says. That of crypto/x509 takes in domains below the one that is named.
func (s Scope) holds(address string) bool {
	local, domain, ok := cutLast(address)
	constrained, host, mailbox := cutLast(s.text)
	if !mailbox {
		return ok && strings.EqualFold(domain, s.text)
	}
	return ok && local == constrained && strings.EqualFold(domain, host)
}

func cutLast(address string) (local, domain string, ok bool) {
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return "", "", false
	}
	return address[:at], address[at+1:], true
}

// ErrSelfSigned is the error of certificates that are their own authority.
var ErrSelfSigned = errors.New("the certificate is self-signed; only those of an authority can be bridged")

// Cross returns the cross-certificate, DER, of the authority that has issued a
// leaf. With it the leaf chains to the bridge's root, which is checked. For the
// same authority and scope it returns the same octets for four days.
func (b *Bridge) Cross(leaf, authority *x509.Certificate, scope Scope) ([]byte, error) {
	if bytes.Equal(leaf.RawSubject, leaf.RawIssuer) && leaf.CheckSignatureFrom(leaf) == nil || leaf.Equal(authority) {
		return nil, ErrSelfSigned
	}
	if !authority.IsCA || authority.KeyUsage != 0 && authority.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, errors.New("the issuer's certificate is not one of an authority")
	}
	if len(leaf.EmailAddresses) == 0 {
		return nil, errors.New("the certificate has no rfc822Name, and nothing else can be constrained")
	}
	if limited(authority) {
		scope = Mailbox(leaf.EmailAddresses[0]) // it must not get more than it has
	}
	for _, address := range leaf.EmailAddresses {
		if !scope.holds(address) {
			return nil, errors.New("the certificate has an address besides that the record does not vouch for")
		}
	}
	der, err := b.issue(leaf, authority, scope)
	if err != nil {
		return nil, fmt.Errorf("issuing a cross-certificate: %w", err)
	}
	cross, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the cross-certificate: %w", err)
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(b.root)
	intermediates.AddCert(cross)
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: b.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	})
	if err != nil {
		// What crypto/x509 says can name an address.
		return nil, errors.New("the certificate does not chain to the bridge: it, or its issuer, has something that forbids it")
	}
	return der, nil
}

// limited reports whether an authority is one for some addresses only, or not for mail, or
// has a limit that crypto/x509 does not know, such as names of directories.
func limited(authority *x509.Certificate) bool {
	uses := authority.ExtKeyUsage
	return len(authority.PermittedEmailAddresses) > 0 || len(authority.UnhandledCriticalExtensions) > 0 ||
		len(uses)+len(authority.UnknownExtKeyUsage) > 0 && !slices.Contains(uses, x509.ExtKeyUsageEmailProtection) && !slices.Contains(uses, x509.ExtKeyUsageAny)
}

// issue makes the cross-certificate. All in it, the signature included, follows
// from the authority, the scope and the period.
func (b *Bridge) issue(leaf, authority *x509.Certificate, scope Scope) ([]byte, error) {
	keyID := authority.SubjectKeyId
	if len(keyID) == 0 {
		keyID = leaf.AuthorityKeyId // which is what clients look for
	}
	begin := b.now().UTC().Truncate(period)
	template := &x509.Certificate{
		RawSubject:   authority.RawSubject,
		SubjectKeyId: keyID,
		NotBefore:    begin.Add(-early), NotAfter: begin.Add(validity),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage:    x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
		// Critical, whatever the field's name says.
		PermittedDNSDomainsCritical: true,
		PermittedEmailAddresses:     []string{scope.text},
		ExcludedEmailAddresses:      authority.ExcludedEmailAddresses,
	}
	for _, end := range []time.Time{authority.NotAfter, b.root.NotAfter} {
		if template.NotAfter.After(end) {
			template.NotAfter = end
		}
	}
	template.SerialNumber = serial(authority.RawSubject, authority.RawSubjectPublicKeyInfo, keyID,
		[]byte(scope.text), []byte(template.NotBefore.String()), []byte(template.NotAfter.String()))
	// Without randomness ECDSA signs as RFC 6979 says.
	return x509.CreateCertificate(nil, template, b.root, authority.PublicKey, b.key)
}

// serial is a serial number that differs where anything differs: NSS refuses a
// second certificate with the issuer and serial number of another.
func serial(parts ...[]byte) *big.Int {
	h := sha256.New()
	for _, part := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write(part)
	}
	octets := h.Sum(nil)[:16]
	octets[0] = octets[0]&0x3f | 0x40
	return new(big.Int).SetBytes(octets)
}

// rootTemplate is the root's certificate but for its key.
func rootTemplate(spki []byte, now time.Time) *x509.Certificate {
	id := sha256.Sum256(spki)
	return &x509.Certificate{
		// Each bridge has a name of its own, lest two look like one with two keys.
		Subject:      pkix.Name{CommonName: fmt.Sprintf("smimea bridge %x", id[:4]), OrganizationalUnit: []string{"made on this computer"}},
		SerialNumber: serial(spki), SubjectKeyId: id[:20],
		NotBefore: now.Add(-time.Hour).UTC().Truncate(time.Second), NotAfter: now.AddDate(10, 0, 0).UTC().Truncate(time.Second),
		IsCA: true, BasicConstraintsValid: true, MaxPathLen: 1,
		KeyUsage:    x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	}
}
