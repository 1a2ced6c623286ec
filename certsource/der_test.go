package certsource

import (
	"bytes"
	"crypto/x509"
	"errors"
	"testing"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte/asn1"

	"coredns-smimea/internal/testcert"
)

// TestEveryOctet changes each octet of a certificate in several ways. What is
// still a certificate then must be a whole one.
func TestEveryOctet(t *testing.T) {
	der := testCertificate(t, testcert.Template{
		Addresses:        []string{"alice@example.com", "älice@example.com"},
		SubjectAddresses: []testcert.Text{{Tag: asn1.IA5String, Bytes: []byte("alice@example.com")}},
		KeyUsage:         x509.KeyUsageKeyAgreement,
		EKU:              []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
		Extensions:       []testcert.Extension{{ID: []int{2, 5, 29, 19}, Value: []byte{0x30, 3, 1, 1, 0}}},
	})
	if _, err := Parse(der); err != nil {
		t.Fatal(err)
	}
	for i := range der {
		for _, flip := range []byte{0x01, 0x02, 0x20, 0x80, 0xff} {
			changed := bytes.Clone(der)
			changed[i] ^= flip
			cert, err := Parse(changed)
			if err == nil && (len(cert.SPKI) == 0 || len(cert.Addresses) == 0) {
				t.Errorf("octet %d ^ %#x: incomplete", i, flip)
			}
			var refusal *Refusal
			if err != nil && (!errors.As(err, &refusal) || refusal.Reason == "") {
				t.Errorf("octet %d ^ %#x: %v", i, flip, err)
			}
		}
	}
}

func TestText(t *testing.T) {
	for _, tt := range []struct {
		tag   asn1.Tag
		value string
		want  string
	}{
		{asn1.IA5String, "a@example.com", "a@example.com"},
		{asn1.PrintableString, "a@example.com", "a@example.com"},
		{tagNumericString, "1", "1"},
		{tagVisibleString, "a@example.com", "a@example.com"},
		{asn1.UTF8String, "ä@example.com", "ä@example.com"},
		{asn1.T61String, "\xe4@example.com", "ä@example.com"},
		{tagBMPString, "\x00\xe4\x00@", "ä@"},
		{tagBMPString, "\xd8\x3d\xde\x00", ""}, // UCS-2 has no surrogates
		{tagBMPString, "\x00\xe4\x00", ""},
		{tagUniversalString, "\x00\x01\xf6\x00\x00\x00\x00@", "😀@"},
		{tagUniversalString, "\x00\x11\x00\x00", ""},
		{tagUniversalString, "\x80\x00\x00\x40", ""},
		{tagUniversalString, "\x00\x00\xd8\x00", ""},
		{tagUniversalString, "\x00\x00\x00@\x00", ""},
		{asn1.OCTET_STRING, "a@example.com", ""},
	} {
		got := text([]byte(tt.value), tt.tag)
		if string(got) != tt.want || !utf8.Valid(got) {
			t.Errorf("%d %q: %q, want %q", tt.tag, tt.value, got, tt.want)
		}
	}
}

// TestLeaf: which certificate of a file is the user's.
func TestLeaf(t *testing.T) {
	signer, err := testcert.NewSigner(testcert.P256)
	if err != nil {
		t.Fatal(err)
	}
	alice := []string{"alice@example.com"}
	issued := testCertificate(t, testcert.Template{Addresses: alice})
	selfSigned := testCertificate(t, testcert.Template{Addresses: alice, Signer: signer})
	renewed := testCertificate(t, testcert.Template{Addresses: alice, Signer: signer})
	authority := testcert.Shared().Certificate
	for name, tt := range map[string]struct {
		certs [][]byte
		want  Reason
	}{
		"issued":                     {[][]byte{issued}, ""},
		"self-signed":                {[][]byte{selfSigned}, ""},
		"self-signed twice the same": {[][]byte{selfSigned, selfSigned}, ""},
		"self-signed and renewed":    {[][]byte{selfSigned, renewed}, SeveralCertificates},
		"self-signed and issued":     {[][]byte{selfSigned, issued}, SeveralCertificates},
		"self-signed and authority":  {[][]byte{authority, selfSigned}, ""},
		"authority":                  {[][]byte{authority}, Authority},
		"authority twice":            {[][]byte{authority, authority}, Authority},
	} {
		t.Run(name, func(t *testing.T) {
			cert, err := Parse(testcert.PEM(tt.certs...))
			if tt.want != "" {
				checkRefusal(t, err, tt.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, other := range cert.Others {
				if !bytes.Equal(other, authority) {
					t.Error("the others are not the authority")
				}
			}
		})
	}
}
