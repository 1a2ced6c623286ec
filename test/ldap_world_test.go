package test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/discover/discovertest"
	"coredns-smimea/internal/harness"
)

// An authority issues certificates for the tests of mail programs, which want
// those of somebody.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// newAuthority makes one: a root if above is nil.
func newAuthority(t *testing.T, name string, above *authority) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().AddDate(-2, 0, 0), NotAfter: time.Now().AddDate(2, 0, 0),
	}
	a := &authority{key: key}
	if above == nil {
		above = &authority{template, key}
	}
	a.cert = above.sign(t, template, key.Public())
	return a
}

func (a *authority) sign(t *testing.T, template *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// user issues a certificate to encrypt to, of the RSA key of the tests.
func (a *authority) user(t *testing.T, address string, change ...func(*x509.Certificate)) []byte {
	t.Helper()
	key, err := rsaKey()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: strings.Split(address, "@")[0]}, EmailAddresses: []string{address},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0), BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	}
	for _, c := range change {
		c(template)
	}
	return a.sign(t, template, key.Public()).Raw
}

// server issues a certificate for the loopback address, and writes it and its key
// to files.
func (a *authority) server(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "127.0.0.1"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 1),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, key.Public())
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")
	writeBundle(t, certFile, cert.Raw)
	writePEM(t, keyFile, "PRIVATE KEY", pkcs8(t, key))
	return certFile, keyFile
}

func hasExpired(c *x509.Certificate) {
	c.NotBefore, c.NotAfter = time.Now().AddDate(-1, 0, 0), time.Now().AddDate(0, 0, -1)
}

func writeBundle(t *testing.T, path string, ders ...[]byte) {
	t.Helper()
	var text strings.Builder
	for _, der := range ders {
		pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	writeFile(t, path, text.String())
}

// A correspondence is who can be written to: hugh@example.com, of our own signed
// server; dave@example.net, of NSD with what smimea records prints, where too is the
// record of expired@example.net; alice@example.edu and erin@example.edu, whose
// authorities nobody knows, verified by usage 3 and 2; and anybody@example.org, whose zone is signed by
// another key than the one that is trusted.
type correspondence struct {
	root            *authority
	dir             string // of the certificates that our server publishes
	hugh, dave      []byte // DER
	nobody, house   *authority
	alice, erin     []byte // DER
	anchors, roots  string // files
	trust           string // file of the web server's certificate
	zones           []zoneAt
	unbound, direct string // whom to ask
}

func newCorrespondence(t *testing.T) *correspondence {
	t.Helper()
	c := &correspondence{root: newAuthority(t, "Test Root", nil)}
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	c.dir = in("certs")
	c.hugh = c.root.user(t, "hugh@example.com")
	c.dave = c.root.user(t, "dave@example.net")
	writeBundle(t, in("certs/hugh.crt"), c.hugh)
	writeBundle(t, in("nsd/dave.crt"), c.dave)
	c.roots = in("roots.pem")
	writeBundle(t, c.roots, c.root.cert.Raw)

	s := signing{dns.ECDSAP256SHA256, false}
	k, bogus, expected := newKeys(t, "example.com.", s), newKeys(t, "example.org.", s), newKeys(t, "example.org.", s)
	w, web := newWeb(t, "example.com")
	c.trust = w.trust
	options := "url https://{domain}:" + portOf(w.addr) + wellKnown + "{file}\n" + web
	db := in("db.example.com")
	writeFile(t, db, exampleSOA(1, 300)+"\nexample.com. 300 IN NS ns1.example.com.\nexample.com. 300 IN A 127.0.0.1\nns1.example.com. 300 IN A 127.0.0.1\n")
	c.direct = startServer(t, block("example.com", k.directive, smimea(in("certs"), options), "file "+db)+
		block("example.org", bogus.directive, smimea(in("certs"), "ns ns1.example.com"))).addr
	c.zones = []zoneAt{{"example.com.", c.direct, k.anchors("example.com.")}, {"example.org.", c.direct, expected.anchors("example.org.")}}

	// SMIMEA with the whole certificate needs no web server.
	zone := command(t, builtCommand(t), "records", "-zone", "example.net", "-ns", "ns.example.net=127.0.0.1", "-record", "3 0 0", "-url", "off", in("nsd"))
	zone += smimeaRecord("expired@example.net", 3, 0, c.root.user(t, "expired@example.net", hasExpired))

	// The authorities of the third domain come with the certificates.
	c.nobody, c.house = newAuthority(t, "Test Authority Nobody Knows", nil), newAuthority(t, "Test House Authority", nil)
	c.alice, c.erin = c.nobody.user(t, "alice@example.edu"), c.house.user(t, "erin@example.edu")
	writeBundle(t, in("edu/alice.pem"), c.alice, c.nobody.cert.Raw)
	writeBundle(t, in("edu/erin.pem"), c.erin, c.house.cert.Raw)
	edu := discovertest.ServeWeb(t, http.FileServer(http.Dir(in("edu"))), "example.edu")
	appendFile(t, c.trust, string(edu.RootsPEM))
	eduZone := "example.edu. 300 IN SOA ns.example.edu. h.example.edu. 1 7200 3600 1209600 300\nexample.edu. 300 IN NS ns.example.edu.\n" +
		"example.edu. 300 IN A 127.0.0.1\nns.example.edu. 300 IN A 127.0.0.1\n" +
		smimeaRecord("alice@example.edu", 3, 1, sha256Of(c.alice)) + smimeaRecord("erin@example.edu", 2, 1, sha256Of(c.house.cert.Raw))
	for _, user := range []string{"alice", "erin"} {
		eduZone += fmt.Sprintf("%s._smime.example.edu. 300 IN TXT \"https://example.edu:%s/%[1]s.pem\"\n", user, edu.Port)
	}
	signed := map[string]string{}
	for origin, text := range map[string]string{"example.net.": zone, "example.edu.": eduZone} {
		k := newKeys(t, origin, s)
		signed[origin] = signZone(t, k, origin, text)
		c.zones = append(c.zones, zoneAt{origin, "", k.anchors(origin)})
	}
	nsd := startNSD(t, signed)
	for i := range c.zones {
		if c.zones[i].addr == "" {
			c.zones[i].addr = nsd
		}
	}

	c.unbound = startUnbound(t, c.zones)
	c.anchors = in("anchors")
	var text strings.Builder
	for _, z := range c.zones {
		for _, key := range z.anchors {
			text.WriteString(key.String() + "\n")
		}
	}
	writeFile(t, c.anchors, text.String())
	return c
}

// smimeaRecord is a record of selector 0, in a zone file.
func smimeaRecord(address string, usage, matching uint8, data []byte) string {
	local, domain, _ := strings.Cut(address, "@")
	rr := &dns.SMIMEA{
		Hdr:   dns.RR_Header{Name: hashOwner(local, domain+"."), Rrtype: dns.TypeSMIMEA, Class: dns.ClassINET, Ttl: 300},
		Usage: usage, MatchingType: matching, Certificate: fmt.Sprintf("%x", data),
	}
	return rr.String() + "\n"
}

func sha256Of(data []byte) []byte {
	sum := sha256.Sum256(data)
	return sum[:]
}

// signZone signs a zone file with keys.
func signZone(t *testing.T, k *keys, origin, text string) string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "db"), text)
	command(t, "ldns-signzone", "-o", origin, "-f", filepath.Join(dir, "signed"), filepath.Join(dir, "db"), strings.Fields(k.directive)[4])
	signed, err := os.ReadFile(filepath.Join(dir, "signed"))
	if err != nil {
		t.Fatal(err)
	}
	return string(signed)
}

