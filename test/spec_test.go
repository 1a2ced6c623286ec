package test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	naming "coredns-smimea/smimea"
)

// vectors is docs/spec-vectors.json, which docs/spec.md describes.
type vectors struct {
	Addresses []struct {
		Comment, Address, Local, Domain, Label, SMIMEA string
		TXT                                            *string
	}
	Invalid     []struct{ Comment, Address string }
	Certificate struct {
		File, Address string
		DER           []byte
	}
	Associations []struct{ Association, RData string }
	URLs         []struct{ Template, Domain, File, Label, URL string }
	Texts        []struct{ URL, RData string }
	HTTPS        []struct {
		Request, Accept, Type, Body string
		Status                      int
	}
}

func readVectors(t *testing.T) *vectors {
	t.Helper()
	f, err := os.Open("../docs/spec-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v := new(vectors)
	if err := json.NewDecoder(f).Decode(v); err != nil {
		t.Fatal(err)
	}
	if len(v.Addresses) < 20 || len(v.Invalid) < 5 || len(v.Associations) < 4 || len(v.URLs) < 4 || len(v.Texts) < 2 || len(v.HTTPS) < 8 {
		t.Fatal("vectors are missing")
	}
	return v
}

// TestSpecNames holds package smimea against the specification's names and data.
func TestSpecNames(t *testing.T) {
	t.Parallel()
	v := readVectors(t)
	for _, want := range v.Addresses {
		a, err := naming.ParseAddress(want.Address)
		if err != nil {
			t.Errorf("%s (%s): %v", want.Address, want.Comment, err)
			continue
		}
		if a.Local != want.Local || a.Domain != want.Domain || a.Label() != want.Label || a.Owner() != want.SMIMEA {
			t.Errorf("%s: local-part %q, domain %q, owner %s, want %+v", want.Address, a.Local, a.Domain, a.Owner(), want)
		}
		switch txt, err := a.TextOwner(); {
		case want.TXT == nil && err == nil:
			t.Errorf("%s (%s): TXT owner %s, want none", want.Address, want.Comment, txt)
		case want.TXT != nil && (err != nil || txt != *want.TXT):
			t.Errorf("%s: TXT owner %q, %v, want %s", want.Address, txt, err, *want.TXT)
		}
	}
	for _, bad := range v.Invalid {
		if a, err := naming.ParseAddress(bad.Address); err == nil {
			t.Errorf("%q (%s) is taken as %s", bad.Address, bad.Comment, a)
		}
	}
	for _, want := range v.URLs {
		template, err := naming.ParseURLTemplate(want.Template)
		if err != nil {
			t.Errorf("%s: %v", want.Template, err)
		} else if got := template.Expand(want.Domain, want.File, want.Label); got != want.URL {
			t.Errorf("%s of %q is %s, want %s", want.Template, want.File, got, want.URL)
		}
	}
	for _, want := range v.Texts {
		if got := hex.EncodeToString(naming.AppendText(nil, want.URL)); got != want.RData {
			t.Errorf("TXT of %s is %s, want %s", want.URL, got, want.RData)
		}
	}
	c, err := x509.ParseCertificate(v.Certificate.DER)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range v.Associations {
		fields := strings.Fields(want.Association)
		a, err := naming.ParseAssociation(fields[0], fields[1], fields[2])
		if err != nil {
			t.Errorf("%s: %v", want.Association, err)
		} else if got := hex.EncodeToString(a.Append(nil, c.Raw, c.RawSubjectPublicKeyInfo)); got != want.RData {
			t.Errorf("%s is %s, want %s", want.Association, got, want.RData)
		}
	}
}

// TestSpecServer has a server publish the specification's certificate, and asks it for
// what the vectors say.
func TestSpecServer(t *testing.T) {
	t.Parallel()
	v := readVectors(t)
	dir := t.TempDir()
	writePEM(t, filepath.Join(dir, v.Certificate.File), "CERTIFICATE", v.Certificate.DER)
	w, options := newWeb(t, "example.com")
	for _, want := range v.Associations {
		options += "\nrecord " + want.Association
	}
	s := startProcess(t, "", block("_smimecert.example.com _smime.example.com", smimea(dir, options)))
	waitFor(t, "the HTTPS host", func() bool { _, err := w.handshake("example.com"); return err == nil })
	a, err := naming.ParseAddress(v.Certificate.Address)
	if err != nil {
		t.Fatal(err)
	}
	m, _ := ask(t, s.addr, question{name: a.Owner(), qtype: dns.TypeSMIMEA, size: 4096, tcp: true})
	var got []string
	for _, rr := range m.Answer {
		if r, ok := rr.(*dns.SMIMEA); ok {
			got = append(got, hex.EncodeToString([]byte{r.Usage, r.Selector, r.MatchingType})+strings.ToLower(r.Certificate))
		}
	}
	for _, want := range v.Associations {
		if !strings.Contains(strings.Join(got, "\n"), want.RData) {
			t.Errorf("no record %s in\n%s", want.Association, m)
		}
	}
	for _, want := range v.HTTPS {
		file := filepath.Join(t.TempDir(), "body")
		said := w.curl(t, "--path-as-is", "-o", file, "-w", "%{http_code} %{content_type}", "-H", "Accept: "+want.Accept, "https://example.com"+want.Request)
		if said != fmt.Sprint(want.Status, " ", want.Type) {
			t.Errorf("%s, Accept %q: %s, want %d %s", want.Request, want.Accept, said, want.Status, want.Type)
			continue
		}
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		ok := true
		switch want.Body {
		case "der":
			ok = bytes.Equal(body, v.Certificate.DER)
		case "pem":
			ok = strings.Contains(strings.ReplaceAll(string(body), "\n", ""), base64.StdEncoding.EncodeToString(v.Certificate.DER))
		case "pkcs7":
			ok = bytes.Contains(body, v.Certificate.DER)
		case "policy":
			ok = strings.HasPrefix(string(body), "version: 1\n")
		}
		if !ok {
			t.Errorf("%s, Accept %q: the body is not %s:\n%q", want.Request, want.Accept, want.Body, body)
		}
	}
}
