package testcert

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"unicode/utf16"

	"golang.org/x/crypto/cryptobyte"
	cb "golang.org/x/crypto/cryptobyte/asn1"
)

// chains are files with more than one certificate.
func (m *maker) chains() {
	root := Shared().Certificate
	middle, err := NewAuthority("Zoo Intermediate", Shared())
	m.fail(err)
	if m.err != nil {
		return
	}
	leaf := func(name string) made {
		t := m.template(m.at("chain." + name))
		t.Issuer = middle
		c := m.cert(t)
		c.Chains = true
		return c
	}
	for name, order := range map[string]func(leaf []byte) [][]byte{
		"leaf-first":  func(leaf []byte) [][]byte { return [][]byte{leaf, middle.Certificate, root} },
		"root-first":  func(leaf []byte) [][]byte { return [][]byte{root, middle.Certificate, leaf} },
		"leaf-middle": func(leaf []byte) [][]byte { return [][]byte{middle.Certificate, leaf, root} },
		"no-root":     func(leaf []byte) [][]byte { return [][]byte{leaf, middle.Certificate} },
		"duplicates":  func(leaf []byte) [][]byte { return [][]byte{leaf, leaf, middle.Certificate, leaf, root, root} },
	} {
		c := leaf(name)
		m.file("chains/"+name+".pem", PEM(order(c.der)...), c.Specimen)
	}
	c := leaf("alone")
	c.Chains = false
	m.file("chains/leaf-alone.pem", PEM(c.der), c.Specimen)

	// An issuer that does not say it is an authority, as v1 roots do not.
	old := m.template()
	old.Version1, old.Signer, old.CommonName = true, m.signer(P256), "Zoo Old Root"
	oldRoot := m.cert(old)
	name, err := old.subject()
	m.fail(err)
	t := m.template(m.at("chain.oldroot"))
	t.Issuer = &Authority{Certificate: oldRoot.der, signer: old.Signer, name: name}
	c = m.cert(t)
	m.file("chains/version1-root.pem", PEM(oldRoot.der, c.der), c.Specimen)

	c = leaf("p7b")
	m.file("chains/der.p7b", m.pkcs7(PEM(root, c.der, middle.Certificate), "DER"), c.Specimen)
	c = leaf("p7bpem")
	m.file("chains/pem.p7b", m.pkcs7(PEM(middle.Certificate, root, c.der), "PEM"), c.Specimen)
	c = leaf("ber")
	m.file("chains/ber.p7c", PKCS7BER(c.der, middle.Certificate, root), c.Specimen)
	c = leaf("misnamed")
	m.file("chains/p7b-named.crt", m.pkcs7(PEM(c.der, middle.Certificate), "DER"), c.Specimen)

	m.refuse("chains/authorities.pem", "authority", PEM(root, middle.Certificate))
	m.refuse("chains/authorities.p7b", "authority", m.pkcs7(PEM(root, middle.Certificate), "DER"))
	m.refuse("chains/empty.p7b", "no_certificate", m.openssl(nil, "crl2pkcs7", "-nocrl", "-outform", "DER"))
}

// pkcs7 returns a certs-only PKCS#7 bundle.
func (m *maker) pkcs7(certs []byte, form string) []byte {
	return m.opensslFile(certs, "crl2pkcs7", "-nocrl", "-certfile", "FILE", "-outform", form)
}

// PKCS7BER returns a certs-only PKCS#7 bundle with indefinite lengths, as
// BouncyCastle writes it.
func PKCS7BER(certs ...[]byte) []byte {
	const (
		open   = "\x80"
		end    = "\x00\x00"
		signed = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"
		data   = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"
	)
	return []byte("\x30" + open + signed + "\xa0" + open + "\x30" + open +
		"\x02\x01\x01" + "\x31\x00" + "\x30" + open + data + end +
		"\xa0" + open + string(bytes.Join(certs, nil)) + end +
		"\x31\x00" + end + end + end)
}

