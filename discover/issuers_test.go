package discover

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"coredns-smimea/internal/testcert"
)

// A link is a certificate of a chain, with its key.
type link struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate below a link, or a root; of a user, if it has an address.
func issue(t *testing.T, above *link, name, address string, places ...string) *link {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		BasicConstraintsValid: true, IsCA: address == "", KeyUsage: x509.KeyUsageCertSign, IssuingCertificateURL: places,
	}
	if address != "" {
		template.EmailAddresses, template.KeyUsage = []string{address}, x509.KeyUsageDigitalSignature|x509.KeyUsageKeyAgreement
	}
	if above == nil {
		above = &link{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, above.cert, key.Public(), above.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &link{cert, key}
}

// TestChains holds which issuers are reported, wherever they come from.
func TestChains(t *testing.T) {
	w := newWorld(t)
	places := http.NewServeMux()
	server := httptest.NewServer(places)
	defer server.Close()
	asked := 0
	place := func(name string, body []byte) string {
		places.HandleFunc("/"+name, func(rw http.ResponseWriter, r *http.Request) { asked++; rw.Write(body) })
		return server.URL + "/" + name
	}
	root := issue(t, nil, "Chain Root", "")
	upper := issue(t, root, "Chain Upper", "", place("root.crt", root.cert.Raw))
	lower := issue(t, upper, "Chain Lower", "", place("upper.p7c", pkcs7(upper.cert.Raw)))
	at := place("lower.crt", testcert.PEM(lower.cert.Raw))
	places.HandleFunc("/moved", func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, "/lower.crt", http.StatusMovedPermanently)
	})
	stranger := issue(t, nil, "Chain Lower", "") // of the same name
	endless := server.URL + "/endless"
	places.HandleFunc("/endless", func(rw http.ResponseWriter, r *http.Request) {
		for block := make([]byte, 64<<10); ; {
			if _, err := rw.Write(block); err != nil {
				return
			}
		}
	})

	both := [][]byte{lower.cert.Raw, upper.cert.Raw}
	type test struct {
		name    string
		leaf    *link
		beside  [][]byte
		records []string
		of      *link // what the records are of, the leaf if nil
		want    Verdict
		chain   [][]byte
	}
	leaf := func(name string, places ...string) *link {
		return issue(t, lower, "user", name+"@example.test", places...)
	}
	tests := []test{
		{"file", leaf("file"), [][]byte{lower.cert.Raw, upper.cert.Raw}, []string{"3 1 1"}, nil, Verified, both},
		{"disorder", leaf("disorder"), [][]byte{root.cert.Raw, stranger.cert.Raw, upper.cert.Raw, lower.cert.Raw}, []string{"3 1 1"}, nil, Verified, both},
		{"half", leaf("half", at), [][]byte{lower.cert.Raw}, []string{"3 1 1"}, nil, Verified, both},
		{"aia", leaf("aia", at), nil, []string{"3 1 1"}, nil, Verified, both},
		{"moved", leaf("moved", server.URL+"/moved"), nil, []string{"3 1 1"}, nil, Verified, both},
		{"second", leaf("second", "ldap://nowhere/", at), nil, []string{"3 1 1"}, nil, Verified, both},
		{"known", leaf("known", at), nil, []string{"1 1 1"}, nil, Verified, both}, // which needs the chain
		{"anchor", leaf("anchor", at), nil, []string{"2 0 0"}, lower, Verified, [][]byte{lower.cert.Raw}},
		{"none", leaf("none"), nil, []string{"3 1 1"}, nil, Verified, nil},
		{"endless", leaf("endless", endless), nil, []string{"3 1 1"}, nil, Verified, nil},
		{"unknown", leaf("unknown"), nil, []string{"1 1 1"}, nil, Wrong, nil},
	}
	for _, test := range tests {
		address := test.name + "@example.test"
		w.files["/"+address] = testcert.PEM(append([][]byte{test.leaf.cert.Raw}, test.beside...)...)
		of := test.leaf
		if test.of != nil {
			of = test.of
		}
		w.publish(address, of.cert.Raw, test.records, w.url("example.test", "/"+address))
	}
	c := w.client()
	c.Roots = roots(t, root.cert.Raw)
	for _, test := range tests {
		r := w.expect(c, test.name+"@example.test", test.want)
		if !slices.EqualFunc(r.Certificates[0].Chain, test.chain, bytes.Equal) {
			t.Errorf("%s: a chain of %d; want %d\n%s", test.name, len(r.Certificates[0].Chain), len(test.chain), r.Story)
		}
	}
	if asked == 0 {
		t.Error("nobody was asked")
	}
	// Not at private addresses, as for all downloads; then nobody is asked.
	asked = 0
	w.publish("private@example.test", leaf("private", at).cert.Raw, []string{"3 0 0"})
	private := w.client()
	private.AllowPrivate = false
	if r := w.expect(private, "private@example.test", Verified); len(r.Certificates[0].Chain) != 0 || asked != 0 {
		t.Errorf("asked %d times at a private address, and a chain of %d", asked, len(r.Certificates[0].Chain))
	}
}

// TestExpires holds how long a result may be kept.
func TestExpires(t *testing.T) {
	w := newWorld(t)
	w.publish("u@example.test", user(t, "u@example.test"), []string{"3 0 0"})
	w.publish("wrong@example.test", user(t, "other@example.test"), []string{"3 0 0"})
	c := w.client()
	now := time.Now()
	c.Now = func() time.Time { return now }
	for address, want := range map[string]time.Duration{"u@example.test": noneKept, "nobody@example.test": noneKept, "wrong@example.test": 0} {
		r := c.Lookup(t.Context(), parse(t, address))
		if want == 0 && !r.Expires.IsZero() || want != 0 && r.Expires.Sub(now) != want {
			t.Errorf("%s (%s) may be kept until %v", address, r.Verdict, r.Expires)
		}
	}
}
