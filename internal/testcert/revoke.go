package testcert

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"time"
)

// Revoke returns a list in DER, with a number, that revokes certificates in DER: of
// whomsoever they are.
func (a *Authority) Revoke(number int64, certs ...[]byte) ([]byte, error) {
	issuer, err := x509.ParseCertificate(a.Certificate)
	if err != nil {
		return nil, err
	}
	list := &x509.RevocationList{
		Number: big.NewInt(number), ThisUpdate: time.Now().Add(time.Duration(number) * time.Second), NextUpdate: time.Now().AddDate(0, 0, 7),
	}
	for _, der := range certs {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: cert.SerialNumber, RevocationTime: time.Now(), ReasonCode: 1,
		})
	}
	issuer.SubjectKeyId = []byte{1} // crypto/x509 wants one
	return x509.CreateRevocationList(rand.Reader, list, issuer, crypto.Signer(a.signer.Key))
}
