package world

import (
	"bytes"
	"crypto/x509"
	"errors"
	"strings"

	"coredns-smimea/discover"
	"coredns-smimea/ldap/bridge"
	"coredns-smimea/smimea"
)

// bridge returns a verified certificate's chain, with a cross-certificate before it
// if the certificate is of an authority that is not known, and can be bridged.
func (w *World) bridge(r *discover.Result, c *discover.Certificate) [][]byte {
	if c.Untrusted == "" {
		return c.Chain
	}
	cross, err := w.cross(r.Address, c)
	if err != nil {
		if w.options.Unbridged != nil {
			w.options.Unbridged(r.Address, err)
		}
		return c.Chain
	}
	return append([][]byte{cross}, c.Chain...)
}

func (w *World) cross(address smimea.Address, c *discover.Certificate) ([]byte, error) {
	// The errors of crypto/x509 can name addresses.
	leaf, err := x509.ParseCertificate(c.Raw)
	switch {
	case err != nil:
		return nil, errors.New("crypto/x509 cannot read it")
	case bytes.Equal(leaf.RawSubject, leaf.RawIssuer):
		return nil, bridge.ErrSelfSigned
	case c.Issuer == nil:
		return nil, errors.New("its issuer's certificate was not found")
	}
	authority, err := x509.ParseCertificate(c.Issuer)
	if err != nil {
		return nil, errors.New("crypto/x509 cannot read its issuer's certificate")
	}
	// Of usages 0 and 1 none is verified whose authority is not known.
	scope := bridge.Mailbox(mailbox(leaf, address))
	if strings.HasPrefix(c.Association, "2 ") {
		scope = bridge.Domain(address.Domain)
	}
	return w.options.Bridge.Cross(leaf, authority, scope)
}

// mailbox returns an address as a certificate writes it, which constraints are
// compared with.
func mailbox(leaf *x509.Certificate, address smimea.Address) string {
	for _, text := range leaf.EmailAddresses {
		if a, err := smimea.ParseAddress(text); err == nil && (a == address || a.Lower() == address.Lower()) {
			return text
		}
	}
	return address.String()
}