func appendFile(t *testing.T, path, text string) {
	t.Helper()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, string(before)+text)
}

// publish adds a certificate to those of our server, and waits until it is there.
func (c *correspondence) publish(t *testing.T, der []byte, addresses []string) {
	t.Helper()
	writeBundle(t, filepath.Join(c.dir, "new.crt"), der)
	last, _, _ := strings.Cut(addresses[len(addresses)-1], "@")
	waitFor(t, "the new certificate", func() bool {
		m, _ := ask(t, c.direct, question{name: hashOwner(last, "example.com."), qtype: dns.TypeSMIMEA, tcp: true})
		return len(m.Answer) > 0
	})
}

// A gateway is a running smimea ldap.
type gateway struct {
	*harness.Process
	addr   string // of ldap://
	secure string // of ldaps://, if there is one
}

var listening = regexp.MustCompile(`listening on (ldaps?)://(\S+)`)

// startGateway runs smimea ldap until the test ends.
func startGateway(t *testing.T, environment []string, args ...string) *gateway {
	t.Helper()
	want := 1 + strings.Count(strings.Join(args, " "), "ldaps://")
	cmd := exec.Command(builtCommand(t), append([]string{"ldap", "-listen", "ldap://127.0.0.1:0"}, args...)...)
	cmd.Env = append(os.Environ(), environment...)
	log := &harness.Log{}
	p, err := harness.Start(cmd, log)
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{Process: p}
	if err := p.Until("the LDAP server", harness.Patience, func() bool { return len(listening.FindAllString(log.String(), -1)) == want }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Errorf("%v\n%s", err, log)
		}
		if strings.Contains(log.String(), "panic") {
			t.Errorf("smimea ldap panicked:\n%s", log)
		}
	})
	for _, match := range listening.FindAllStringSubmatch(log.String(), -1) {
		if match[1] == "ldaps" {
			g.secure = match[2]
		} else {
			g.addr = match[2]
		}
	}
	return g
}

// gateway runs smimea ldap over the correspondence, asking a server.
func (c *correspondence) gateway(t *testing.T, server string, args ...string) *gateway {
	t.Helper()
	return startGateway(t, []string{"SSL_CERT_FILE=" + c.trust},
		append([]string{"-server", server, "-anchor", c.anchors, "-roots", c.roots, "-allow-private"}, args...)...)
}

func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
