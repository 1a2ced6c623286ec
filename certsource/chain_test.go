package certsource

import (
	"encoding/asn1"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cb "golang.org/x/crypto/cryptobyte/asn1"

	"coredns-smimea/internal/testcert"
)

func TestChains(t *testing.T) {
	root := testcert.Shared()
	now := time.Now()
	authority := func(name string, parent *testcert.Authority, extensions ...testcert.Extension) *testcert.Authority {
		a, err := testcert.NewAuthority(name, parent, extensions...)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	middle := authority("Middle", root)
	foreign := authority("Foreign", nil)
	permits := authority("Permits", root, nameConstraints(0, "example.com"))
	excludes := authority("Excludes", root, nameConstraints(1, "example.com", ".example.com", "bob@example.net"))
	servers := authority("Servers", root, testcert.Extension{ID: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: []byte("\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01")})

	ia5 := func(address string) []testcert.Text {
		return []testcert.Text{{Tag: cb.IA5String, Bytes: []byte(address)}}
	}
	for _, tt := range []struct {
		name     string
		template testcert.Template
		others   [][]byte
		chains   bool
	}{
		{"root's own", testcert.Template{Addresses: []string{"a@example.com"}}, nil, true},
		{"intermediate in the file", testcert.Template{Addresses: []string{"a@example.com"}, Issuer: middle}, [][]byte{middle.Certificate}, true},
		{"intermediate missing", testcert.Template{Addresses: []string{"a@example.com"}, Issuer: middle}, nil, false},
		{"foreign root in the file", testcert.Template{Addresses: []string{"a@example.com"}, Issuer: foreign}, [][]byte{foreign.Certificate}, false},
		{"not valid yet", testcert.Template{Addresses: []string{"a@example.com"}, NotBefore: now.AddDate(0, 0, 1)}, nil, true},
		{"expired", testcert.Template{Addresses: []string{"a@example.com"}, NotBefore: now.AddDate(-2, 0, 0)}, nil, false},
		{"issuer for servers", testcert.Template{Addresses: []string{"a@example.com"}, Issuer: servers}, [][]byte{servers.Certificate}, false},

		// The rfc822Name is for crypto/x509 to check, the others for us.
		{"permitted rfc822Name", testcert.Template{Addresses: []string{"a@example.com"}, Issuer: permits}, [][]byte{permits.Certificate}, true},
		{"other rfc822Name", testcert.Template{Addresses: []string{"a@example.org"}, Issuer: permits}, [][]byte{permits.Certificate}, false},
		{"permitted SmtpUTF8Mailbox", testcert.Template{Addresses: []string{"ä@Example.com"}, Issuer: permits}, [][]byte{permits.Certificate}, true},
		{"other SmtpUTF8Mailbox", testcert.Template{Addresses: []string{"ä@example.org"}, Issuer: permits}, [][]byte{permits.Certificate}, false},
		{"one of two", testcert.Template{Addresses: []string{"a@example.com", "ä@example.org"}, Issuer: permits}, [][]byte{permits.Certificate}, false},
		{"U-label under constraints", testcert.Template{Addresses: []string{"ä@bücher.example"}, Issuer: excludes}, [][]byte{excludes.Certificate}, false},
		{"permitted subject", testcert.Template{SubjectAddresses: ia5("a@example.com"), Issuer: permits}, [][]byte{permits.Certificate}, true},
		{"other subject", testcert.Template{SubjectAddresses: ia5("a@example.org"), Issuer: permits}, [][]byte{permits.Certificate}, false},
		{"excluded host", testcert.Template{Addresses: []string{"ä@example.com"}, Issuer: excludes}, [][]byte{excludes.Certificate}, false},
		{"excluded domain", testcert.Template{Addresses: []string{"ä@a.example.com"}, Issuer: excludes}, [][]byte{excludes.Certificate}, false},
		{"excluded mailbox", testcert.Template{SubjectAddresses: ia5("bob@example.net"), Issuer: excludes}, [][]byte{excludes.Certificate}, false},
		{"not excluded", testcert.Template{Addresses: []string{"ä@example.net"}, Issuer: excludes}, [][]byte{excludes.Certificate}, true},
		{"no address at all", testcert.Template{SubjectAddresses: ia5("nobody"), Issuer: permits}, [][]byte{permits.Certificate}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			roots := &Roots{}
			roots.Read(testcert.PEM(root.Certificate))
			cert, err := Parse(testcert.PEM(append(tt.others, testCertificate(t, tt.template))...))
			if err != nil {
				t.Fatal(err)
			}
			err = cert.Chains(roots, now)
			if tt.chains {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			checkRefusal(t, err, Untrusted)
		})
	}
}

// nameConstraints returns permitted (0) or excluded (1) addresses.
func nameConstraints(kind uint8, constraints ...string) testcert.Extension {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(cb.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cb.Tag(kind).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
			for _, constraint := range constraints {
				b.AddASN1(cb.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1(cb.Tag(1).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes([]byte(constraint)) })
				})
			}
		})
	})
	return testcert.Extension{ID: asn1.ObjectIdentifier{2, 5, 29, 30}, Critical: true, Value: b.BytesOrPanic()}
}

