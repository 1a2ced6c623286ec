package discover

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"coredns-smimea/discover/discovertest"
	"coredns-smimea/discover/dnssec"
	"coredns-smimea/internal/testcert"
	"coredns-smimea/smimea"
)

// A world is a domain with users, as a sender sees it.
type world struct {
	t     *testing.T
	web   *discovertest.Web
	files map[string][]byte // by path
	pages *http.ServeMux    // for what files cannot be
	names *discovertest.Names
	zone  []string // records of example.test
	other []string // records of unsigned.test
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, files: map[string][]byte{}, pages: http.NewServeMux()}
	w.pages.HandleFunc("/", func(rw http.ResponseWriter, r *http.Request) {
		if data, ok := w.files[r.URL.Path]; ok {
			rw.Write(data)
			return
		}
		http.NotFound(rw, r)
	})
	w.web = discovertest.ServeWeb(t, w.pages, "example.test", "keys.example.test", "unsigned.test", "elsewhere.test")
	testOnlyDirectPort = ":" + w.web.Port
	w.zone = []string{"@ IN A 127.0.0.1", "keys IN A 127.0.0.1"}
	w.other = []string{"@ IN A 127.0.0.1"}
	return w
}

// url is where the web server has a path.
func (w *world) url(host, path string) string {
	return "https://" + host + ":" + w.web.Port + path
}

// publish adds the records of an address: "USAGE SELECTOR MATCHING" of the
// certificate, and the URLs.
func (w *world) publish(address string, der []byte, associations []string, urls ...string) {
	w.t.Helper()
	a := parse(w.t, address)
	var records []string
	for _, text := range associations {
		records = append(records, fmt.Sprintf("%s IN SMIMEA %s", a.Owner(), rdata(w.t, text, der)))
	}
	for _, url := range urls {
		owner, err := a.TextOwner()
		if err != nil {
			w.t.Fatal(err)
		}
		records = append(records, fmt.Sprintf("%s IN TXT %q", owner, url))
	}
	if a.Domain == "unsigned.test" {
		w.other = append(w.other, records...)
	} else {
		w.zone = append(w.zone, records...)
	}
}

func parse(t *testing.T, address string) smimea.Address {
	t.Helper()
	a, err := smimea.ParseAddress(address)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func rdata(t *testing.T, association string, der []byte) string {
	t.Helper()
	f := strings.Fields(association)
	a, err := smimea.ParseAssociation(f[0], f[1], f[2])
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return association + " " + hex.EncodeToString(a.Append(nil, der, cert.RawSubjectPublicKeyInfo)[3:])
}

// client serves what was published, and returns who asks it.
func (w *world) client() *Client {
	w.t.Helper()
	w.names = discovertest.Serve(w.t,
		discovertest.Zone{Name: "test", Records: []string{"elsewhere IN A 127.0.0.1"}},
		discovertest.Zone{Name: "example.test", Records: w.zone},
		discovertest.Zone{Name: "unsigned.test", Records: w.other, Unsigned: true})
	anchors, err := dnssec.ReadAnchors(strings.NewReader(w.names.Anchors))
	if err != nil {
		w.t.Fatal(err)
	}
	server, err := ParseServer(w.names.Address)
	if err != nil {
		w.t.Fatal(err)
	}
	return &Client{
		Resolver: &dnssec.Validator{Exchange: server.Exchange, Anchors: anchors},
		WebRoots: w.web.Roots, AllowPrivate: true,
		Roots: roots(w.t, testcert.Shared().Certificate),
	}
}

func roots(t *testing.T, ders ...[]byte) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	for _, der := range ders {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		pool.AddCert(cert)
	}
	return pool
}

func certificate(t *testing.T, template testcert.Template) []byte {
	t.Helper()
	der, err := template.DER()
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// expect looks an address up and compares the verdict.
func (w *world) expect(c *Client, address string, want Verdict) *Result {
	w.t.Helper()
	r := c.Lookup(w.t.Context(), parse(w.t, address))
	if r.Verdict != want {
		w.t.Errorf("%s: %s (%s); want %s\n%s", address, r.Verdict, r.Why, want, strings.Join(r.Story, "\n"))
	}
	return r
}
