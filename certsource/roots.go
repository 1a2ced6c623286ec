package certsource

import (
	"bytes"
	"crypto/x509"
	"slices"
)

// Roots are authorities that certificates must chain to. nil stands for none. Once
// read they are safe for concurrent use.
type Roots struct {
	pool   *x509.CertPool
	all    []*x509.Certificate // those in pool
	unread map[string]string   // why crypto/x509 cannot read an authority, by its subject
}

// RootsIn returns roots that are read into a pool, beside what it has.
func RootsIn(pool *x509.CertPool) *Roots { return &Roots{pool: pool, unread: map[string]string{}} }

// Read adds the authorities in data, and returns how many there are, and of all else,
// also certificates that crypto/x509 cannot read, why it is not used.
func (r *Roots) Read(data []byte) (used int, unused []Unused) {
	if r.pool == nil {
		r.pool, r.unread = x509.NewCertPool(), map[string]string{}
	}
	certs, unused := ReadAll(data)
	for _, der := range certs {
		cert, err := ParseIssuer(der)
		if err == nil {
			r.pool.AddCert(cert)
			r.all = append(r.all, cert)
			used++
			continue
		}
		unused = append(unused, Unused{0, Refuse(Malformed, "a certificate that Go's crypto/x509 cannot read"+because(err))})
		walked := certificate{raw: der}
		if walked.walk() == nil {
			r.unread[string(walked.subject)] = because(err)
		}
	}
	return used, unused
}

// Pool returns the authorities for crypto/x509, nil if there are none.
func (r *Roots) Pool() *x509.CertPool {
	if r == nil || len(r.all) == 0 {
		return nil
	}
	return r.pool
}

// authorities returns the pool, which crypto/x509 must not take for the system's.
func (r *Roots) authorities() *x509.CertPool {
	if r.pool == nil {
		return x509.NewCertPool()
	}
	return r.pool
}

// have reports whether the issuer of a certificate, or it itself, is one of the
// authorities.
func (r *Roots) have(cert *x509.Certificate) bool {
	return r != nil && slices.ContainsFunc(r.all, func(root *x509.Certificate) bool {
		return root.Equal(cert) || bytes.Equal(root.RawSubject, cert.RawIssuer) && cert.CheckSignatureFrom(root) == nil
	})
}

// whyUnread says of an issuer of one of the certificates that it is there, but could
// not be read; "" if that is so of none.
func (r *Roots) whyUnread(certs ...*x509.Certificate) string {
	for _, cert := range certs {
		if why, ok := r.unread[string(cert.RawIssuer)]; ok {
			return "an issuer is among the roots, but Go's crypto/x509 cannot read its certificate" + why + ", so that it does not count: have it issued anew"
		}
	}
	return ""
}

// ReadRoots returns the authorities in data for crypto/x509, and of all else, also
// certificates that crypto/x509 cannot read, why it is not used. Without any authority
// that can be used the pool is nil.
func ReadRoots(data []byte) (*x509.CertPool, []Unused) {
	var r Roots
	_, unused := r.Read(data)
	return r.Pool(), unused
}
