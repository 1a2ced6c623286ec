package revocation

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"coredns-smimea/certsource"
)

// An authority issues certificates and lists.
type authority struct {
	*testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{T: t, key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	a.cert = a.certificate(template, template)
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) certificate(template, parent *x509.Certificate) *x509.Certificate {
	a.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &a.key.PublicKey, a.key)
	if err != nil {
		a.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.Fatal(err)
	}
	return cert
}

// issue returns a certificate with a serial number, in DER.
func (a *authority) issue(serial int64) []byte {
	a.Helper()
	return a.certificate(&x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), EmailAddresses: []string{"u@example.org"},
	}, a.cert).Raw
}

// list returns a list with a number, changed by some.
func (a *authority) list(number int64, entries []x509.RevocationListEntry, some ...func(*x509.RevocationList)) []byte {
	a.Helper()
	template := &x509.RevocationList{
		Number: big.NewInt(number), ThisUpdate: time.Now().Add(time.Duration(number) * time.Second), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: entries,
	}
	for _, change := range some {
		change(template)
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.cert, a.key)
	if err != nil {
		a.Fatal(err)
	}
	return der
}

func revoked(reason int, serials ...int64) (entries []x509.RevocationListEntry) {
	for _, serial := range serials {
		entries = append(entries, x509.RevocationListEntry{
			SerialNumber: big.NewInt(serial), RevocationTime: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), ReasonCode: reason,
		})
	}
	return entries
}

func extended(x pkix.Extension) func(*x509.RevocationList) {
	return func(l *x509.RevocationList) { l.ExtraExtensions = append(l.ExtraExtensions, x) }
}

// verified returns a list, verified by its authority.
func (a *authority) verified(der []byte) Verified {
	a.Helper()
	l, err := Parse(der)
	if err != nil {
		a.Fatal(err)
	}
	v, err := Verify(l, []*x509.Certificate{a.cert})
	if err != nil {
		a.Fatal(err)
	}
	return v
}

// TestRevoked revokes one of two certificates, holds it, and lets it go.
func TestRevoked(t *testing.T) {
	a := newAuthority(t, "A")
	one, two := a.issue(7), a.issue(8)
	s := NewSet([]Verified{a.verified(a.list(1, revoked(1, 9, 7, 1<<40)))})
	r := s.Revoked(one)
	if r == nil || r.Reason != certsource.Revoked || !strings.Contains(r.Error(), "on 2026-03-01, keyCompromise") {
		t.Errorf("a revoked certificate: %v", r)
	}
	if r := s.Revoked(two); r != nil {
		t.Errorf("another certificate: %v", r)
	}
	for _, c := range []struct {
		der  []byte
		want bool
	}{{one, true}, {two, false}} {
		if id, ok := IDOf(c.der); !ok || s.Concerns(id) != c.want {
			t.Errorf("concerns: %v, want %v", !c.want, c.want)
		}
	}
	s = NewSet([]Verified{a.verified(a.list(1, revoked(6, 7))), a.verified(a.list(2, revoked(8, 7)))})
	if r := s.Revoked(one); r != nil {
		t.Errorf("a certificate that is held no more: %v", r)
	}
	s = NewSet([]Verified{a.verified(a.list(3, revoked(6, 7))), a.verified(a.list(2, nil))})
	if r := s.Revoked(one); r == nil || !strings.Contains(r.Error(), "certificateHold") {
		t.Errorf("a certificate that is held by a newer list: %v", r)
	}
	var none *Set
	if none.Revoked(one) != nil || none.Concerns(1) {
		t.Error("no list revokes something")
	}
}

// TestScopes holds that lists of different parts of the certificates add up.
func TestScopes(t *testing.T) {
	a := newAuthority(t, "A")
	scope := func(users bool) func(*x509.RevocationList) {
		tag := byte(0x81)
		if !users {
			tag = 0x82
		}
		return extended(pkix.Extension{Id: idDistributionPoint, Critical: true, Value: []byte{0x30, 3, tag, 1, 0xff}})
	}
	s := NewSet([]Verified{a.verified(a.list(1, revoked(0, 7), scope(true))), a.verified(a.list(2, nil, scope(false)))})
	if s.Revoked(a.issue(7)) == nil {
		t.Error("a list of authorities has replaced one of users")
	}
}

