package discovertest

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// A Web is a web server.
type Web struct {
	// Port is where it listens, on the loopback address.
	Port string
	// Roots has its authority, and RootsPEM too.
	Roots    *x509.CertPool
	RootsPEM []byte
	// KeyPair is its certificate, for servers of other protocols.
	KeyPair tls.Certificate
}

// ServeWeb starts a web server whose certificate is for some hosts, by name or
// address, and for a year.
func ServeWeb(t testing.TB, handler http.Handler, hosts ...string) *Web {
	t.Helper()
	return ServeWebUntil(t, time.Now().AddDate(1, 0, 0), handler, hosts...)
}

// ServeWebUntil is ServeWeb with a certificate that ends then.
func ServeWebUntil(t testing.TB, end time.Time, handler http.Handler, hosts ...string) *Web {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test web server"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: end,
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	pair := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that do not trust it
	server.StartTLS()
	t.Cleanup(server.Close)
	w := &Web{Roots: x509.NewCertPool(), KeyPair: pair, RootsPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	w.Roots.AddCert(cert)
	_, w.Port, _ = net.SplitHostPort(server.Listener.Addr().String())
	return w
}