// TestNameConstraints holds what an authority with name constraints for mail may
// certify against what OpenSSL says of the same chain: the host form has no
// sub-domains (RFC 5280 section 4.2.1.10; PKITS 4.13.21 to 4.13.25), which
// crypto/x509 takes otherwise.
func TestNameConstraints(t *testing.T) {
	const permitted, excluded = 0, 1
	for name, tt := range map[string]struct {
		kind       uint8
		constraint string
		address    string
		chains     bool
	}{
		"host":                     {permitted, "example.com", "u@example.com", true},
		"host in capitals":         {permitted, "EXAMPLE.com", "u@example.COM", true},
		"sub-domain of a host":     {permitted, "example.com", "u@sub.example.com", false},
		"another host":             {permitted, "example.com", "u@example.org", false},
		"host with a longer name":  {permitted, "example.com", "u@notexample.com", false},
		"domain":                   {permitted, ".example.com", "u@sub.example.com", true},
		"domain, deeper":           {permitted, ".example.com", "u@a.sub.example.com", true},
		"the domain itself":        {permitted, ".example.com", "u@example.com", false},
		"mailbox":                  {permitted, "u@example.com", "u@example.com", true},
		"mailbox, domain in caps":  {permitted, "u@EXAMPLE.com", "u@example.com", true},
		"mailbox, local-part caps": {permitted, "U@example.com", "u@example.com", false},
		"another mailbox":          {permitted, "v@example.com", "u@example.com", false},
		"excluded host":            {excluded, "example.com", "u@example.com", false},
		"below an excluded host":   {excluded, "example.com", "u@sub.example.com", true},
		"excluded domain":          {excluded, ".example.com", "u@sub.example.com", false},
		"above an excluded domain": {excluded, ".example.com", "u@example.com", true},
		"excluded mailbox":         {excluded, "u@example.com", "u@example.com", false},
		"beside one":               {excluded, "v@example.com", "u@example.com", true},
	} {
		t.Run(name, func(t *testing.T) {
			issuer, err := testcert.NewAuthority("Constrained", nil, nameConstraints(tt.kind, tt.constraint))
			if err != nil {
				t.Fatal(err)
			}
			der := testCertificate(t, testcert.Template{Addresses: []string{tt.address}, Issuer: issuer})
			cert, err := Parse(der)
			if err != nil {
				t.Fatal(err)
			}
			roots := &Roots{}
			roots.Read(issuer.Certificate)
			if err := cert.Chains(roots, time.Now()); (err == nil) != tt.chains {
				t.Errorf("Chains: %v, want %v", err, tt.chains)
			}
			root, user := filepath.Join(t.TempDir(), "root"), filepath.Join(t.TempDir(), "user")
			for path, der := range map[string][]byte{root: issuer.Certificate, user: der} {
				if err := os.WriteFile(path, testcert.PEM(der), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if out, err := testcert.OpenSSL(nil, "verify", "-CAfile", root, "-no-CApath", "-no-CAstore", user); (err == nil) != tt.chains {
				t.Errorf("openssl verify says otherwise: %v %s", err, out)
			}
		})
	}
}
