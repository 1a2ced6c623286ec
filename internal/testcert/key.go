package testcert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"math/big"
	"sync"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cb "golang.org/x/crypto/cryptobyte/asn1"
)

// A Key is a kind of key that Go can make.
type Key int

// The kinds of keys.
const (
	P256 Key = iota
	P384
	Ed25519
	// RSA2048 keys of certificates that are not self-signed are no products
	// of two primes but random numbers: making real ones takes a fifth of a
	// second each. Nobody can decrypt what is encrypted to them.
	RSA2048
)

// public returns the SubjectPublicKeyInfo of a new key.
func (k Key) public() ([]byte, error) {
	switch k {
	case P256:
		// The fastest way, for hundreds of thousands of certificates.
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		point, err := key.PublicKey.Bytes()
		if err != nil {
			return nil, err
		}
		return append(p256Header[:len(p256Header):len(p256Header)], point...), nil
	case RSA2048:
		modulus := make([]byte, 256)
		rand.Read(modulus)
		modulus[0] |= 0x80
		modulus[255] |= 1
		return x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: 65537})
	}
	signer, err := NewSigner(k)
	if err != nil {
		return nil, err
	}
	return signer.spki, nil
}

// p256Header is what stands before the point in P-256's SubjectPublicKeyInfo.
var p256Header = []byte{
	0x30, 0x59, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1,
	6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 3, 0x42, 0,
}

// A Signer is a private key and how it signs.
type Signer struct {
	Key       crypto.Signer
	spki      []byte
	algorithm []byte // DER of the AlgorithmIdentifier of its signatures
}

var (
	ecdsaWithSHA256 = []byte{0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2}
	rsaWithSHA256   = []byte{0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11, 5, 0}
	pureEd25519     = []byte{0x30, 5, 6, 3, 0x2b, 0x65, 0x70}
)

// NewSigner makes a private key, a real one of whatever kind.
func NewSigner(k Key) (*Signer, error) {
	s := &Signer{algorithm: ecdsaWithSHA256}
	var err error
	switch k {
	case P256:
		s.Key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case P384:
		s.Key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case Ed25519:
		_, s.Key, err = ed25519.GenerateKey(rand.Reader)
		s.algorithm = pureEd25519
	case RSA2048:
		s.Key, err = rsa.GenerateKey(rand.Reader, 2048)
		s.algorithm = rsaWithSHA256
	default:
		err = fmt.Errorf("no kind of key: %d", k)
	}
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	if s.spki, err = x509.MarshalPKIXPublicKey(s.Key.Public()); err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	return s, nil
}

// sign returns the certificate of a TBSCertificate.
func (s *Signer) sign(tbs []byte) ([]byte, error) {
	message, options := tbs, crypto.Hash(0)
	if _, ok := s.Key.(ed25519.PrivateKey); !ok {
		sum := sha256.Sum256(tbs)
		message, options = sum[:], crypto.SHA256
	}
	signature, err := s.Key.Sign(rand.Reader, message, options)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate: %w", err)
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, len(tbs)+len(signature)+64))
	b.AddASN1(cb.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs)
		b.AddBytes(s.algorithm)
		b.AddASN1BitString(signature)
	})
	return b.Bytes()
}

// An Authority issues certificates.
type Authority struct {
	Certificate []byte // DER
	signer      *Signer
	name        []byte // DER
}

// NewAuthority makes an authority with a P-256 key, a root if parent is nil.
// Extensions, such as name constraints, are added to its certificate.
func NewAuthority(name string, parent *Authority, extensions ...Extension) (*Authority, error) {
	signer, err := NewSigner(P256)
	if err != nil {
		return nil, err
	}
	t := Template{
		CommonName: name,
		NotBefore:  time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:   time.Date(2049, 1, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage:   x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		Authority:  true,
		Extensions: extensions,
	}
	if parent == nil {
		t.Signer = signer
	} else {
		t.Issuer, t.PublicKey = parent, signer.spki
	}
	a := &Authority{signer: signer}
	if a.name, err = t.subject(); err != nil {
		return nil, err
	}
	a.Certificate, err = t.DER()
	return a, err
}

// Unreadable returns a certificate of an authority that crypto/x509 does not read,
// signed by itself: its serial number is negative.
func Unreadable(a *Authority) ([]byte, error) {
	t := Template{Authority: true, Serial: []byte{0x80, 1}, Signer: a.signer, subjectName: a.name}
	return t.DER()
}

// Shared returns the authority that issues what no other does; there is one in
// a process.
func Shared() *Authority {
	shared.once.Do(func() {
		a, err := NewAuthority("Zoo Root", nil)
		if err != nil {
			panic(err)
		}
		shared.authority = a
	})
	return shared.authority
}

var shared struct {
	once      sync.Once
	authority *Authority
}
