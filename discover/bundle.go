package discover

import (
	"bytes"
	"encoding/pem"
	"errors"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"coredns-smimea/certsource"
)

// A bundle is what a download holds.
type bundle struct {
	certs      [][]byte // DER, each once
	unread     []string // what else there is, and why it is not used
	privateKey bool
}

// readBundle returns all certificates in data: PEM, DER, or PKCS#7 that has
// certificates only. What it is, the bytes say, not the media type.
func readBundle(data []byte) (b bundle, err error) {
	b.privateKey = hasPrivateKey(data)
	b.certs, err = splitBundle(data)
	return b, err
}

// splitBundle returns the DER of all certificates in data: PEM, DER, or PKCS#7
// that has certificates only. What it is, the bytes say, not the media type.
func splitBundle(data []byte) ([][]byte, error) {
	var certs [][]byte
	if bytes.Contains(data, []byte("-----BEGIN ")) {
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			switch block.Type {
			case "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE":
				certs = append(certs, firstElement(block.Bytes))
			case "PKCS7", "CMS":
				more, _ := splitPKCS7(block.Bytes)
				certs = append(certs, more...)
			}
		}
	} else if more, err := splitPKCS7(data); err == nil {
		certs = more
	} else if der := firstElement(data); len(der) > 0 {
		certs = [][]byte{der}
	}
	if certs = deduplicate(certs); len(certs) > 0 {
		return certs, nil
	}
	// BER, and what else there is in the field, of one user.
	if cert, err := certsource.Parse(data); err == nil {
		return append([][]byte{cert.Raw}, cert.Others...), nil
	}
	return nil, Problem{NoCertificate, "no certificate is in it"}
}

func deduplicate(certs [][]byte) [][]byte {
	seen := map[string]bool{}
	var kept [][]byte
	for _, der := range certs {
		if len(der) > 0 && !seen[string(der)] {
			seen[string(der)] = true
			kept = append(kept, der)
		}
	}
	return kept
}

// firstElement returns the SEQUENCE at the start of data.
func firstElement(data []byte) []byte {
	s := cryptobyte.String(data)
	var element cryptobyte.String
	if !s.ReadASN1Element(&element, asn1.SEQUENCE) {
		return nil
	}
	return element
}

// oidSignedData is 1.2.840.113549.1.7.2 (RFC 5652 section 5.1).
var oidSignedData = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02}

var errPKCS7 = errors.New("this is not PKCS#7 in DER with certificates")

// splitPKCS7 returns the certificates of a SignedData, which has no signatures
// if it is only there to hold them (RFC 8551 section 3.2.2).
func splitPKCS7(data []byte) ([][]byte, error) {
	s := cryptobyte.String(data)
	var info, oid, explicit, signed, certs cryptobyte.String
	var present bool
	if !s.ReadASN1(&info, asn1.SEQUENCE) ||
		!info.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) || !bytes.Equal(oid, oidSignedData) ||
		!info.ReadASN1(&explicit, asn1.Tag(0).ContextSpecific().Constructed()) ||
		!explicit.ReadASN1(&signed, asn1.SEQUENCE) ||
		!signed.SkipASN1(asn1.INTEGER) || !signed.SkipASN1(asn1.SET) || !signed.SkipASN1(asn1.SEQUENCE) ||
		!signed.ReadOptionalASN1(&certs, &present, asn1.Tag(0).ContextSpecific().Constructed()) || !present {
		return nil, errPKCS7
	}
	var list [][]byte
	for !certs.Empty() {
		var element cryptobyte.String
		var tag asn1.Tag
		if !certs.ReadAnyASN1Element(&element, &tag) {
			return nil, errPKCS7
		}
		if tag == asn1.SEQUENCE {
			list = append(list, element)
		}
	}
	return list, nil
}

// hasPrivateKey reports whether data has a private key in it.
func hasPrivateKey(data []byte) bool {
	_, err := certsource.Parse(data)
	var refusal *certsource.Refusal
	return errors.As(err, &refusal) && refusal.Reason == certsource.PrivateKey ||
		strings.Contains(string(data), "PRIVATE KEY-----")
}