// forms are the ways to write one certificate.
func (m *maker) forms() {
	form := func(name string, write func(der []byte) []byte) {
		local, _, _ := strings.Cut(name, ".")
		c := m.cert(m.template(m.at("form." + local)))
		if m.err == nil {
			m.file("forms/"+name, write(c.der), c.Specimen)
		}
	}
	text := "subject=CN = Zoo User\nissuer=CN = Zoo Root\n\n"
	form("der.der", func(der []byte) []byte { return der })
	form("der-newline.cer", func(der []byte) []byte { return append(bytes.Clone(der), '\r', '\n') })
	form("der-misnamed.pem", func(der []byte) []byte { return der })
	form("pem-misnamed.der", func(der []byte) []byte { return PEM(der) })
	form("upper.CRT", func(der []byte) []byte { return PEM(der) })
	form("crlf.pem", func(der []byte) []byte {
		return []byte(strings.ReplaceAll(text+string(PEM(der))+"\nand more text\n", "\n", "\r\n"))
	})
	form("bom.pem", func(der []byte) []byte { return append([]byte("\xef\xbb\xbf"), PEM(der)...) })
	form("utf16.pem", func(der []byte) []byte {
		out := []byte("\xff\xfe")
		for _, unit := range utf16.Encode([]rune(text + string(PEM(der)))) {
			out = append(out, byte(unit), byte(unit>>8))
		}
		return out
	})
	form("indented.pem", func(der []byte) []byte {
		return []byte("certificate: |\n  " + strings.ReplaceAll(strings.TrimSpace(string(PEM(der))), "\n", " \t\n  "))
	})
	form("headers.pem", func(der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Headers: map[string]string{"Comment": "made today"}, Bytes: der})
	})
	form("no-newline.pem", func(der []byte) []byte { return bytes.TrimSpace(PEM(der)) })
	form("s_client.pem", func(der []byte) []byte {
		return append([]byte("0 s:CN = Zoo User\n   i:CN = Zoo Root\n"), PEM(der)...)
	})
	form("x509-label.pem", func(der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "X509 CERTIFICATE", Bytes: der})
	})
	form("trusted.pem", func(der []byte) []byte {
		return m.openssl(der, "x509", "-inform", "DER", "-trustout", "-addtrust", "emailProtection", "-setalias", "test")
	})
	form("openssl-text.pem", func(der []byte) []byte { return m.openssl(der, "x509", "-inform", "DER", "-text") })
	form("ec-parameters.pem", func(der []byte) []byte {
		return append(m.openssl(nil, "ecparam", "-name", "prime256v1"), PEM(der)...)
	})
	form("cms-label.pem", func(der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "CMS", Bytes: PKCS7BER(der)})
	})
	form("pkcs7-as-certificate.pem", func(der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: PKCS7BER(der)})
	})
}

// privateKeys are files that nobody may see, and least of all the world.
func (m *maker) privateKeys() {
	signer := m.signer(P256)
	t := m.template(m.at("keyholder"))
	t.Signer = signer
	cert := m.cert(t).der
	rsaSigner := m.signer(RSA2048)
	if m.err != nil {
		return
	}
	key := signer.Key.(*ecdsa.PrivateKey)
	sec1, err := x509.MarshalECPrivateKey(key)
	m.fail(err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	m.fail(err)
	pkcs1 := x509.MarshalPKCS1PrivateKey(rsaSigner.Key.(*rsa.PrivateKey))
	edKey, err := x509.MarshalPKCS8PrivateKey(m.signer(Ed25519).Key)
	m.fail(err)
	encrypted := m.openssl(pkcs8, "pkcs8", "-inform", "DER", "-topk8", "-outform", "DER", "-passout", "pass:test")
	block := func(label string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})
	}
	refuse := func(path string, parts ...[]byte) {
		m.refuse("private/"+path, "private_key", bytes.Join(parts, nil))
	}
	p12 := m.opensslFile(append(PEM(cert), block("PRIVATE KEY", pkcs8)...), "pkcs12", "-export", "-in", "FILE", "-passout", "pass:test")

	refuse("cert-then-key.pem", PEM(cert), block("PRIVATE KEY", pkcs8))
	refuse("key-then-cert.pem", block("EC PRIVATE KEY", sec1), PEM(cert))
	refuse("encrypted-beside.pem", PEM(cert), block("ENCRYPTED PRIVATE KEY", encrypted))
	refuse("traditional.pem", PEM(cert), m.openssl(block("RSA PRIVATE KEY", pkcs1), "rsa", "-traditional", "-aes128", "-passout", "pass:test"))
	refuse("openssh.pem", PEM(cert), block("OPENSSH PRIVATE KEY", []byte("openssh-key-v1\x00\x00\x00\x00\x04none")))
	refuse("pkcs12-pem.pem", PEM(cert), block("PKCS12", p12))
	refuse("unterminated.pem", PEM(cert), block("PRIVATE KEY", pkcs8)[:80])
	refuse("headless.pem", PEM(cert), block("PRIVATE KEY", pkcs8)[40:])
	refuse("broken.pem", PEM(cert), bytes.Replace(block("PRIVATE KEY", pkcs8), []byte("M"), []byte("!"), 1))
	refuse("labelled-certificate.pem", block("CERTIFICATE", pkcs8))
	refuse("pkcs12-named.crt", p12)
	refuse("pkcs8.der", pkcs8)
	refuse("pkcs8-ed25519.der", edKey)
	refuse("pkcs8-encrypted.der", encrypted)
	refuse("pkcs8-truncated.der", pkcs8[:50])
	refuse("pkcs1.der", pkcs1)
	refuse("sec1.cer", sec1)
	refuse("cert-then-key.der", cert, pkcs8)
	refuse("utf16.pem", []byte("\xff\xfe"), widen(block("PRIVATE KEY", pkcs8)))

	// Not looked at: the name says that it is something else.
	m.file("private/alice.key", block("PRIVATE KEY", pkcs8), Specimen{})
}

