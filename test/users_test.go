package test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A cert describes a certificate to make.
type cert struct {
	addresses []string
	subject   string // name and e-mail address in the subject, no SAN
	utf8      string // SmtpUTF8Mailbox
	rsa       bool
	usage     x509.KeyUsage // 0: digitalSignature, and what encrypts
	eku       []x509.ExtKeyUsage
	ca        bool
	notBefore time.Time // zero: an hour ago
	notAfter  time.Time // zero: in a year
}

// rsaKey is one key for all RSA certificates: to make one takes long.
var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// make returns the self-signed certificate and its key, DER.
func (c cert) make(t testing.TB) (der, key []byte) {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:   serial,
		Subject:        pkix.Name{CommonName: "A User"},
		NotBefore:      time.Now().Add(-time.Hour),
		NotAfter:       time.Now().AddDate(1, 0, 0),
		KeyUsage:       c.usage,
		ExtKeyUsage:    c.eku,
		EmailAddresses: c.addresses,
		IsCA:           c.ca,

		BasicConstraintsValid: true,
	}
	if !c.notBefore.IsZero() {
		template.NotBefore = c.notBefore
	}
	if !c.notAfter.IsZero() {
		template.NotAfter = c.notAfter
	}
	if c.subject != "" {
		template.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}, Value: c.subject}}
	}
	if c.utf8 != "" {
		template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: mailboxSAN(t, c.utf8)}}
	}
	var signer crypto.Signer
	if c.rsa {
		signer, err = rsaKey()
	} else {
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	if c.usage == 0 {
		template.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement
		if c.rsa {
			template.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
		}
	}
	if c.eku == nil {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}
	}
	if der, err = x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer); err != nil {
		t.Fatal(err)
	}
	if key, err = x509.MarshalPKCS8PrivateKey(signer); err != nil {
		t.Fatal(err)
	}
	return der, key
}

// mailboxSAN is a subjectAltName with one SmtpUTF8Mailbox (RFC 9598).
func mailboxSAN(t testing.TB, address string) []byte {
	t.Helper()
	type otherName struct {
		ID    asn1.ObjectIdentifier
		Value asn1.RawValue // [0] EXPLICIT
	}
	text, err := asn1.MarshalWithParams(address, "utf8")
	if err != nil {
		t.Fatal(err)
	}
	name, err := asn1.MarshalWithParams(otherName{asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 9}, asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: text}}, "tag:0")
	if err != nil {
		t.Fatal(err)
	}
	san, err := asn1.Marshal([]asn1.RawValue{{FullBytes: name}})
	if err != nil {
		t.Fatal(err)
	}
	return san
}

// write makes the certificate and writes it as PEM to path.
func (c cert) write(t testing.TB, path string) {
	t.Helper()
	der, _ := c.make(t)
	writePEM(t, path, "CERTIFICATE", der)
}

func writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A publication is one certificate at one address as the tests expect it, put down
// by hand: what is left to compute, openssl computes.
type publication struct {
	file  string
	local string   // the local-part whose hash is an owner
	text  []string // labels of the TXT owner below _smime; nil: no TXT
}

