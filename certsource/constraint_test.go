package certsource

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cb "golang.org/x/crypto/cryptobyte/asn1"

	"coredns-smimea/internal/testcert"
)

// TestOtherConstraints holds constraints of other names than addresses, and addresses
// that stand in the subject, against what OpenSSL says of the same chain.
func TestOtherConstraints(t *testing.T) {
	directory := func(tag cb.Tag, name string) []byte {
		b := cryptobyte.NewBuilder(nil)
		b.AddASN1(tagDirectoryName, func(b *cryptobyte.Builder) {
			b.AddASN1(cb.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(cb.SET, func(b *cryptobyte.Builder) {
					b.AddASN1(cb.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{2, 5, 4, 3})
						b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes([]byte(name)) })
					})
				})
			})
		})
		return b.BytesOrPanic()
	}
	staff := directory(cb.UTF8String, "Staff")
	mail := func(host string) []byte { return append([]byte{0x81, byte(len(host))}, host...) }
	upn := func(text string) []byte { // of Microsoft's logon names
		b := cryptobyte.NewBuilder(nil)
		b.AddASN1(tagOtherName, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 3})
			b.AddASN1(tagOtherValue, func(b *cryptobyte.Builder) {
				b.AddASN1(cb.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(text)) })
			})
		})
		return b.BytesOrPanic()
	}
	user := func(name string) testcert.Template {
		return testcert.Template{CommonName: name, Addresses: []string{"u@example.com"}}
	}
	alsoInSubject := user("Staff")
	alsoInSubject.SubjectAddresses = []testcert.Text{{Tag: cb.IA5String, Bytes: []byte("u@example.org")}}
	named := func(names ...[]byte) testcert.Template {
		b := cryptobyte.NewBuilder(nil)
		b.AddASN1(cb.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, name := range append(names, mail("u@example.com")) {
				b.AddBytes(name)
			}
		})
		return testcert.Template{CommonName: "Staff", Extensions: []testcert.Extension{{ID: testcert.SubjectAltName, Value: b.BytesOrPanic()}}}
	}
	for name, tt := range map[string]struct {
		constraints testcert.Extension
		template    testcert.Template
		chains      bool
	}{
		"directory name":              {subtrees(true, tagPermitted, staff), user("Staff"), true},
		"with an address":             {subtrees(true, tagPermitted, staff, mail("example.com")), user("Staff"), true},
		"of another address":          {subtrees(true, tagPermitted, staff, mail("example.org")), user("Staff"), false},
		"written otherwise":           {subtrees(true, tagPermitted, directory(cb.PrintableString, " STAFF")), user("staff"), true},
		"another":                     {subtrees(true, tagPermitted, staff), user("Guest"), false},
		"another, not critical":       {subtrees(false, tagPermitted, staff), user("Guest"), false},
		"excluded":                    {subtrees(true, tagExcluded, staff), user("Staff"), false},
		"not excluded":                {subtrees(true, tagExcluded, staff), user("Guest"), true},
		"excluded beside the subject": {subtrees(true, tagExcluded, directory(cb.UTF8String, "Guest")), named(directory(cb.UTF8String, "Guest")), false},
		"address of the subject":      {subtrees(true, tagPermitted, mail("example.com")), alsoInSubject, false},
		"least distance of 0":         {subtrees(true, tagPermitted, append(slices.Clone(staff), 0x80, 1, 0)), user("Staff"), true},
		"least distance of 1":         {subtrees(false, tagPermitted, append(slices.Clone(staff), 0x80, 1, 1)), user("Staff"), false},
		"of names that are not there": {subtrees(true, tagPermitted, upn("@example.com")), user("Staff"), true},
		"of names that are there":     {subtrees(true, tagPermitted, upn("@example.com")), named(upn("u@example.com")), false},
		"the same, not critical":      {subtrees(false, tagPermitted, upn("@example.com")), named(upn("u@example.com")), false},
	} {
		t.Run(name, func(t *testing.T) {
			root := testcert.Shared()
			issuer, err := testcert.NewAuthority("Constrained", root, tt.constraints)
			if err != nil {
				t.Fatal(err)
			}
			tt.template.Issuer = issuer
			der := testCertificate(t, tt.template)
			cert, err := Parse(testcert.PEM(der, issuer.Certificate))
			if err != nil {
				t.Fatal(err)
			}
			roots := &Roots{}
			roots.Read(root.Certificate)
			if err := cert.Chains(roots, time.Now()); (err == nil) != tt.chains {
				t.Errorf("below a root: %v, want %v", err, tt.chains)
			}
			roots = &Roots{}
			roots.Read(issuer.Certificate)
			if err := cert.Chains(roots, time.Now()); (err == nil) != tt.chains {
				t.Errorf("of a root: %v, want %v", err, tt.chains)
			}
			dir := t.TempDir()
			files := map[string][]byte{"root": root.Certificate, "issuer": issuer.Certificate, "user": der}
			for name, der := range files {
				if err := os.WriteFile(filepath.Join(dir, name), testcert.PEM(der), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			out, err := testcert.OpenSSL(nil, "verify", "-CAfile", filepath.Join(dir, "root"), "-no-CApath", "-no-CAstore",
				"-untrusted", filepath.Join(dir, "issuer"), filepath.Join(dir, "user"))
			if (err == nil) != tt.chains {
				t.Errorf("openssl verify says otherwise: %v %s", err, out)
			}
		})
	}
}

// subtrees returns name constraints, permitted or excluded.
func subtrees(critical bool, tag cb.Tag, bases ...[]byte) testcert.Extension {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(cb.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(tag, func(b *cryptobyte.Builder) {
			for _, base := range bases {
				b.AddASN1(cb.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(base) })
			}
		})
	})
	return testcert.Extension{ID: oidNameConstraints, Critical: critical, Value: b.BytesOrPanic()}
}

