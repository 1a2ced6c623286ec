package testcert

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A Specimen is a file for tests, and what is expected of it.
type Specimen struct {
	Path string // below their directory, with slashes

	// Published says whether the certificate is to be published, without
	// `roots` and with the default `ttl` of an hour.
	Published bool
	// Reason is why it is not, as in package certsource. It is empty where
	// Published is true, and for files whose names are not looked at.
	Reason string

	// The rest is set for Published specimens and those of Reason "expired".

	Addresses   []string // as certified, in order
	Encrypts    bool     // one can encrypt to it
	NotBefore   time.Time
	NotAfter    time.Time
	Certificate []byte // DER
	SPKI        []byte // DER

	CertificateSHA256, SPKISHA256 [sha256.Size]byte

	// Chains says whether it is published also with the certificate of
	// [Shared] as the only one of the `roots`.
	Chains bool
}

// Make fills a directory with specimens: a file for every rule about what is
// published, and for every odd thing seen in the field. All dates are relative
// to now. All addresses are in domain or below it, but for a few, which are in
// other. The specimens are in the order of their paths.
//
// It needs the openssl command.
func Make(dir string, now time.Time, domain, other string) ([]Specimen, error) {
	m := &maker{dir: dir, now: now.UTC().Truncate(time.Second), domain: domain, other: other}
	for _, group := range []func(*maker){
		(*maker).keys, (*maker).addresses, (*maker).dates, (*maker).usages,
		(*maker).oddities, (*maker).chains, (*maker).forms, (*maker).privateKeys, (*maker).rubbish,
	} {
		if group(m); m.err != nil {
			return nil, fmt.Errorf("making the specimens: %w", m.err)
		}
	}
	slices.SortFunc(m.specimens, func(a, b Specimen) int { return strings.Compare(a.Path, b.Path) })
	return m.specimens, nil
}

// A maker makes specimens. After the first error its methods do nothing.
type maker struct {
	dir           string
	now           time.Time
	domain, other string
	specimens     []Specimen
	err           error
}

// A made is a certificate just made, and the specimen of it but for the path.
type made struct {
	Specimen
	der []byte
}

func (m *maker) at(local string) string { return local + "@" + m.domain }

// template returns a template as most certificates are.
func (m *maker) template(addresses ...string) Template {
	return Template{
		Addresses: addresses,
		NotBefore: m.now.AddDate(0, -1, 0),
		NotAfter:  m.now.AddDate(1, 0, 0),
		KeyUsage:  x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement,
		EKU:       []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	}
}

// cert makes a certificate, and expects it to be published under the addresses
// of its template, and to chain if [Shared] has issued it.
func (m *maker) cert(t Template) made {
	if m.err != nil {
		return made{}
	}
	der, spki, err := t.build()
	m.fail(err)
	encrypts := t.KeyUsage == 0 || t.KeyUsage&(x509.KeyUsageKeyEncipherment|x509.KeyUsageKeyAgreement) != 0
	return made{der: der, Specimen: Specimen{
		Published:         true,
		Addresses:         t.Addresses,
		Encrypts:          encrypts,
		NotBefore:         t.NotBefore.Truncate(time.Second),
		NotAfter:          t.NotAfter.Truncate(time.Second),
		Certificate:       der,
		SPKI:              spki,
		CertificateSHA256: sha256.Sum256(der),
		SPKISHA256:        sha256.Sum256(spki),
		Chains:            t.Issuer == nil && t.Signer == nil,
	}}
}

// publish makes the certificate of a template into a PEM file.
func (m *maker) publish(path string, t Template) {
	c := m.cert(t)
	m.file(path, PEM(c.der), c.Specimen)
}

// unread is publish for certificates that crypto/x509 does not read, which
// thus do not chain.
func (m *maker) unread(path string, t Template) {
	c := m.cert(t)
	c.Chains = false
	m.file(path, PEM(c.der), c.Specimen)
}

// refuse writes a file that is expected to be refused.
func (m *maker) refuse(path, reason string, data []byte) {
	m.file(path, data, Specimen{Reason: reason})
}

// file writes a file, and says what is expected of it.
func (m *maker) file(path string, data []byte, s Specimen) {
	if m.err != nil {
		return
	}
	name := filepath.Join(m.dir, filepath.FromSlash(path))
	if m.fail(os.MkdirAll(filepath.Dir(name), 0o755)); m.err != nil {
		return
	}
	m.fail(os.WriteFile(name, data, 0o644))
	s.Path = path
	m.specimens = append(m.specimens, s)
}

func (m *maker) fail(err error) {
	if m.err == nil {
		m.err = err
	}
}

// signer makes a private key.
func (m *maker) signer(k Key) *Signer {
	if m.err != nil {
		return &Signer{}
	}
	s, err := NewSigner(k)
	m.fail(err)
	return s
}

// openssl runs the openssl command.
func (m *maker) openssl(stdin []byte, args ...string) []byte {
	if m.err != nil {
		return nil
	}
	out, err := OpenSSL(stdin, args...)
	m.fail(err)
	return out
}

// opensslFile runs the openssl command where it wants to read a file: FILE
// among the arguments is the name of one with the content.
func (m *maker) opensslFile(content []byte, args ...string) []byte {
	if m.err != nil {
		return nil
	}
	dir, err := os.MkdirTemp("", "testcert")
	if err != nil {
		m.fail(err)
		return nil
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "file")
	m.fail(os.WriteFile(name, content, 0o600))
	for i := range args {
		if args[i] == "FILE" {
			args[i] = name
		}
	}
	return m.openssl(nil, args...)
}
