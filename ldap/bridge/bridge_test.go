package bridge

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"coredns-smimea/internal/testcert"
)

// An issuer is an authority that nobody knows.
type issuer struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(t *testing.T, name string, changes ...func(*x509.Certificate)) *issuer {
	t.Helper()
	i := &issuer{t: t}
	var err error
	if i.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	for _, change := range changes {
		change(template)
	}
	i.cert = i.sign(template, template, i.key)
	return i
}

func (i *issuer) sign(template, parent *x509.Certificate, subject *ecdsa.PrivateKey) *x509.Certificate {
	i.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, subject.Public(), i.key)
	if err != nil {
		i.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		i.t.Fatal(err)
	}
	return cert
}

func (i *issuer) leaf(addresses ...string) *x509.Certificate {
	i.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		i.t.Fatal(err)
	}
	return i.sign(&x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "User"}, EmailAddresses: addresses,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	}, i.cert, key)
}

func open(t *testing.T, dir string) *Bridge {
	t.Helper()
	b, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestCross has OpenSSL and NSS judge what a cross-certificate lets pass: the
// certificates it is for, and no others of the same authority.
func TestCross(t *testing.T) {
	for _, test := range []struct {
		name             string
		scope            Scope
		passes, passesBy []string // addresses; those of leaves that are crossed, and of others
		refused          []string
	}{
		{
			"usage 3", Mailbox("hugh@example.com"), []string{"hugh@example.com"}, nil,
			[]string{"bob@example.com", "hugh@example.org", "hugh@sub.example.com", "xhugh@example.com"},
		},
		{
			"usage 2", Domain("example.com"), []string{"hugh@example.com"}, []string{"bob@example.com"},
			[]string{"hugh@example.org", "hugh@sub.example.com", "hugh@notexample.com", "hugh@example.com.evil.test"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := open(t, t.TempDir())
			i := newIssuer(t, "Authority Nobody Knows")
			var cross []byte
			good := map[string]*x509.Certificate{}
			for _, address := range test.passes {
				leaf := i.leaf(address)
				var err error
				if cross, err = b.Cross(leaf, i.cert, test.scope); err != nil {
					t.Fatal(err)
				}
				good[address] = leaf
			}
			for _, address := range test.passesBy {
				good[address] = i.leaf(address)
			}
			bad := map[string]*x509.Certificate{}
			for _, address := range test.refused {
				bad[address] = i.leaf(address)
				if _, err := b.Cross(bad[address], i.cert, test.scope); err == nil {
					t.Errorf("%s is crossed", address)
				}
			}
			// One address that is vouched for lets no other pass.
			bad["both"] = i.leaf(test.passes[0], "ceo@bank.test")
			if _, err := b.Cross(bad["both"], i.cert, test.scope); err == nil || strings.Contains(err.Error(), "bank.test") {
				t.Errorf("a second address: %v", err)
			}
			for name, verify := range map[string]func(*testing.T, []byte, []byte, *x509.Certificate) error{"OpenSSL": openssl, "NSS": nss, "NSS's libpkix": libpkix} {
				for address, leaf := range good {
					if err := verify(t, b.Root(), cross, leaf); err != nil {
						t.Errorf("%s refuses %s: %v", name, address, err)
					}
				}
				for address, leaf := range bad {
					if err := verify(t, b.Root(), cross, leaf); err == nil {
						t.Errorf("%s accepts %s", name, address)
					}
				}
			}
		})
	}
}

// openssl verifies a leaf for mail. Its purpose smimeencrypt takes keys only that encipher others.
func openssl(t *testing.T, root, cross []byte, leaf *x509.Certificate) error {
	dir := t.TempDir()
	for name, der := range map[string][]byte{"root": root, "cross": cross, "leaf": leaf.Raw} {
		if err := os.WriteFile(filepath.Join(dir, name), testcert.PEM(der), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, err := testcert.OpenSSL(nil, "verify", "-x509_strict", "-purpose", "smimesign", "-CAfile", filepath.Join(dir, "root"), "-untrusted", filepath.Join(dir, "cross"), filepath.Join(dir, "leaf"))
	return err
}

// nssDatabase has a root that is trusted for mail, and the other two.
func nssDatabase(t *testing.T, root, cross []byte, leaf *x509.Certificate) string {
	t.Helper()
	dir := t.TempDir()
	db := "sql:" + dir
	run(t, "certutil", "-N", "-d", db, "--empty-password")
	for name, der := range map[string][]byte{"root": root, "cross": cross, "leaf": leaf.Raw} {
		file := filepath.Join(dir, name+".der")
		if err := os.WriteFile(file, der, 0o644); err != nil {
			t.Fatal(err)
		}
		trust := ",,"
		if name == "root" {
			trust = ",C,"
		}
		run(t, "certutil", "-A", "-d", db, "-n", name, "-t", trust, "-i", file)
	}
	return db
}

func nss(t *testing.T, root, cross []byte, leaf *x509.Certificate) error {
	out, err := exec.Command("certutil", "-V", "-d", nssDatabase(t, root, cross, leaf), "-n", "leaf", "-u", "R").CombinedOutput()
	return said(err, out)
}

func libpkix(t *testing.T, root, cross []byte, leaf *x509.Certificate) error {
	db := nssDatabase(t, root, cross, leaf)
	file := filepath.Join(strings.TrimPrefix(db, "sql:"), "leaf.der")
	out, err := exec.Command("vfychain", "-d", db, "-pp", "-u", "5", file).CombinedOutput()
	return said(err, out)
}

func said(err error, out []byte) error {
	if err != nil {
		return errors.Join(err, errors.New(string(out)))
	}
	return nil
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// TestSame holds that the same is handed out again, after a restart too, and
// something else after some days.
func TestSame(t *testing.T) {
	dir := t.TempDir()
	i := newIssuer(t, "Authority")
	leaf := i.leaf("hugh@example.com")
	cross := func(b *Bridge, scope Scope) []byte {
		der, err := b.Cross(leaf, i.cert, scope)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	b := open(t, dir)
	first := cross(b, Mailbox("hugh@example.com"))
	again := open(t, dir)
	if !bytes.Equal(b.Root(), again.Root()) {
		t.Error("the root is another")
	}
	if !bytes.Equal(first, cross(again, Mailbox("hugh@example.com"))) {
		t.Error("the same authority gets another cross-certificate")
	}
	serials := map[string]bool{}
	for _, later := range []time.Duration{0, period, 2 * period} {
		again.now = func() time.Time { return time.Now().Add(later) }
		for _, scope := range []Scope{Mailbox("hugh@example.com"), Domain("example.com")} {
			cert, err := x509.ParseCertificate(cross(again, scope))
			if err != nil {
				t.Fatal(err)
			}
			if left := cert.NotAfter.Sub(again.now()); left < period || left > validity {
				t.Errorf("it is valid for another %v", left)
			}
			serials[cert.SerialNumber.String()] = true
			if !bytes.Equal(cert.RawSubject, i.cert.RawSubject) || !bytes.Equal(cert.SubjectKeyId, i.cert.SubjectKeyId) || cert.MaxPathLen != 0 || !cert.PermittedDNSDomainsCritical {
				t.Errorf("not the authority's name and key identifier, or not constrained: %v", cert)
			}
		}
	}
	if len(serials) != 6 {
		t.Errorf("%d serial numbers of 6", len(serials))
	}
}

// TestRefused holds what is not bridged.
func TestRefused(t *testing.T) {
	b := open(t, t.TempDir())
	i, other := newIssuer(t, "Authority"), newIssuer(t, "Authority")
	leaf := i.leaf("hugh@example.com")
	if _, err := b.Cross(leaf, other.cert, Mailbox("hugh@example.com")); err == nil {
		t.Error("an authority is bridged that has not issued the certificate")
	}
	self := newIssuer(t, "Self", func(c *x509.Certificate) { c.EmailAddresses = []string{"hugh@example.com"} })
	if _, err := b.Cross(self.cert, self.cert, Mailbox("hugh@example.com")); !errors.Is(err, ErrSelfSigned) {
		t.Errorf("a self-signed certificate: %v", err)
	}
	user := newIssuer(t, "User", func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature })
	if _, err := b.Cross(user.leaf("hugh@example.com"), user.cert, Mailbox("hugh@example.com")); err == nil {
		t.Error("a user is bridged as an authority")
	}
	if _, err := b.Cross(i.leaf(), i.cert, Domain("example.com")); err == nil {
		t.Error("a certificate is bridged that has no address")
	}
	// An authority keeps the constraints it has.
	narrow := newIssuer(t, "Narrow", func(c *x509.Certificate) {
		c.PermittedEmailAddresses, c.ExcludedEmailAddresses = []string{"example.com"}, []string{"ceo@example.com"}
	})
	der, err := b.Cross(narrow.leaf("hugh@example.com"), narrow.cert, Domain("example.com"))
	if err != nil {
		t.Fatal(err)
	}
	cross, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if cross.PermittedEmailAddresses[0] != "hugh@example.com" || cross.ExcludedEmailAddresses[0] != "ceo@example.com" {
		t.Errorf("permitted %q, excluded %q", cross.PermittedEmailAddresses, cross.ExcludedEmailAddresses)
	}
	if _, err := b.Cross(narrow.leaf("ceo@example.com"), narrow.cert, Domain("example.com")); err == nil {
		t.Error("an address is bridged that the authority itself must not vouch for")
	}
	// One that is not for mail, or constrained in a way that crypto/x509 does not know
	// (a directory name), gets no domain.
	for what, change := range map[string]func(*x509.Certificate){
		"for web servers": func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} },
		"for a directory name": func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{2, 5, 29, 30}, Critical: true, Value: []byte("\x30\x17\xa0\x15\x30\x13\xa4\x11\x30\x0f\x31\x0d\x30\x0b\x06\x03\x55\x04\x0a\x0c\x04Acme")}}
		},
	} {
		some := newIssuer(t, "Some", change)
		der, err := b.Cross(some.leaf("hugh@example.com"), some.cert, Domain("example.com"))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if cross, err := x509.ParseCertificate(der); err != nil || cross.PermittedEmailAddresses[0] != "hugh@example.com" {
			t.Errorf("%s: permitted %q, %v", what, cross.PermittedEmailAddresses, err)
		}
	}
}

