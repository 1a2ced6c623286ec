// Package certsource turns the bytes of a certificate file into the certificates
// in it, the addresses that they certify, or the reason why there are none. It
// knows neither DNS nor any server. A directory of such files is in package
// certsource/directory.
//
// [ParseFile] reads the bytes of one file: PEM with any text around it, DER, or a
// certs-only PKCS#7 bundle. [ReadAll] and [Roots] read files of any certificates. What the bytes are decides, never the file's name.
// One parser reads every certificate. It is not crypto/x509, which refuses
// certificates that exist in the field (Brainpool and secp256k1 keys, explicit
// curve parameters, negative serial numbers, odd strings in the subject): to
// publish a digest only the DER, the addresses, the dates and the purpose are
// needed. Only [Certificate.Chains] asks crypto/x509.
package certsource

import (
	"bytes"
	"time"

	"coredns-smimea/internal/plaintext"
)

// A Certificate is an end-entity certificate of a file, as far as publishing it
// needs to know it. Its slices may share memory with the data it was parsed
// from, and must not be changed.
type Certificate struct {
	Raw  []byte // DER of the certificate
	SPKI []byte // DER of its SubjectPublicKeyInfo, a part of Raw

	// NotBefore and NotAfter are the dates of the certificate, in UTC. Parse
	// only reports them: what they mean is for the caller, who has the time.
	NotBefore, NotAfter time.Time

	// Addresses are the mailboxes as certified, in the certificate's order,
	// without exact duplicates; at least one. They are valid UTF-8 without
	// control characters and at most 320 octets long; nothing else about
	// their syntax is checked.
	Addresses []string

	// InAltName is true if they are in the subjectAltName, where they belong, and
	// false if that has none, and they are in the subject.
	InAltName bool

	// Dropped counts the addresses that are certified too, but are longer
	// than any mailbox, or not text.
	Dropped int

	// Encrypts is true if one can encrypt to the key: keyUsage is absent, or
	// has keyEncipherment or keyAgreement (RFC 8550 section 4.4.2).
	Encrypts bool

	// Others are the certificates of authorities in the file, DER, in the
	// file's order, each once.
	Others [][]byte
}

// Contents are what one file holds for publishing.
type Contents struct {
	// Certificates are those for mail, each once, in the file's order; at least
	// one. They may be of several users, and out of date.
	Certificates []Certificate
	// Unused is what else there is but the certificates of authorities, and why
	// it is not among them.
	Unused []Unused
}

// ParseFile returns the end-entity certificates in a file's bytes, which are PEM,
// DER, or PKCS#7 (certs-only, DER or BER). What is damaged costs no other
// certificate, unless the file ends in the middle of something: then it is being
// written, and nobody can say what will be in it. The error is always a
// [*Refusal], and never holds an address or a private key.
//
// Any private key in the file, in any of the usual forms, whole or broken,
// refuses the whole file.
func ParseFile(data []byte) (Contents, error) {
	c, refusal := parseFile(data)
	if refusal != nil {
		return Contents{}, refusal
	}
	return c, nil
}

// Parse is [ParseFile] for bytes that hold one certificate for mail, and refuses
// those of more.
func Parse(data []byte) (*Certificate, error) {
	c, refusal := parseFile(data)
	switch {
	case refusal != nil:
		return nil, refusal
	case len(c.Certificates) > 1:
		return nil, Refuse(SeveralCertificates, "")
	}
	return &c.Certificates[0], nil
}

func parseFile(data []byte) (Contents, *Refusal) {
	if len(data) > MaxFileSize {
		return Contents{}, Refuse(TooLarge, "")
	}
	data = plaintext.Decode(data)
	if what := privateKeyText(data); what != "" {
		return Contents{}, Refuse(PrivateKey, what)
	}
	// Most files hold one certificate, which then needs no second allocation.
	r := reading{certs: make([]certificate, 0, 1), single: true}
	r.read(data)
	for _, u := range r.unused {
		if u.Refusal.Reason == PrivateKey {
			return Contents{}, u.Refusal
		}
	}
	if r.cut != nil {
		return Contents{}, r.cut
	}
	c := Contents{Unused: r.unused}
	leaves, authorities := endEntities(r.certs)
	for i := range leaves {
		cert, refusal := leaves[i].publishable()
		if refusal != nil {
			c.Unused = append(c.Unused, Unused{leaves[i].line, refusal})
			continue
		}
		cert.Others = authorities
		if c.Certificates == nil {
			c.Certificates = make([]Certificate, 0, len(leaves)-i)
		}
		c.Certificates = append(c.Certificates, cert)
	}
	switch {
	case len(c.Certificates) > 0:
		return c, nil
	case len(c.Unused) > 0 && (len(authorities) == 0 || c.worst().Reason != NoCertificate):
		return c, c.worst()
	case len(authorities) > 0:
		return c, Refuse(Authority, "")
	}
	return c, Refuse(NoCertificate, "an empty PKCS#7 bundle")
}

// worst returns the refusal that says most of why there is nothing to publish.
func (c *Contents) worst() *Refusal {
	for _, u := range c.Unused {
		if u.Refusal.Reason != NoCertificate {
			return u.Refusal
		}
	}
	return c.Unused[0].Refusal
}

// publishable reads what only a certificate to be published needs: its
// purpose and its addresses.
func (cert *certificate) publishable() (Certificate, *Refusal) {
	c := Certificate{
		Raw:       cert.raw,
		SPKI:      cert.spki,
		NotBefore: cert.notBefore,
		NotAfter:  cert.notAfter,
		Encrypts:  cert.encrypts(),
	}
	if refusal := cert.checkPurpose(); refusal != nil {
		return c, refusal
	}
	found, refusal := cert.addresses()
	c.Addresses, c.Dropped, c.InAltName = found.list, found.dropped, found.altName
	return c, refusal
}

// endEntities returns the end-entity certificates among those of one file, and
// the DER of the others. They are those that are no authorities and have issued
// none of the others; where they stand in the file does not matter.
func endEntities(certs []certificate) (leaves []certificate, others [][]byte) {
	if len(certs) == 1 && !certs[0].authority {
		return certs, nil
	}
	// A map keeps a bundle of thousands of certificates from costing a
	// comparison of each with each.
	issuers := make(map[string]bool, len(certs))
	for i := range certs {
		// A certificate that is its own issuer says nothing about the others:
		// renewed self-signed certificates all have one name.
		if !bytes.Equal(certs[i].issuer, certs[i].subject) {
			issuers[string(certs[i].issuer)] = true
		}
	}
	for i := range certs {
		if cert := &certs[i]; cert.authority || issuers[string(cert.subject)] {
			others = append(others, cert.raw)
		} else {
			leaves = append(leaves, *cert)
		}
	}
	return leaves, others
}
