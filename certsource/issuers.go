package certsource

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"slices"
)

// maxChain is how many issuers a chain has at most.
const maxChain = 8

// Issuers are certificates of authorities that chains can lead over. nil stands for
// none. Once read they are safe for concurrent use.
type Issuers struct {
	bySubject map[string][]*x509.Certificate
	sum       uint64
}

// Sum is another one for other certificates; 0: there are none.
func (s *Issuers) Sum() uint64 {
	if s == nil {
		return 0
	}
	return s.sum
}

// Read adds the intermediate certificates in data, and returns how many there are, and
// of all else, also roots, why it is not used. One that is there already counts, and is
// kept once.
func (s *Issuers) Read(data []byte) (used int, unused []Unused) {
	certs, unused := ReadAll(data)
	for _, der := range certs {
		cert, err := x509.ParseCertificate(der)
		switch {
		case err != nil:
			unused = append(unused, Unused{0, Refuse(Malformed, "a certificate that Go's crypto/x509 cannot read"+because(err))})
		case isRoot(cert):
			unused = append(unused, Unused{0, Refuse(Malformed, "a root, which who trusts it has already")})
		case !cert.IsCA:
			unused = append(unused, Unused{0, Refuse(Malformed, "a certificate of no authority")})
		default:
			used++
			s.add(cert)
		}
	}
	return used, unused
}

func (s *Issuers) add(cert *x509.Certificate) {
	if s.bySubject == nil {
		s.bySubject = map[string][]*x509.Certificate{}
	}
	of := s.bySubject[string(cert.RawSubject)]
	if !slices.ContainsFunc(of, cert.Equal) {
		s.bySubject[string(cert.RawSubject)] = append(of, cert)
		digest := sha256.Sum256(cert.Raw)
		s.sum += binary.BigEndian.Uint64(digest[:])
	}
}

// issuer returns the one that has issued a certificate, the one that lasts longest if
// there are several; nil if there is none.
func (s *Issuers) issuer(cert *x509.Certificate) (issuer *x509.Certificate) {
	if s == nil {
		return nil
	}
	for _, other := range s.bySubject[string(cert.RawIssuer)] {
		if (issuer == nil || other.NotAfter.After(issuer.NotAfter)) && cert.CheckSignatureFrom(other) == nil {
			issuer = other
		}
	}
	return issuer
}

// Chain returns the certificates that lead from c upwards, in order: each has issued
// the one before. They are those of its file, and of more where the file has none.
// Roots, which who trusts them has, are left out (RFC 8555 section 9.1).
func (c *Certificate) Chain(more *Issuers) [][]byte {
	chain, _ := c.chain(more)
	return chain
}

// Missing returns the certificate whose issuer is neither in the file of c, nor
// in more, nor among roots: c itself, or one that leads up from it. It is nil where the
// chain reaches a root, its own or one of roots, or cannot be told.
func (c *Certificate) Missing(more *Issuers, roots *Roots) *x509.Certificate {
	_, top := c.chain(more)
	if top == nil || isRoot(top) || roots.have(top) {
		return nil
	}
	for _, der := range c.Others {
		// A root in the file ends the chain, though it is not given out.
		root, err := x509.ParseCertificate(der)
		if err == nil && bytes.Equal(root.RawSubject, top.RawIssuer) && top.CheckSignatureFrom(root) == nil {
			return nil
		}
	}
	return top
}

// chain returns the issuers of c, and the last of them, or c; nil if crypto/x509 cannot
// read c.
func (c *Certificate) chain(more *Issuers) (chain [][]byte, top *x509.Certificate) {
	top, err := x509.ParseCertificate(c.Raw)
	if err != nil {
		return nil, nil
	}
	var own Issuers
	for _, der := range c.Others {
		if other, err := x509.ParseCertificate(der); err == nil && other.IsCA && !isRoot(other) {
			own.add(other)
		}
	}
	for len(chain) < maxChain && !isRoot(top) {
		next := own.issuer(top)
		if next == nil {
			next = more.issuer(top)
		}
		if next == nil || slices.ContainsFunc(chain, func(der []byte) bool { return bytes.Equal(der, next.Raw) }) {
			break
		}
		chain = append(chain, next.Raw)
		top = next
	}
	return chain, top
}

// isRoot reports whether a certificate names itself as its issuer.
func isRoot(cert *x509.Certificate) bool { return bytes.Equal(cert.RawSubject, cert.RawIssuer) }
