package certhost

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"coredns-smimea/internal/pkcs7"
)

func TestNegotiate(t *testing.T) {
	for _, test := range []struct {
		accept []string
		want   string
	}{
		{nil, typeDER},
		{[]string{""}, typeDER},
		{[]string{"*/*"}, typeDER},
		{[]string{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, typeDER},
		{[]string{"application/x-pem-file"}, typePEM},
		{[]string{"APPLICATION/X-PEM-FILE"}, typePEM},
		{[]string{"application/pem-certificate-chain"}, typeChain},
		{[]string{"application/x-pem-file, */*;q=0.5"}, typePEM},
		{[]string{"application/x-pem-file, */*"}, typePEM},
		{[]string{"application/x-pem-file;q=0.2, */*"}, typeDER},
		{[]string{"application/x-pem-file, application/pkix-cert"}, typeDER},
		{[]string{"application/x-pem-file, application/pkix-cert;q=0.9"}, typePEM},
		{[]string{"application/x-pem-file;q=0"}, typeDER},
		{[]string{"application/x-pem-file; q=bad"}, typeDER},
		{[]string{"application/x-pem-file; a=b; Q=1"}, typePEM},
		{[]string{"text/html", "application/x-pem-file"}, typePEM},
		{[]string{"application/pem-certificate-chain;q=0.9, application/x-pem-file;q=0.8"}, typeChain},
	} {
		if got := negotiate(test.accept); got != test.want {
			t.Errorf("Accept %q: %s, want %s", test.accept, got, test.want)
		}
	}
}

func TestCertsOnly(t *testing.T) {
	var ders [][]byte
	for range 3 {
		der, _ := mailCertificate(t, "alice@example.com").DER()
		ders = append(ders, der)
	}
	p7, err := pkcs7.CertsOnly(ders)
	if err != nil {
		t.Fatal(err)
	}
	turned, err := pkcs7.CertsOnly([][]byte{ders[2], ders[0], ders[1]})
	if err != nil || !bytes.Equal(p7, turned) {
		t.Errorf("the order given changes the bytes (%v)", err)
	}
	rest := []byte(tool(t, p7, "openssl", "pkcs7", "-inform", "DER", "-print_certs"))
	found := map[string]bool{}
	for block, rest := pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
		found[string(block.Bytes)] = true
	}
	for i, der := range ders {
		if !found[string(der)] {
			t.Errorf("openssl does not find certificate %d", i)
		}
	}
	tool(t, p7, "openssl", "cms", "-cmsout", "-inform", "DER", "-print", "-noout")
	if sources([]Certificate{published(ders[0]), published(ders[1])}) != sources([]Certificate{published(ders[1]), published(ders[0])}) {
		t.Error("the order given makes another bundle")
	}
	if _, err := x509.ParseCertificate(ders[0]); err != nil {
		t.Error(err)
	}
}

// One file of an address that cannot be read takes nothing from the others.
func TestOneOfSeveralTorn(t *testing.T) {
	good, torn := mailCertificate(t, "alice@example.com"), mailCertificate(t, "alice@example.com")
	torn.DER = func() ([]byte, error) { return nil, errors.New("torn") }
	files := &directory{labels: map[string][]Certificate{"example.com/" + label("alice"): {torn, good}}}
	log := newRecorder()
	h := testHost(Config{Address: ":0", Domains: []string{"example.com"}, Log: log, Metrics: log}, files)
	der, _ := good.DER()
	response := serve(h, "GET", Root+label("alice")+".crt", "example.com")
	if body := text(response); response.StatusCode != 200 || body != string(der) || response.Header.Get("Etag") != entityTag(good.Digest, typeDER) {
		t.Errorf("HASH.crt: %d %v, %d octets", response.StatusCode, response.Header, len(body))
	}
	response = serve(h, "GET", Root+label("alice")+".p7c", "example.com")
	p7, _ := pkcs7.CertsOnly([][]byte{der})
	if body := text(response); response.StatusCode != 200 || body != string(p7) || response.Header.Get("Etag") != entityTag(digestOf([][]byte{der}), typeP7C) {
		t.Errorf("HASH.p7c: %d %v, %d octets", response.StatusCode, response.Header, len(body))
	}
	if len(log.lines) != 1 {
		t.Errorf("log: %q", log.lines)
	}
	files.labels["example.com/"+label("alice")] = []Certificate{torn}
	for _, extension := range []string{".crt", ".p7c"} {
		if response := serve(h, "GET", Root+label("alice")+extension, "example.com"); response.StatusCode != 404 {
			t.Errorf("with no other, HASH%s: %d", extension, response.StatusCode)
		}
	}
}

