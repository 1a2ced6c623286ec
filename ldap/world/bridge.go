package world

import (
	"bytes"
	"crypto/x509"
	"strings"

	"coredns-smimea/discover"
	"coredns-smimea/ldap/bridge"
	"coredns-smimea/smimea"
)

// bridge puts a cross-certificate before a verified certificate's chain, if the
// certificate is of an authority that is not known, and can be bridged.
func (w *World) bridge(r *discover.Result, c *discover.Certificate, chain [][]byte) [][]byte {
	if !unknownAuthority(c) {
		return chain
	}
	cross, err := w.cross(r.Address, c, chain)
	if err != nil {
		if w.options.Unbridged != nil {
			w.options.Unbridged(r.Address, err)
		}
		return chain
	}
	return append([][]byte{cross}, chain...)
}

func (w *World) cross(address smimea.Address, c *discover.Certificate, chain [][]byte) ([]byte, error) {
	leaf, err := x509.ParseCertificate(c.Raw)
	if err != nil {
		return nil, err
	}
	authority, err := issuerOf(leaf, chain)
	if err != nil {
		return nil, err
	}
	// Of usages 0 and 1 none is verified whose authority is not known.
	scope := bridge.Mailbox(mailbox(leaf, address))
	if strings.HasPrefix(c.Association, "2 ") {
		scope = bridge.Domain(address.Domain)
	}
	return w.options.Bridge.Cross(leaf, authority, scope)
}

// issuerOf returns the issuer of a leaf, of its chain.
func issuerOf(leaf *x509.Certificate, chain [][]byte) (*x509.Certificate, error) {
	if bytes.Equal(leaf.RawSubject, leaf.RawIssuer) {
		return nil, bridge.ErrSelfSigned
	}
	for _, der := range chain {
		if authority, err := x509.ParseCertificate(der); err == nil && leaf.CheckSignatureFrom(authority) == nil {
			return authority, nil
		}
	}
	return nil, errNoIssuer
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
