package certsource

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"testing"

	"coredns-smimea/internal/testcert"
)

// TestPrivateKeyPrefix: a private key is one from the first octets on that tell.
func TestPrivateKeyPrefix(t *testing.T) {
	signer, err := testcert.NewSigner(testcert.RSA2048)
	if err != nil {
		t.Fatal(err)
	}
	key := signer.Key.(*rsa.PrivateKey)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	encrypted, err := testcert.OpenSSL(pkcs8, "pkcs8", "-inform", "DER", "-topk8", "-outform", "DER", "-passout", "pass:test")
	if err != nil {
		t.Fatal(err)
	}
	oldEncrypted, err := testcert.OpenSSL(pkcs8, "pkcs8", "-inform", "DER", "-topk8", "-v1", "PBE-SHA1-3DES", "-outform", "DER", "-passout", "pass:test")
	if err != nil {
		t.Fatal(err)
	}
	dsa := []byte("\x30\x82\x01\x00\x02\x01\x00\x02\x81\x81\x00")
	for name, data := range map[string][]byte{
		"PKCS#1": x509.MarshalPKCS1PrivateKey(key), "PKCS#8": pkcs8,
		"encrypted": encrypted, "encrypted by PBE": oldEncrypted, "DSA": dsa,
		"PKCS#12 as BER": []byte("\x30\x80\x02\x01\x03\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"),
	} {
		_, err := Parse(data[:min(len(data), 40)])
		t.Run(name, func(t *testing.T) { checkRefusal(t, err, PrivateKey) })
	}
}

// TestPublicIsNoPrivateKey: what else there is in DER is not called a key.
func TestPublicIsNoPrivateKey(t *testing.T) {
	signer, err := testcert.NewSigner(testcert.RSA2048)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(signer.Key.Public())
	if err != nil {
		t.Fatal(err)
	}
	query, err := testcert.OpenSSL([]byte("data"), "ts", "-query", "-data", "/dev/stdin")
	if err != nil {
		t.Fatal(err)
	}
	parameters, err := testcert.OpenSSL(nil, "ecparam", "-name", "prime256v1", "-param_enc", "explicit")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(parameters)
	for name, data := range map[string][]byte{
		"SPKI":            spki,
		"PKCS#1":          x509.MarshalPKCS1PublicKey(&signer.Key.(*rsa.PrivateKey).PublicKey),
		"time stamp":      query,
		"curve":           block.Bytes,
		"curve in a PEM":  parameters,
		"DH of 24 octets": []byte("\x30\x1d\x02\x18\x7fAAAAAAAAAAAAAAAAAAAAAAA\x02\x01\x02"),
	} {
		_, err := Parse(data)
		t.Run(name, func(t *testing.T) { checkRefusal(t, err, NoCertificate) })
	}
}
