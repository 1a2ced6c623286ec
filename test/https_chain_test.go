package test

import (
	"crypto/x509"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"coredns-smimea/internal/harness"
)

// TestChains has the server give out the issuers of users' certificates: those in a
// user's file, or of the option chain, in order, and nothing that does not lead upwards;
// OpenSSL and smimea lookup take what comes.
func TestChains(t *testing.T) {
	root := newAuthority(t, "Chain Root", nil)
	upper := newAuthority(t, "Chain Upper", root)
	lower := newAuthority(t, "Chain Lower", upper)
	stranger := newAuthority(t, "Chain Lower", upper) // of the same name, with another key
	dir, beside := t.TempDir(), t.TempDir()
	at := func(name string) string { return filepath.Join(beside, name) }
	writeBundle(t, at("root.pem"), root.cert.Raw)
	writeBundle(t, at("chain.pem"), root.cert.Raw, upper.cert.Raw, lower.cert.Raw)
	users := map[string][][]byte{ // their files beside the certificate
		"whole": {root.cert.Raw, stranger.cert.Raw, upper.cert.Raw, lower.cert.Raw},
		"half":  {lower.cert.Raw},
		"alone": nil,
	}
	for local, others := range users {
		writeBundle(t, filepath.Join(dir, local+".pem"), append([][]byte{lower.user(t, local+"@example.com")}, others...)...)
	}
	address := harness.Loopback(freePort(t))
	tlsCert, tlsKey := root.server(t)
	w := &web{address, at("root.pem")}
	k := newKeys(t, "example.com.", signing{algorithm: dns.ECDSAP256SHA256})
	s := startServer(t, block("example.com", k.directive, smimea(dir, fmt.Sprintf(
		"https %s\ntls %s %s\nchain %s\nurl https://%s%s{file}", address, tlsCert, tlsKey, at("chain.pem"), address, wellKnown))))
	var anchors strings.Builder
	for _, key := range k.anchors("example.com.") {
		fmt.Fprintln(&anchors, key)
	}
	writeFile(t, at("anchor"), anchors.String())
	smimeaCommand := builtCommand(t)

	for local := range users {
		leaf := derOf(t, filepath.Join(dir, local+".pem"))
		url := fileURL(address, local+".pem")
		w.curl(t, "-H", "Accept: application/pem-certificate-chain", "-o", at("got.pem"), url)
		writeBundle(t, at("want.pem"), leaf, lower.cert.Raw, upper.cert.Raw)
		if got, want := command(t, "cat", at("got.pem")), command(t, "cat", at("want.pem")); got != want {
			t.Errorf("%s: the chain is %d octets, want the leaf and two issuers, %d octets", local, len(got), len(want))
		}
		command(t, "openssl", "verify", "-purpose", "smimesign", "-CAfile", at("root.pem"), "-no-CApath", "-no-CAstore", "-untrusted", at("got.pem"), at("got.pem"))
		if only := w.curl(t, "-H", "Accept: application/x-pem-file", url); strings.Count(only, "BEGIN") != 1 {
			t.Errorf("%s: %d certificates as application/x-pem-file", local, strings.Count(only, "BEGIN"))
		}

		w.curl(t, "-o", at("got.p7c"), "--resolve", "example.com:443:127.0.0.1", "-k", hashURL("example.com", local, ".p7c"))
		printed := command(t, "openssl", "pkcs7", "-inform", "DER", "-in", at("got.p7c"), "-print_certs")
		for _, subject := range []string{"subject=CN = " + local, "subject=CN = Chain Lower", "subject=CN = Chain Upper"} {
			if strings.Count(strings.ReplaceAll(printed, "CN=", "CN = "), subject) != 1 {
				t.Errorf("%s: HASH.p7c has not just one %s:\n%s", local, subject, printed)
			}
		}
		if strings.Count(printed, "subject=") != 3 {
			t.Errorf("%s: HASH.p7c has %d certificates", local, strings.Count(printed, "subject="))
		}

		found := command(t, "env", "SSL_CERT_FILE="+at("root.pem"), smimeaCommand, "lookup", "-server", s.addr, "-anchor", at("anchor"), "-allow-private", "-chain", local+"@example.com")
		if found != command(t, "cat", at("want.pem")) {
			t.Errorf("%s: lookup -chain prints\n%s", local, found)
		}
	}

	// Another intermediate in the file is another answer, with another entity tag.
	tag := func() string {
		return w.curl(t, "-H", "Accept: application/pem-certificate-chain", "-o", at("got.pem"), "-w", "%header{etag}", fileURL(address, "half.pem"))
	}
	before := tag()
	renewed := upper.sign(t, &x509.Certificate{
		Subject: lower.cert.Subject, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: lower.cert.NotBefore, NotAfter: lower.cert.NotAfter.AddDate(1, 0, 0),
	}, lower.key.Public())
	writeBundle(t, filepath.Join(dir, "half.pem"), derOf(t, filepath.Join(dir, "half.pem")), renewed.Raw)
	waitFor(t, "the renewed intermediate", func() bool {
		return tag() != before && strings.Contains(command(t, "cat", at("got.pem")), command(t, "openssl", "x509", "-in", inFile(t, renewed.Raw)))
	})
}

// inFile writes a certificate to a file of its own.
func inFile(t *testing.T, der []byte) string {
	path := filepath.Join(t.TempDir(), "one.pem")
	writeBundle(t, path, der)
	return path
}
