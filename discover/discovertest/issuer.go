package discovertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

// An Issuer is an authority that issues certificates to users and says which of
// them it has revoked: by OCSP at /ocsp of its server, and by a list at /crl.
type Issuer struct {
	Certificate *x509.Certificate
	// URL is where its server is.
	URL string

	t   testing.TB
	key *ecdsa.PrivateKey

	mu      sync.Mutex
	serial  int64
	revoked map[int64]time.Time
}

// NewIssuer starts an authority.
func NewIssuer(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{t: t, key: newKey(t), revoked: map[int64]time.Time{}}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test issuer"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, i.key.Public(), i.key)
	if err != nil {
		t.Fatal(err)
	}
	if i.Certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /ocsp", i.serveOCSP)
	mux.HandleFunc("GET /crl", i.serveCRL)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	i.URL = server.URL
	return i
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Issue makes a certificate that says where to ask: of the paths of the
// issuer's server, "/ocsp", "/crl", "/crl?pem" for a list in PEM, or "/crl?authorities"
// for one that is of authorities only.
func (i *Issuer) Issue(address, path string) []byte {
	i.t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1000 + i.serial), Subject: pkix.Name{CommonName: "user"}, EmailAddresses: []string{address},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 6, 0),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	}
	if strings.HasPrefix(path, "/crl") {
		template.CRLDistributionPoints = []string{i.URL + path}
	} else {
		template.OCSPServer = []string{i.URL + path}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, i.Certificate, newKey(i.t).Public(), i.key)
	if err != nil {
		i.t.Fatal(err)
	}
	return der
}

// Revoke revokes a certificate.
func (i *Issuer) Revoke(der []byte) {
	i.t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		i.t.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.revoked[cert.SerialNumber.Int64()] = time.Now().Add(-time.Minute)
}

func (i *Issuer) serveOCSP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	question, err := ocsp.ParseRequest(body)
	if err != nil {
		w.Write(ocsp.MalformedRequestErrorResponse)
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	answer := ocsp.Response{
		Status: ocsp.Good, SerialNumber: question.SerialNumber, Certificate: i.Certificate,
		ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour),
	}
	if at, ok := i.revoked[question.SerialNumber.Int64()]; ok {
		answer.Status, answer.RevokedAt = ocsp.Revoked, at
	}
	der, err := ocsp.CreateResponse(i.Certificate, i.Certificate, answer, i.key)
	if err == nil {
		w.Write(der)
	}
}

func (i *Issuer) serveCRL(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for serial, at := range i.revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: at})
	}
	if r.URL.RawQuery == "authorities" {
		onlyAuthorities := []byte{0x30, 3, 0x82, 1, 0xff} // RFC 5280 section 5.2.5
		list.ExtraExtensions = []pkix.Extension{{Id: []int{2, 5, 29, 28}, Critical: true, Value: onlyAuthorities}}
		list.RevokedCertificateEntries = nil
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, i.Certificate, i.key)
	if err != nil {
		return
	}
	if r.URL.RawQuery == "pem" {
		der = pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
	}
	w.Write(der)
}
