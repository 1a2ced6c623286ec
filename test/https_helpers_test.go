package test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	// What the Corefiles of the HTTPS tests use besides.
	_ "github.com/coredns/coredns/plugin/reload"
	_ "github.com/coredns/coredns/plugin/tls"

	"coredns-smimea/internal/harness"
)

const wellKnown = "/.well-known/smime/"

// A web is an HTTPS host of ours, as clients see it.
type web struct {
	addr  string
	trust string // a PEM file; "" for plain HTTP
}

// newWeb picks the address of a host and makes a self-signed certificate for its
// names. options are those of the directive.
func newWeb(t *testing.T, names ...string) (w *web, options string) {
	t.Helper()
	cert, key := tlsPair(t, t.TempDir(), names...)
	w = &web{harness.Loopback(freePort(t)), cert}
	return w, "https " + w.addr + "\ntls " + cert + " " + key
}

// tlsPair writes a self-signed certificate for the names and its key.
func tlsPair(t *testing.T, dir string, names ...string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 3, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true, // it is its own root
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, names[0]+".pem"), filepath.Join(dir, names[0]+".key")
	writePEM(t, certFile, "CERTIFICATE", der)
	writePEM(t, keyFile, "PRIVATE KEY", private)
	return certFile, keyFile
}

// curl runs curl, which takes the host to be where every URL leads.
func (w *web) curl(t *testing.T, args ...string) string {
	t.Helper()
	return command(t, "curl", append([]string{"-sS", "--noproxy", "*", "--connect-to", "::" + w.addr, "--cacert", w.trust}, args...)...)
}

// status returns the status that curl gets for a URL, sent as it is.
func (w *web) status(t *testing.T, url string, args ...string) string {
	t.Helper()
	return w.curl(t, append(args, "--path-as-is", "-o", "/dev/null", "-w", "%{http_code}", url)...)
}

// client returns a client whose every connection leads to the host.
func (w *web) client(t testing.TB) *http.Client {
	t.Helper()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", w.addr)
		},
		MaxIdleConnsPerHost: 16,
	}
	if w.trust != "" {
		pem, err := os.ReadFile(w.trust)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 2 * time.Minute}
}

// fetch gets a URL with its own client.
func fetch(t testing.TB, c *http.Client, url string) (*http.Response, []byte) {
	t.Helper()
	response, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, body
}

// fileURL is where the TXT record says that a file is.
func fileURL(domain, file string) string {
	return "https://" + domain + wellKnown + pathEscape(file)
}

// hashURL is where the certificate of a local-part is without any record.
func hashURL(domain, local, extension string) string {
	return "https://" + domain + wellKnown + hashOwner(local, "")[:56] + extension
}

// derOf returns the certificate in a PEM file.
func derOf(t testing.TB, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return text
	}
	return block.Bytes
}

// handshake returns the state of a connection for a name, whoever vouches for it.
func (w *web) handshake(name string) (tls.ConnectionState, error) {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: time.Minute}, "tcp", w.addr, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer c.Close()
	return c.ConnectionState(), nil
}

// shown returns the serial of the certificate that the host shows for a name, or why
// it shows none.
func (w *web) shown(name string) string {
	state, err := w.handshake(name)
	if err != nil {
		return err.Error()
	}
	return state.PeerCertificates[0].SerialNumber.String()
}

// serialOf returns the serial of the certificate in a file.
func serialOf(t testing.TB, file string) string {
	t.Helper()
	c, err := x509.ParseCertificate(derOf(t, file))
	if err != nil {
		t.Fatal(err)
	}
	return c.SerialNumber.String()
}

// lines returns how many lines of a log have all of these words in them.
func lines(log *harness.Log, words ...string) (n int) {
	for line := range strings.Lines(log.String()) {
		all := true
		for _, word := range words {
			all = all && strings.Contains(line, word)
		}
		if all {
			n++
		}
	}
	return n
}
