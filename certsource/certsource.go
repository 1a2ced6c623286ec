// Package certsource turns the bytes of a certificate file into the certificates
// in it, the addresses that they certify, or the reason why there are none. It
// knows neither DNS nor any server. A directory of such files is in package
// certsource/directory.
//
// [Parse] reads the bytes of one file: PEM with any text around it, DER, or a
// certs-only PKCS#7 bundle. What the bytes are decides, never the file's name.
// One parser reads every certificate. It is not crypto/x509, which refuses
// certificates that exist in the field (Brainpool and secp256k1 keys, explicit
// curve parameters, negative serial numbers, odd strings in the subject): to
// publish a digest only the DER, the addresses, the dates and the purpose are
// needed. Only [Certificate.Chains] asks crypto/x509.
package certsource

import (
	"bytes"
	"time"
)

// A Certificate is the end-entity certificate of one file, as far as publishing
// it needs to know it. Its slices may share memory with the data it was parsed
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

	// Dropped counts the addresses that are certified too, but are longer
	// than any mailbox, or not text.
	Dropped int

	// Encrypts is true if one can encrypt to the key: keyUsage is absent, or
	// has keyEncipherment or keyAgreement (RFC 8550 section 4.4.2).
	Encrypts bool

	// Others are the other certificates of the file, DER, in the file's
	// order, each once.
	Others [][]byte
}

// Parse returns the one end-entity certificate in a file's bytes, which are
// PEM, DER, or PKCS#7 (certs-only, DER or BER). The error is always a
// [*Refusal], and never holds an address or a private key.
//
// Any private key in the file, in any of the usual forms, whole or broken,
// refuses the whole file.
func Parse(data []byte) (*Certificate, error) {
	c, refusal := parse(data)
	if refusal != nil {
		return nil, refusal
	}
	return c, nil
}

func parse(data []byte) (*Certificate, *Refusal) {
	if len(data) > MaxFileSize {
		return nil, Refuse(TooLarge, "")
	}
	data = plainText(data)
	if what := privateKeyText(data); what != "" {
		return nil, Refuse(PrivateKey, what)
	}
	// Most files hold one certificate, which then needs no second allocation.
	certs := make([]certificate, 0, 1)
	var refusal *Refusal
	switch {
	case privateKeyDER(data) != "":
		return nil, Refuse(PrivateKey, privateKeyDER(data))
	case looksBinary(data):
		certs, refusal = appendDER(certs, data)
	case bytes.Contains(data, pemBegin):
		certs, refusal = appendPEM(certs, data)
	default:
		return nil, notCertificate(data)
	}
	if refusal != nil {
		return nil, refusal
	}
	if len(certs) == 0 {
		return nil, Refuse(NoCertificate, "an empty PKCS#7 bundle")
	}
	leaf, others, refusal := endEntity(certs)
	if refusal != nil {
		return nil, refusal
	}
	c, refusal := leaf.publishable()
	if refusal != nil {
		return nil, refusal
	}
	c.Others = others
	return c, nil
}

// publishable reads what only the certificate to be published needs: its
// purpose and its addresses.
func (cert *certificate) publishable() (*Certificate, *Refusal) {
	if refusal := cert.checkPurpose(); refusal != nil {
		return nil, refusal
	}
	c := &Certificate{
		Raw:       cert.raw,
		SPKI:      cert.spki,
		NotBefore: cert.notBefore,
		NotAfter:  cert.notAfter,
		Encrypts:  cert.encrypts(),
	}
	found, refusal := cert.addresses()
	if refusal != nil {
		return nil, refusal
	}
	c.Addresses, c.Dropped = found.list, found.dropped
	return c, nil
}

// endEntity returns the end-entity certificate among those of one file, and
// the DER of the others. It is the one that is no authority and has issued
// none of the others; where it stands in the file does not matter.
func endEntity(certs []certificate) (leaf *certificate, others [][]byte, refusal *Refusal) {
	if len(certs) == 1 {
		if certs[0].authority {
			return nil, nil, Refuse(Authority, "")
		}
		return &certs[0], nil, nil
	}

	// Maps keep a bundle of thousands of certificates from costing a
	// comparison of each with each.
	issuers := make(map[string]bool, len(certs))
	for i := range certs {
		// A certificate that is its own issuer says nothing about the others:
		// renewed self-signed certificates all have one name.
		if !bytes.Equal(certs[i].issuer, certs[i].subject) {
			issuers[string(certs[i].issuer)] = true
		}
	}
	seen := make(map[string]bool, len(certs))
	for i := range certs {
		cert := &certs[i]
		if seen[string(cert.raw)] {
			continue
		}
		seen[string(cert.raw)] = true
		if cert.authority || issuers[string(cert.subject)] {
			others = append(others, cert.raw)
			continue
		}
		if leaf != nil {
			return nil, nil, Refuse(SeveralCertificates, "")
		}
		leaf = cert
	}
	if leaf == nil {
		return nil, nil, Refuse(Authority, "")
	}
	return leaf, others, nil
}
