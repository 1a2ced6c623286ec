package discover

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"coredns-smimea/internal/testcert"
)

// TestSpecVerdicts holds the verdicts against those of docs/spec-vectors.json.
func TestSpecVerdicts(t *testing.T) {
	data, err := os.ReadFile("../docs/spec-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Verdicts []struct {
			Comment, Domain, URL, Certificate, Verdict string
			SMIMEA                                     []string
		}
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	stranger, err := testcert.NewAuthority("Stranger", nil)
	if err != nil {
		t.Fatal(err)
	}
	const day = 24 * time.Hour
	certificates := map[string]testcert.Template{
		"good": {}, "untrusted": {Issuer: stranger}, "other address": {Addresses: []string{"somebody@example.test"}},
		"expired": {NotBefore: time.Now().Add(-30 * day), NotAfter: time.Now().Add(-day)}, "early": {NotBefore: time.Now().Add(day)},
		"not for mail": {EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, "authority": {Authority: true},
	}
	domains := map[string]string{"signed": "example.test", "unsigned": "unsigned.test", "unreachable": "nowhere.invalid"}
	address := func(i int, domain string) string { return fmt.Sprintf("v%d@%s", i, domains[domain]) }
	seen := map[string]bool{}
	for i, v := range vectors.Verdicts {
		seen[v.Verdict] = true
		template, known := certificates[v.Certificate]
		if !known || domains[v.Domain] == "" {
			t.Fatalf("%s: a certificate %q at a domain %q", v.Comment, v.Certificate, v.Domain)
		}
		if v.Domain == "unreachable" {
			continue
		}
		name := address(i, v.Domain)
		if template.Addresses == nil {
			template.Addresses = []string{name}
		}
		der, path := certificate(t, template), fmt.Sprintf("/%d.crt", i)
		for _, text := range v.SMIMEA {
			association, whose := text[:strings.LastIndexByte(text, ' ')], text[strings.LastIndexByte(text, ' ')+1:]
			switch {
			case association == "9 9 9":
				w.zone = append(w.zone, parse(t, name).Owner()+" IN SMIMEA 9 9 9 00")
			case whose == "other":
				w.publish(name, user(t, name), []string{association})
			default:
				w.publish(name, der, []string{association})
			}
		}
		switch v.URL {
		case "own":
			w.publish(name, nil, nil, w.url(domains[v.Domain], path))
		case "foreign":
			w.publish(name, nil, nil, w.url("elsewhere.test", path))
		case "well-known":
			path, der = "/.well-known/smime/"+parse(t, name).Label()+".p7c", pkcs7(der)
		case "none":
			path = ""
		default:
			t.Fatalf("%s: a URL %q", v.Comment, v.URL)
		}
		w.files[path] = der
	}
	if len(seen) != 5 {
		t.Errorf("the verdicts are %v", seen)
	}
	c := w.client()
	for i, v := range vectors.Verdicts {
		t.Run(v.Comment, func(t *testing.T) {
			w.t = t
			w.expect(c, address(i, v.Domain), Verdict(v.Verdict))
		})
	}
}