// TestOtherKey holds that a list counts that another key of the issuer has signed, if the
// key of the certificates has certified that: one for lists only, or a new one.
func TestOtherKey(t *testing.T) {
	for name, change := range map[string]func(*x509.Certificate){
		"a key for lists": func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageCRLSign },
		"a new key":       func(*x509.Certificate) {},
	} {
		a, other := newAuthority(t, "A"), newAuthority(t, "A")
		mine, list := a.issue(7), other.list(1, revoked(1, 7))
		template := *other.cert
		template.SubjectKeyId, template.AuthorityKeyId = other.cert.SubjectKeyId, nil
		change(&template)
		der, err := x509.CreateCertificate(rand.Reader, &template, a.cert, &other.key.PublicKey, a.key)
		if err != nil {
			t.Fatal(err)
		}
		certified, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		l, err := Parse(list)
		if err != nil {
			t.Fatal(err)
		}
		v, err := Verify(l, []*x509.Certificate{certified, a.cert})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if NewSet([]Verified{v}).Revoked(mine) == nil {
			t.Errorf("%s: the list does not count", name)
		}
		// It does not where the key of the certificates is not known to vouch for it.
		if v, err = Verify(l, []*x509.Certificate{certified}); err != nil || NewSet([]Verified{v}).Revoked(mine) != nil {
			t.Errorf("%s: the list counts by itself, %v", name, err)
		}
		if v, err = Verify(l, []*x509.Certificate{other.cert, a.cert}); err != nil || NewSet([]Verified{v}).Revoked(mine) != nil {
			t.Errorf("%s: the list of a stranger counts, %v", name, err)
		}
	}
}

// TestBegun holds that clocks may differ a little.
func TestBegun(t *testing.T) {
	a := newAuthority(t, "A")
	l := a.verified(a.list(0, nil))
	for before, ok := range map[time.Duration]bool{0: true, Skew: true, Skew + time.Second: false} {
		if err := l.Begun(l.ThisUpdate.Add(-before)); (err == nil) != ok {
			t.Errorf("%v before it was issued: %v", before, err)
		}
	}
}

// TestStranger holds that a list counts only for what its own key has signed.
func TestStranger(t *testing.T) {
	a, stranger := newAuthority(t, "A"), newAuthority(t, "A")
	mine := a.issue(7)
	theirs := stranger.list(1, revoked(1, 7))
	l, err := Parse(theirs)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(l, []*x509.Certificate{a.cert}); err == nil || !strings.Contains(err.Error(), "signature") {
		t.Errorf("a list with another key's signature: %v", err)
	}
	if _, err := Verify(l, []*x509.Certificate{newAuthority(t, "B").cert}); err != ErrIssuer {
		t.Errorf("a list of an issuer that is not known: %v", err)
	}
	// The stranger's certificate has got among those that are known.
	v, err := Verify(l, []*x509.Certificate{a.cert, stranger.cert})
	if err != nil {
		t.Fatal(err)
	}
	s := NewSet([]Verified{v, a.verified(a.list(2, nil))})
	if r := s.Revoked(mine); r != nil {
		t.Errorf("a stranger has revoked a certificate: %v", r)
	}
	if s.Revoked(stranger.issue(7)) == nil {
		t.Error("the stranger's own certificate is not revoked")
	}
	if s := NewSet([]Verified{a.verified(a.list(1, revoked(1, 7))), {List: l, Issuer: stranger.cert}}); s.Revoked(mine) == nil {
		t.Error("a stranger's list has taken the place of the issuer's")
	}
}

// TestRefusedLists holds what no list may be, and that the error says so.
func TestRefusedLists(t *testing.T) {
	a := newAuthority(t, "A")
	good := a.list(1, revoked(1, 7))
	point := func(tag byte) []byte {
		return a.list(1, nil, extended(pkix.Extension{Id: idDistributionPoint, Critical: true, Value: []byte{0x30, 3, tag, 1, 0xff}}))
	}
	number, _ := asn1.Marshal(1)
	ofOthers := revoked(1, 7)
	ofOthers[0].ExtraExtensions = []pkix.Extension{{Id: []int{2, 5, 29, 29}, Critical: true, Value: []byte{0x30, 0}}}
	odd := revoked(1, 7)
	odd[0].ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3}, Critical: true, Value: []byte{0x05, 0}}}
	for name, c := range map[string]struct {
		der  []byte
		want string
	}{
		"delta":          {a.list(1, nil, extended(pkix.Extension{Id: idDelta, Critical: true, Value: number})), "delta list"},
		"indirect":       {point(0x84), "indirect list"},
		"attributes":     {point(0x85), "attribute certificates"},
		"critical":       {a.list(1, nil, extended(pkix.Extension{Id: []int{1, 2, 3}, Critical: true, Value: number})), "critical extension"},
		"entry indirect": {a.list(1, ofOthers), "indirect list"},
		"entry critical": {a.list(1, odd), "critical extension"},
		"certificate":    {a.cert.Raw, "something else"},
		"empty":          {nil, "no certificate revocation list"},
		"cut off":        {good[:len(good)-1], "damaged"},
		"longer":         {append(good[:len(good):len(good)], 0), "damaged"},
	} {
		if _, err := Parse(c.der); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want it to say %q", name, err, c.want)
		}
	}
}