// users fills a directory for the mail domain and returns what is to be published
// of it there. Each file tests a rule of what is published.
func users(t *testing.T, dir, domain string) []publication {
	t.Helper()
	in := func(file string) string { return filepath.Join(dir, file) }
	at := func(locals ...string) []string {
		for i := range locals {
			locals[i] += "@" + domain
		}
		return locals
	}
	encrypt, sign := x509.KeyUsageKeyAgreement, x509.KeyUsageDigitalSignature
	// Published.
	cert{addresses: at("alice"), rsa: true}.write(t, in("alice.crt"))
	cert{addresses: at("Bob.Jones")}.write(t, in("sales/Bob.Jones.pem"))
	cert{addresses: at("carol", "carol.m.smith")}.write(t, in("two addresses.pem"))
	cert{addresses: at("dave"), usage: encrypt}.write(t, in("dave-2026.cer"))
	cert{addresses: at("dave"), rsa: true}.write(t, in("dave-2025.cer"))
	cert{addresses: at("erin"), usage: sign}.write(t, in("erin-signs-only.PEM"))
	cert{addresses: at("mary+ext")}.write(t, in("mary+ext.pem"))
	cert{addresses: at("o'brien")}.write(t, in("o'brien.pem"))
	cert{addresses: at("*")}.write(t, in("star.pem"))
	cert{addresses: at(`"a b"`)}.write(t, in("quoted.pem"))
	cert{addresses: at(strings.Repeat("x", 64))}.write(t, in("long.pem"))
	cert{utf8: "jörg@" + domain}.write(t, in("jörg.pem"))
	cert{subject: "subject@" + domain}.write(t, in("subject.pem"))
	cert{addresses: at("soon"), notBefore: time.Now().AddDate(0, 0, 1)}.write(t, in("soon.pem"))
	// Another domain's user beside one of ours.
	cert{addresses: []string{"frank@" + domain, "frank@other.test"}}.write(t, in("frank.pem"))
	der, _ := cert{addresses: at("grace")}.make(t)
	if err := os.WriteFile(in("grace.der"), der, 0o644); err != nil {
		t.Fatal(err)
	}
	// Not published.
	cert{addresses: at("expired"), notAfter: time.Now().Add(-time.Minute)}.write(t, in("expired.pem"))
	cert{addresses: at("withdrawn"), notAfter: time.Now().Add(time.Minute)}.write(t, in("ends-within-ttl.pem"))
	cert{addresses: at("authority"), ca: true}.write(t, in("authority.pem"))
	cert{addresses: at("server"), eku: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}.write(t, in("server.pem"))
	cert{}.write(t, in("no-address.pem"))
	cert{addresses: at("hidden")}.write(t, in(".hidden.pem"))
	cert{addresses: at("hidden")}.write(t, in(".git/hidden.pem"))
	cert{addresses: at("text")}.write(t, in("text.txt"))
	writeFile(t, in("rubbish.pem"), "not a certificate\n")
	der, key := cert{addresses: at("secret")}.make(t)
	writePEM(t, in("secret.pem"), "CERTIFICATE", der)
	f, err := os.OpenFile(in("secret.pem"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := pem.Encode(f, &pem.Block{Type: "PRIVATE KEY", Bytes: key}); err != nil {
		t.Fatal(err)
	}

	return []publication{
		{"alice.crt", "alice", []string{"alice"}},
		{"sales/Bob.Jones.pem", "Bob.Jones", []string{"bob", "jones"}},
		{"sales/Bob.Jones.pem", "bob.jones", []string{"bob", "jones"}},
		{"two addresses.pem", "carol", []string{"carol"}},
		{"two addresses.pem", "carol.m.smith", []string{"carol", "m", "smith"}},
		{"dave-2026.cer", "dave", []string{"dave"}},
		{"dave-2025.cer", "dave", []string{"dave"}},
		{"erin-signs-only.PEM", "erin", nil},
		{"mary+ext.pem", "mary+ext", []string{"mary+ext"}},
		{"o'brien.pem", "o'brien", []string{"o'brien"}},
		{"star.pem", "*", nil},
		{"quoted.pem", "a b", nil},
		{"long.pem", strings.Repeat("x", 64), nil},
		{"jörg.pem", "jörg", nil},
		{"subject.pem", "subject", []string{"subject"}},
		{"soon.pem", "soon", []string{"soon"}},
		{"frank.pem", "frank", []string{"frank"}},
		{"grace.der", "grace", []string{"grace"}},
	}
}

// unpublished are local-parts of users that are in the directory and not published.
var unpublished = []string{"expired", "withdrawn", "authority", "server", "hidden", "text", "secret"}

// hashOwner is the SMIMEA owner of an unquoted local-part (RFC 8162, Section 3).
func hashOwner(local, domain string) string {
	sum := sha256.Sum256([]byte(local))
	return hex.EncodeToString(sum[:28]) + "._smimecert." + domain
}

// textOwner is the TXT owner of a local-part's labels.
func textOwner(labels []string, domain string) string {
	return strings.Join(labels, ".") + "._smime." + domain
}

// records returns the RRs that publications stand for, at a TTL of 1h, with the
// SMIMEA forms given, each as "3 1 1".
func records(t *testing.T, dir, domain string, pubs []publication, forms ...string) []dns.RR {
	t.Helper()
	var rrs []dns.RR
	seen := map[string]bool{}
	add := func(rr dns.RR) {
		if key := record(t, rr); !seen[key] {
			seen[key] = true
			rrs = append(rrs, rr)
		}
	}
	header := func(owner string, rtype uint16) dns.RR_Header {
		return dns.RR_Header{Name: owner, Rrtype: rtype, Class: dns.ClassINET, Ttl: 3600}
	}
	for _, p := range pubs {
		for _, form := range forms {
			rr := &dns.SMIMEA{Hdr: header(hashOwner(p.local, domain), dns.TypeSMIMEA)}
			if _, err := fmt.Sscan(form, &rr.Usage, &rr.Selector, &rr.MatchingType); err != nil {
				t.Fatal(err)
			}
			rr.Certificate = opensslData(t, filepath.Join(dir, p.file), rr.Selector, rr.MatchingType)
			add(rr)
		}
		if p.text != nil {
			u := "https://" + strings.TrimSuffix(domain, ".") + "/.well-known/smime/" + pathEscape(p.file)
			add(&dns.TXT{Hdr: header(textOwner(p.text, domain), dns.TypeTXT), Txt: []string{u}})
		}
	}
	return rrs
}

// pathEscape escapes all but the unreserved characters of RFC 3986, and slashes.
func pathEscape(path string) string {
	var b strings.Builder
	for i := range len(path) {
		c := path[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~/", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// opensslData has openssl compute the certificate association data, in hexadecimal.
func opensslData(t *testing.T, file string, selector, matching uint8) string {
	t.Helper()
	data := fmt.Sprintf("openssl x509 -in %s", shellQuote(file))
	if selector == 1 {
		data += " -noout -pubkey | openssl pkey -pubin -outform der"
	} else {
		data += " -outform der"
	}
	switch matching {
	case 0:
		data += " | od -An -v -tx1"
	case 1:
		data += " | openssl dgst -sha256 -r | cut -d' ' -f1"
	case 2:
		data += " | openssl dgst -sha512 -r | cut -d' ' -f1"
	}
	return strings.Join(strings.Fields(command(t, "sh", "-c", data)), "")
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