func widen(text []byte) []byte {
	out := make([]byte, 0, 2*len(text))
	for _, c := range text {
		out = append(out, c, 0)
	}
	return out
}

// rubbish are files that are damaged, or something else than a certificate.
func (m *maker) rubbish() {
	cert := m.cert(m.template(m.at("rubbish"))).der
	signer := m.signer(P256)
	if m.err != nil {
		return
	}
	text := PEM(cert)
	noise := make([]byte, 2000)
	rand.Read(noise)
	noise[0] = 0x01 // neither ASN.1 nor text

	m.refuse("rubbish/empty.pem", "malformed", nil)
	m.refuse("rubbish/blank.pem", "malformed", []byte(" \r\n\n"))
	m.refuse("rubbish/zeros.der", "malformed", make([]byte, 4096))
	m.refuse("rubbish/truncated.pem", "malformed", text[:len(text)/2])
	m.refuse("rubbish/truncated-second.pem", "malformed", append(bytes.Clone(text), text[:100]...))
	m.refuse("rubbish/truncated.der", "malformed", cert[:len(cert)/2])
	m.refuse("rubbish/truncated-header.der", "malformed", cert[:3])
	m.refuse("rubbish/truncated.p7b", "malformed", PKCS7BER(cert)[:200])
	m.refuse("rubbish/trailing.der", "malformed", append(bytes.Clone(cert), "trailing"...))
	m.refuse("rubbish/two.der", "malformed", append(bytes.Clone(cert), cert...))
	m.refuse("rubbish/bad-base64.pem", "malformed", bytes.Replace(text, []byte("MII"), []byte("M!I"), 1))
	m.refuse("rubbish/no-armour.pem", "malformed", bytes.Join(bytes.Split(text, []byte("\n"))[1:10], []byte("\n")))
	m.refuse("rubbish/html.crt", "no_certificate", []byte("<!DOCTYPE html>\n<title>404 Not Found</title>\n"))
	m.refuse("rubbish/text.pem", "no_certificate", []byte("the certificate will come next week\n"))
	m.refuse("rubbish/noise.cer", "no_certificate", noise)
	m.refuse("rubbish/large.pem", "too_large", append(bytes.Repeat([]byte("text before it\n"), 1<<20/15+1), text...))

	// Things that have to do with certificates.
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{EmailAddresses: []string{m.at("request")}}, signer.Key)
	m.fail(err)
	m.refuse("rubbish/request.der", "no_certificate", request)
	m.refuse("rubbish/request.pem", "no_certificate", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request}))
	m.refuse("rubbish/public-key.pem", "no_certificate", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: signer.spki}))
	m.refuse("rubbish/public-key.der", "no_certificate", signer.spki)
	m.refuse("rubbish/signed-message.p7b", "no_certificate", m.signedMessage())
	m.refuse("rubbish/integer.der", "no_certificate", integer())

	m.file("rubbish/notes.txt", text, Specimen{})
	m.file("rubbish/.hidden.pem", text, Specimen{})
}

func integer() []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(cb.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1Int64(1) })
	return b.BytesOrPanic()
}

// signedMessage returns a PKCS#7 that has a certificate, and a signature.
func (m *maker) signedMessage() []byte {
	if m.err != nil {
		return nil
	}
	signer := m.signer(P256)
	t := m.template(m.at("message"))
	t.Signer = signer
	cert := m.cert(t).der
	key, err := x509.MarshalPKCS8PrivateKey(signer.Key)
	m.fail(err)
	both := append(PEM(cert), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	return m.opensslFile(both, "cms", "-sign", "-signer", "FILE", "-outform", "DER")
}