// An address with very many certificates costs the making of its bundle once.
func TestLargeBundle(t *testing.T) {
	reads := 0
	var all []Certificate
	for range 1390 {
		der := make([]byte, 500)
		rand.Read(der)
		c := published(der)
		c.DER = func() ([]byte, error) { reads++; return der, nil }
		all = append(all, c)
	}
	h := testHost(Config{Address: ":0", Domains: []string{"example.com"}}, &directory{labels: map[string][]Certificate{"example.com/" + label("alice"): all}})
	for range 3 {
		if response := serve(h, "GET", Root+label("alice")+".p7c", "example.com"); response.StatusCode != 200 || response.ContentLength < 1390*500 {
			t.Fatalf("%d, %d octets", response.StatusCode, response.ContentLength)
		}
	}
	if reads != len(all) {
		t.Errorf("%d files were read", reads)
	}
}

// Issuers go out with the chain forms only: the leaf first, then those, each once in
// a bundle; and the entity tag changes when they do.
func TestChain(t *testing.T) {
	alice, old := mailCertificate(t, "alice@example.com"), mailCertificate(t, "alice@example.com")
	upper, lower, renewed := mailCertificate(t, "upper"), mailCertificate(t, "lower"), mailCertificate(t, "lower")
	der := func(c Certificate) []byte { b, _ := c.DER(); return b }
	issuers, read := [][]byte{der(lower), der(upper)}, 0
	chain := func(leaf []byte) [][]byte { read++; return issuers }
	alice.Chain, old.Chain = chain, chain
	files := &directory{files: map[string]Certificate{}, labels: map[string][]Certificate{}}
	publish := func(version uint64) {
		alice.Version, old.Version = version, version
		files.files["example.com/alice.crt"] = alice
		files.labels["example.com/"+label("alice")] = []Certificate{alice, old}
	}
	h := testHost(Config{Address: ":0", Domains: []string{"example.com"}}, files)
	inPEM := func(certs ...[]byte) (text string) {
		for _, c := range certs {
			text += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c}))
		}
		return text
	}
	bundle := func(certs ...[]byte) string { b, _ := pkcs7.CertsOnly(certs); return string(b) }
	tags := map[string]string{}
	for version := range uint64(3) { // of the first nothing can be kept
		publish(version)
		for _, test := range []struct{ path, accept, want string }{
			{"alice.crt", typeChain, inPEM(append([][]byte{der(alice)}, issuers...)...)},
			{label("alice") + ".crt", typeChain, inPEM(append([][]byte{der(alice)}, issuers...)...)},
			{"alice.crt", typePEM, inPEM(der(alice))},
			{"alice.crt", "", string(der(alice))},
			{label("alice") + ".p7c", "", bundle(append([][]byte{der(alice), der(old)}, issuers...)...)},
		} {
			r := serve(h, "GET", Root+test.path, "example.com", "Accept", test.accept)
			if body := text(r); r.StatusCode != 200 || body != test.want {
				t.Errorf("version %d, %s as %q: %d, %d octets, want %d", version, test.path, test.accept, r.StatusCode, len(body), len(test.want))
			}
			tag := r.Header.Get("Etag")
			if r := serve(h, "GET", Root+test.path, "example.com", "Accept", test.accept, "If-None-Match", tag); r.StatusCode != 304 {
				t.Errorf("version %d, %s as %q with its entity tag: %d", version, test.path, test.accept, r.StatusCode)
			}
			last, had := tags[test.path+test.accept]
			withIssuers := test.accept == typeChain || strings.HasSuffix(test.path, ".p7c")
			if had && version != 1 && (last != tag) != withIssuers {
				t.Errorf("version %d, %s as %q: entity tag %s after %s", version, test.path, test.accept, tag, last)
			}
			if version == 1 && last != tag {
				t.Errorf("%s as %q: entity tag %s of the same octets, after %s", test.path, test.accept, tag, last)
			}
			tags[test.path+test.accept] = tag
		}
		if version == 1 {
			before := read
			serve(h, "GET", Root+"alice.crt", "example.com", "Accept", typeChain)
			if read != before {
				t.Error("the issuers are read again, where nothing has changed")
			}
			issuers = [][]byte{der(renewed), der(upper)}
		}
	}
}
