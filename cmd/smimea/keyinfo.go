package main

import (
	"encoding/asn1"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cb "golang.org/x/crypto/cryptobyte/asn1"
)

// keyNames are the algorithms and curves of keys, by object identifier.
var keyNames = map[string]string{
	"1.2.840.10045.3.1.7":   "P-256",
	"1.3.132.0.34":          "P-384",
	"1.3.132.0.35":          "P-521",
	"1.3.132.0.10":          "secp256k1",
	"1.2.840.10045.3.1.1":   "P-192",
	"1.3.132.0.33":          "P-224",
	"1.3.36.3.3.2.8.1.1.7":  "brainpoolP256r1",
	"1.3.36.3.3.2.8.1.1.11": "brainpoolP384r1",
	"1.3.36.3.3.2.8.1.1.13": "brainpoolP512r1",
	"1.3.101.110":           "X25519",
	"1.3.101.111":           "X448",
	"1.3.101.112":           "Ed25519",
	"1.3.101.113":           "Ed448",
	"1.2.840.10040.4.1":     "DSA",

	// NIST's register of algorithms, FIPS 203 to 205 (RFC 9881, RFC 9909).
	"2.16.840.1.101.3.4.4.1":  "ML-KEM-512",
	"2.16.840.1.101.3.4.4.2":  "ML-KEM-768",
	"2.16.840.1.101.3.4.4.3":  "ML-KEM-1024",
	"2.16.840.1.101.3.4.3.17": "ML-DSA-44",
	"2.16.840.1.101.3.4.3.18": "ML-DSA-65",
	"2.16.840.1.101.3.4.3.19": "ML-DSA-87",
	"2.16.840.1.101.3.4.3.32": "HashML-DSA-44",
	"2.16.840.1.101.3.4.3.33": "HashML-DSA-65",
	"2.16.840.1.101.3.4.3.34": "HashML-DSA-87",
	"2.16.840.1.101.3.4.3.20": "SLH-DSA-SHA2-128s",
	"2.16.840.1.101.3.4.3.21": "SLH-DSA-SHA2-128f",
	"2.16.840.1.101.3.4.3.22": "SLH-DSA-SHA2-192s",
	"2.16.840.1.101.3.4.3.23": "SLH-DSA-SHA2-192f",
	"2.16.840.1.101.3.4.3.24": "SLH-DSA-SHA2-256s",
	"2.16.840.1.101.3.4.3.25": "SLH-DSA-SHA2-256f",
	"2.16.840.1.101.3.4.3.26": "SLH-DSA-SHAKE-128s",
	"2.16.840.1.101.3.4.3.27": "SLH-DSA-SHAKE-128f",
	"2.16.840.1.101.3.4.3.28": "SLH-DSA-SHAKE-192s",
	"2.16.840.1.101.3.4.3.29": "SLH-DSA-SHAKE-192f",
	"2.16.840.1.101.3.4.3.30": "SLH-DSA-SHAKE-256s",
	"2.16.840.1.101.3.4.3.31": "SLH-DSA-SHAKE-256f",
	// RFC 9802.
	"1.2.840.113549.1.9.16.3.17": "HSS/LMS",
	"1.3.6.1.5.5.7.6.34":         "XMSS",
	"1.3.6.1.5.5.7.6.35":         "XMSS-MT",
}

var (
	oidRSA    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidRSAPSS = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
	oidEC     = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
)

// minRSA is the least size of RSA keys (RFC 8550 section 4.3; S/MIME Baseline
// Requirements section 6.1.5), in bits.
const minRSA = 2048

// keyInfo says what a key is, and why it is too weak. It reads the DER itself:
// crypto/x509 refuses keys that are in use.
func keyInfo(spki []byte) (name, weak string) {
	s := cryptobyte.String(spki)
	var info, algorithm cryptobyte.String
	var oid asn1.ObjectIdentifier
	var key asn1.BitString
	if !s.ReadASN1(&info, cb.SEQUENCE) || !info.ReadASN1(&algorithm, cb.SEQUENCE) ||
		!algorithm.ReadASN1ObjectIdentifier(&oid) || !info.ReadASN1BitString(&key) {
		return "unknown", ""
	}
	switch {
	case oid.Equal(oidRSA) || oid.Equal(oidRSAPSS):
		bits := rsaBits(key.RightAlign())
		if bits < minRSA {
			weak = fmt.Sprintf("an RSA key of %d bits is too weak: take %d or more", bits, minRSA)
		}
		return fmt.Sprintf("RSA %d", bits), weak
	case oid.Equal(oidEC):
		var curve asn1.ObjectIdentifier
		if !algorithm.ReadASN1ObjectIdentifier(&curve) {
			return "EC, explicit curve", ""
		}
		name = keyNames[curve.String()]
		switch name {
		case "":
			name = "EC " + curve.String()
		case "P-192", "P-224":
			weak = "the curve " + name + " is too weak: take P-256 or a larger one"
		}
		return name, weak
	}
	name = keyNames[oid.String()]
	if name == "" {
		name = oid.String()
	}
	if name == "DSA" {
		weak = "DSA keys are not for use any more"
	}
	return name, weak
}

// rsaBits returns the size of an RSAPublicKey's modulus.
func rsaBits(der []byte) int {
	s := cryptobyte.String(der)
	var key cryptobyte.String
	var modulus []byte
	if !s.ReadASN1(&key, cb.SEQUENCE) || !key.ReadASN1Integer(&modulus) || len(modulus) == 0 {
		return 0
	}
	bits := 8 * len(modulus)
	for mask := byte(0x80); mask != 0 && modulus[0]&mask == 0; mask >>= 1 {
		bits--
	}
	return bits
}