// TestTogether has several gateways begin with one directory at once: they have one root.
func TestTogether(t *testing.T) {
	for range 20 {
		dir := filepath.Join(t.TempDir(), "bridge")
		var roots [8][]byte
		var all sync.WaitGroup
		for i := range roots {
			all.Go(func() {
				if b, err := Open(dir); err != nil {
					t.Error(err)
				} else {
					roots[i] = b.Root()
				}
			})
		}
		all.Wait()
		for _, root := range roots {
			if !bytes.Equal(root, roots[0]) {
				t.Fatal("there are several roots")
			}
		}
	}
}

// TestEnd holds what becomes of a root at its end.
func TestEnd(t *testing.T) {
	dir := t.TempDir()
	key, root := filepath.Join(dir, KeyFile), filepath.Join(dir, RootFile)
	signer, err := makeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := makeRoot(root, signer, time.Now().AddDate(-10, 0, 3)); err != nil {
		t.Fatal(err)
	}
	b := open(t, dir)
	i := newIssuer(t, "Authority")
	der, err := b.Cross(i.leaf("hugh@example.com"), i.cert, Domain("example.com"))
	if err != nil {
		t.Fatal(err)
	}
	if cross, err := x509.ParseCertificate(der); err != nil || cross.NotAfter.After(b.Ends()) {
		t.Errorf("a cross-certificate ends at %v, after its root: %v", cross.NotAfter, err)
	}
	b.now = func() time.Time { return time.Now().AddDate(0, 0, 4) }
	if _, err := b.Cross(i.leaf("hugh@example.com"), i.cert, Domain("example.com")); err == nil {
		t.Error("a root that has ended is used")
	}
	if err := os.Remove(root); err != nil {
		t.Fatal(err)
	}
	if _, err := makeRoot(root, signer, time.Now().AddDate(-10, 0, -1)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("a root that has ended: %v", err)
	}
}

// TestFiles holds what is done to the files of a bridge.
func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bridge")
	open(t, dir)
	key, root := filepath.Join(dir, KeyFile), filepath.Join(dir, RootFile)
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("the directory has %v, %v", entries, err)
	}
	refuse := func(what string) {
		t.Helper()
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", what, err)
		}
	}
	os.Chmod(key, 0o640)
	refuse("a key that others can read")
	os.Chmod(key, 0o600)
	open(t, dir)
	other := t.TempDir()
	open(t, other)
	if err := os.Rename(filepath.Join(other, RootFile), root); err != nil {
		t.Fatal(err)
	}
	refuse("another's root")
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	refuse("a root without its key")
	if err := os.WriteFile(key, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	refuse("a key that is none")
}