// TestManyConstraints gives up where names and constraints come by the thousand.
func TestManyConstraints(t *testing.T) {
	var hosts, addresses []string
	for i := range 1000 {
		hosts = append(hosts, fmt.Sprintf("h%d.example", i))
		addresses = append(addresses, fmt.Sprintf("u%d@example.com", i))
	}
	chain := []*x509.Certificate{{}, {ExcludedEmailAddresses: hosts}}
	if why := Excluded(addresses[:200], chain); why != "" {
		t.Errorf("200 addresses: %s", why)
	}
	if why := Excluded(addresses, chain); !strings.Contains(why, "too many") {
		t.Errorf("1000 addresses: %q", why)
	}
}

// FuzzExcluded reads name constraints, and the names that they are of, as strangers send
// them.
func FuzzExcluded(f *testing.F) {
	subject := []byte("\x30\x0c\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x0c\x01a")
	name := append([]byte{0xa4, byte(len(subject))}, subject...)
	names := append([]byte{0x30, byte(len(name))}, name...)
	f.Add(subtrees(true, tagPermitted, name).Value, subject, names)
	f.Add(subtrees(true, tagExcluded, name).Value, subject, names)
	f.Fuzz(func(t *testing.T, constraints, subject, names []byte) {
		user := &x509.Certificate{RawSubject: subject, Extensions: []pkix.Extension{{Id: oidAltNames, Value: names}}}
		issuer := &x509.Certificate{Extensions: []pkix.Extension{{Id: oidNameConstraints, Value: constraints}}}
		if why := Excluded(nil, []*x509.Certificate{user, {}}); why != "" {
			t.Errorf("without constraints: %s", why)
		}
		Excluded([]string{"u@example.com"}, []*x509.Certificate{user, issuer})
		Excluded([]string{"u@example.com"}, []*x509.Certificate{user, user, issuer, issuer})
	})
}
