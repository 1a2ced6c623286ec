package certsource

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"coredns-smimea/internal/harness"
	"coredns-smimea/internal/testcert"
)

// TestHostile gives Parse the worst of a megabyte: each must be over at once.
func TestHostile(t *testing.T) {
	der := testCertificate(t, testcert.Template{Addresses: []string{"alice@example.com"}})
	small := testCertificate(t, testcert.Template{})
	fill := func(head, unit string) []byte {
		return []byte(head + strings.Repeat(unit, (MaxFileSize-len(head))/len(unit)))
	}
	bundleHead, _, _ := bytes.Cut(testcert.PKCS7BER([]byte("HERE")), []byte("HERE"))
	addresses := make([]string, 50_000)
	for i := range addresses {
		addresses[i] = "alice@example.com"
	}
	for name, data := range map[string][]byte{
		"nested indefinite lengths": fill("", "\x30\x80"),
		"nested in PKCS#7":          fill(string(bundleHead), "\x30\x80"),
		"empty values in PKCS#7":    fill(string(bundleHead), "\x04\x00"),
		"nested definite lengths":   fill("", "\x30\x83\x0f\xff\xf0"),
		"nested options in PKCS#7":  fill("\x30\x80\x06\x09"+oidSignedData, "\xa0\x80"),
		"blocks begun":              fill("", "-----BEGIN CERTIFICATE-----\n"),
		"lines ended":               fill("", "-----END CERTIFICATE-----\n"),
		"dashes":                    fill("-----BEGIN ", "-"),
		"inline":                    fill("", "x -----BEGIN "),
		"many small blocks":         fill("", "-----BEGIN A-----\n-----END A-----\n"),
		"headers":                   fill("-----BEGIN CERTIFICATE-----\n", "a: b\n"),
		"spaces":                    fill("-----BEGIN CERTIFICATE-----\n", "A "),
		"words":                     fill("", "PRIVATE KEY"),
		"certificates":              bytes.Repeat(testcert.PEM(small), MaxFileSize/len(testcert.PEM(small))),
		"one certificate":           bytes.Repeat(testcert.PEM(der), MaxFileSize/len(testcert.PEM(der))),
		"one in PKCS#7":             testcert.PKCS7BER(bytes.Repeat(der, (MaxFileSize-100)/len(der))),
		"addresses":                 testCertificate(t, testcert.Template{Addresses: addresses}),
		"newlines":                  fill("", "\n"),
	} {
		t.Run(name, func(t *testing.T) {
			begin := harness.ProcessorTime()
			_, err := Parse(data)
			// A hundred times what it takes, for slow machines; what is
			// quadratic takes minutes.
			if took := harness.ProcessorTime() - begin; took > 5*time.Second {
				t.Errorf("it took %v of the processor", took)
			} else {
				t.Logf("%v: %v", took, err)
			}
		})
	}
}

func TestPKCS7(t *testing.T) {
	der := testCertificate(t, testcert.Template{Addresses: []string{"alice@example.com"}})
	bundle := testcert.PKCS7BER(der)
	replaced := func(old, new string) []byte { return bytes.Replace(bundle, []byte(old), []byte(new), 1) }
	for name, tt := range map[string]struct {
		data []byte
		want Reason
	}{
		"plain":                {bundle, ""},
		"newline after":        {append(bytes.Clone(bundle), '\n'), ""},
		"attribute beside":     {testcert.PKCS7BER([]byte("\xa1\x02\x05\x00"), der), ""},
		"revocation lists":     {replaced("\x00\x00\x31\x00\x00", "\x00\x00\xa1\x02\x30\x00\x31\x00\x00"), ""},
		"twice":                {testcert.PKCS7BER(der, der), ""},
		"trailing octets":      {append(bytes.Clone(bundle), "more"...), Malformed},
		"trailing key":         {append(bytes.Clone(bundle), "\x30\x77\x02\x01\x01\x04\x20"...), PrivateKey},
		"a signer":             {replaced("\x00\x00\x31\x00\x00", "\x00\x00\x31\x02\x30\x00\x00"), NoCertificate},
		"no signers' set":      {replaced("\x00\x00\x31\x00\x00", "\x00\x00\x00"), Malformed},
		"another type":         {replaced("\x01\x07\x02", "\x01\x07\x03"), NoCertificate},
		"no certificates":      {testcert.PKCS7BER(), NoCertificate},
		"another value inside": {testcert.PKCS7BER([]byte("\x1f\x02\x00\x00")), Malformed},
		"a broken certificate": {testcert.PKCS7BER(der, der[:len(der)-1]), Malformed},
		"a key inside":         {testcert.PKCS7BER(der, []byte("\x30\x08\x02\x01\x01\x04\x03key")), PrivateKey},
	} {
		t.Run(name, func(t *testing.T) {
			cert, err := Parse(tt.data)
			if tt.want != "" {
				checkRefusal(t, err, tt.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(cert.Raw, der) || len(cert.Others) > 0 {
				t.Error("other certificates")
			}
		})
	}
}
