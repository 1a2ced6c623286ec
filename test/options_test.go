package test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"coredns-smimea/internal/testcert"
)

// TestOptions serves with every option at a value that is not its default.
func TestOptions(t *testing.T) {
	dir := t.TempDir()
	pubs := users(t, filepath.Join(dir, "certs"), "example.com")
	for i := range pubs { // url off
		pubs[i].text = nil
	}
	// case exact
	pubs = slices.DeleteFunc(pubs, func(p publication) bool { return p.local == "bob.jones" })
	k := newKeys(t, "example.com.", signing{dns.ECDSAP256SHA256, true})
	s := startServer(t, block("example.com example.org", "root "+dir, k.directive, `smimea certs example.com {
	record 3 1 2
	record 2 0 1
	url off
	ttl 10m
	negative_ttl 30
	case exact
	ns ns1.example.net ns2.example.net.
	mbox admin.example.net
	reload 5s
}`))
	rrs := records(t, filepath.Join(dir, "certs"), "example.com.", pubs, "3 1 2", "2 0 1")
	for _, rr := range rrs {
		rr.Header().Ttl = 600
	}
	apex := apexRecords(t, s.addr, "example.com.", "admin.example.net.", 30, "ns1.example.net.", "ns2.example.net.")
	l := &layout{name: "whole zone", addr: s.addr, keys: k, zones: []*zone{newZone(t, "example.com.", true, append(apex, rrs...))}}
	l.checkAll(t)
	for _, name := range []string{hashOwner("bob.jones", "example.com."), "alice._smime.example.com."} {
		m, _ := ask(t, s.addr, question{name: name, qtype: dns.TypeANY})
		if m.Rcode != dns.RcodeNameError {
			t.Errorf("%s: want NXDOMAIN:\n%s", name, m)
		}
	}
	m, _ := ask(t, s.addr, question{name: "example.org.", qtype: dns.TypeSOA})
	if m.Rcode != dns.RcodeServerFailure && m.Rcode != dns.RcodeRefused { // there is no next plugin
		t.Errorf("a zone that smimea was not given: %s", m)
	}
}

// TestURLTemplate holds what the words of a template stand for.
func TestURLTemplate(t *testing.T) {
	dir := t.TempDir()
	cert{addresses: []string{"Alice@example.com"}}.write(t, filepath.Join(dir, "a b", "100% ä?.pem"))
	for template, want := range map[string]string{
		"https://{domain}/.well-known/smime/{file}":     "https://example.com/.well-known/smime/a%20b/100%25%20%C3%A4%3F.pem",
		"https://certs.example.net/{domain}/{hash}.crt": "https://certs.example.net/example.com/" + hashOwner("Alice", "")[:56] + ".crt",
	} {
		s := startServer(t, block("_smime.example.com", "smimea "+dir+" {\nurl "+template+"\n}"))
		m, _ := ask(t, s.addr, question{name: "alice._smime.example.com.", qtype: dns.TypeTXT, size: 1232})
		if len(m.Answer) != 1 {
			t.Errorf("%s: %s", template, m)
			continue
		}
		if got := strings.Join(m.Answer[0].(*dns.TXT).Txt, ""); got != want {
			t.Errorf("%s: URL %s, want %s", template, got, want)
		}
	}
}

// TestCase holds that an owner in lower case goes to who is certified so, and to
// somebody in upper case only if nobody is.
func TestCase(t *testing.T) {
	dir := t.TempDir()
	cert{addresses: []string{"Heidi@example.com"}}.write(t, filepath.Join(dir, "upper.pem"))
	cert{addresses: []string{"heidi@example.com"}}.write(t, filepath.Join(dir, "lower.pem"))
	cert{addresses: []string{"IVAN@example.com"}}.write(t, filepath.Join(dir, "ivan.pem"))
	s := startServer(t, block("example.com", "smimea "+dir))
	for local, file := range map[string]string{"Heidi": "upper.pem", "heidi": "lower.pem", "IVAN": "ivan.pem", "ivan": "ivan.pem"} {
		m, _ := ask(t, s.addr, question{name: hashOwner(local, "example.com."), qtype: dns.TypeSMIMEA})
		want := opensslData(t, filepath.Join(dir, file), 1, 1)
		if len(m.Answer) != 1 || m.Answer[0].(*dns.SMIMEA).Certificate != want {
			t.Errorf("%s: want %s of %s:\n%s", local, want, file, m)
		}
	}
	m, _ := ask(t, s.addr, question{name: "heidi._smime.example.com.", qtype: dns.TypeTXT})
	if len(m.Answer) != 1 || !strings.HasSuffix(m.Answer[0].(*dns.TXT).Txt[0], "/lower.pem") {
		t.Errorf("TXT of heidi: want lower.pem alone:\n%s", m)
	}
	m, _ = ask(t, s.addr, question{name: "Heid\\i._smime.example.com.", qtype: dns.TypeTXT})
	if len(m.Answer) != 1 {
		t.Errorf("the same name, escaped: %s", m)
	}
}

// TestRoots publishes only what the authority issued, itself or by another that is in
// the file.
func TestRoots(t *testing.T) {
	dir := t.TempDir()
	root, err := testcert.NewAuthority("Root", nil)
	if err != nil {
		t.Fatal(err)
	}
	issuing, err := testcert.NewAuthority("Issuing", root)
	if err != nil {
		t.Fatal(err)
	}
	for file, c := range map[string]struct {
		address string
		issuer  *testcert.Authority
		chain   [][]byte
	}{
		"direct.pem":  {"direct@example.com", root, nil},
		"chain.pem":   {"chain@example.com", issuing, [][]byte{issuing.Certificate}},
		"missing.pem": {"missing@example.com", issuing, nil},
		"other.pem":   {"other@example.com", nil, nil},
	} {
		der, err := testcert.Template{Addresses: []string{c.address}, Issuer: c.issuer}.DER()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), testcert.PEM(append([][]byte{der}, c.chain...)...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, testcert.PEM(root.Certificate), 0o644); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, block("example.com", "smimea "+dir+" {\nroots "+roots+"\n}"))
	for local, published := range map[string]bool{"direct": true, "chain": true, "missing": false, "other": false} {
		m, _ := ask(t, s.addr, question{name: hashOwner(local, "example.com."), qtype: dns.TypeSMIMEA})
		if (len(m.Answer) == 1) != published {
			t.Errorf("%s: published %v, want %v", local, len(m.Answer) == 1, published)
		}
	}
	// A roots file without a certificate would publish nobody: that is a mistake.
	if err := os.WriteFile(roots, bytes.Repeat([]byte("x"), 10), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := tryServer(t, block("example.com", "smimea "+dir+" {\nroots "+roots+"\n}")); err == nil || !strings.Contains(err.Error(), roots) {
		t.Errorf("roots without a certificate: %v", err)
	}
}