// TestRead reads files as they come: DER, and PEM with an issuer and text.
func TestRead(t *testing.T) {
	a := newAuthority(t, "A")
	der := a.list(1, revoked(1, 7))
	list := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
	issuer := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	for name, data := range map[string][]byte{"DER": der, "PEM": list, "both": append(append([]byte("the list of A\n"), list...), issuer...),
		"mark":               append([]byte("\xef\xbb\xbf"), list...),
		"CRLF":               bytes.ReplaceAll(list, []byte("\n"), []byte("\r\n")),
		"CR":                 bytes.ReplaceAll(list, []byte("\n"), []byte("\r")),
		"indented":           bytes.ReplaceAll(list, []byte("\n"), []byte("\n  ")),
		"joined":             append(bytes.TrimSpace(issuer), list...),
		"DER and a line end": append(der[:len(der):len(der)], "\r\n"...),
		"header":             bytes.Replace(list, []byte("CRL-----\n"), []byte("CRL-----\nComment: today\n\n"), 1),
		"trusted":            append(list[:len(list):len(list)], pem.EncodeToMemory(&pem.Block{Type: "TRUSTED CERTIFICATE", Bytes: append(a.cert.Raw[:len(a.cert.Raw):len(a.cert.Raw)], 0x30, 0)})...),
	} {
		lists, issuers, err := Read(data)
		if err != nil || len(lists) != 1 || lists[0].Len() != 1 || len(issuers) != strings.Count(string(data), "-----BEGIN ")-strings.Count(string(data), "BEGIN X509 CRL") {
			t.Errorf("%s: %d lists, %d issuers, %v", name, len(lists), len(issuers), err)
		}
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"no list": {issuer, "no list in it"},
		"cut off": {list[:200], "damaged"},
		"torn":    {append(list[:len(list):len(list)], list[:len(list)-20]...), "damaged"},
		"text":    {[]byte("hello"), "no certificate revocation list"},
		"a key":   {append(list[:len(list):len(list)], "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"...), "a private key is in it"},
		"large":   {make([]byte, MaxSize+1), "larger than"},
	} {
		if _, _, err := Read(c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want it to say %q", name, err, c.want)
		}
	}
}

// TestPoints finds where certificates say that lists are.
func TestPoints(t *testing.T) {
	a := newAuthority(t, "A")
	want := []string{"http://crl.example.org/a.crl", "ldap:///cn=a"}
	cert := a.certificate(&x509.Certificate{
		SerialNumber: big.NewInt(7), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), CRLDistributionPoints: want,
	}, a.cert)
	if got := Points(cert.Raw); !slices.Equal(got, want) {
		t.Errorf("points %q, want %q", got, want)
	}
	if got := Points(a.issue(8)); got != nil {
		t.Errorf("points %q of a certificate without", got)
	}
}

// TestMayNotSign holds that a user cannot issue lists.
func TestMayNotSign(t *testing.T) {
	a := newAuthority(t, "A")
	der := a.list(1, revoked(1, 7))
	l, err := Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	user := *a.cert
	user.KeyUsage = x509.KeyUsageDigitalSignature
	if err := l.SignedBy(&user); err == nil {
		t.Error("a certificate that must not sign lists has signed one")
	}
}

// FuzzRead holds that no file does harm, and that a list is what crypto/x509 makes of it.
func FuzzRead(f *testing.F) {
	t := &testing.T{}
	a := newAuthority(t, "A")
	der := a.list(1, revoked(1, 7, 8, 1<<40))
	f.Add(der)
	f.Add(a.list(2, nil))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
	f.Add(a.cert.Raw)
	f.Fuzz(func(t *testing.T, data []byte) {
		IDOf(data)
		Points(data)
		lists, _, err := Read(data)
		if err != nil {
			return
		}
		for _, l := range lists {
			l.Newer(l)
			NewSet([]Verified{{List: l, Issuer: a.cert}}).Revoked(a.cert.Raw)
			theirs, err := x509.ParseRevocationList(l.Raw)
			if err != nil {
				continue // an odd serial number, say
			}
			most := len(theirs.RevokedCertificateEntries)
			if l.Len() > most || !l.ThisUpdate.Equal(theirs.ThisUpdate) || !l.NextUpdate.Equal(theirs.NextUpdate) {
				t.Errorf("%d entries, %v to %v; crypto/x509 has %d, %v to %v", l.Len(), l.ThisUpdate, l.NextUpdate, most, theirs.ThisUpdate, theirs.NextUpdate)
			}
			if (l.SignedBy(a.cert) == nil) != (theirs.CheckSignatureFrom(a.cert) == nil && l.Names(a.cert)) {
				t.Error("another verdict on the signature than crypto/x509's")
			}
		}
	})
}

// BenchmarkParse reads a list of a million certificates.
func BenchmarkParse(b *testing.B) {
	key := newKey(b)
	issuer := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "A"}, SubjectKeyId: []byte{1}, KeyUsage: x509.KeyUsageCRLSign,
	}
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for i := range int64(1_000_000) {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: new(big.Int).Lsh(big.NewInt(i+1), 64), RevocationTime: time.Now(), ReasonCode: 1,
		})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, issuer, key)
	if err != nil {
		b.Fatal(err)
	}
	template = nil
	b.ReportAllocs()
	b.SetBytes(int64(len(der)))
	for b.Loop() {
		if l, err := Parse(der); err != nil || l.Len() != 1_000_000 {
			b.Fatal(err)
		}
	}
}
