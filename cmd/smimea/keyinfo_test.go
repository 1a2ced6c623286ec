package main

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
)

// TestKeyNames holds that keys of algorithms that crypto/x509 does not know have names.
func TestKeyNames(t *testing.T) {
	for _, test := range []struct {
		oid  asn1.ObjectIdentifier
		want string
	}{
		{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 4, 1}, "ML-KEM-512"},
		{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 4, 2}, "ML-KEM-768"},
		{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 4, 3}, "ML-KEM-1024"},
		{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 17}, "ML-DSA-44"},
		{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 18}, "ML-DSA-65"},
		{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 19}, "ML-DSA-87"},
		{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 20}, "SLH-DSA-SHA2-128s"},
		{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 31}, "SLH-DSA-SHAKE-256f"},
		{asn1.ObjectIdentifier{1, 3, 101, 110}, "X25519"},
		{asn1.ObjectIdentifier{1, 2, 3, 4}, "1.2.3.4"},
	} {
		der, err := asn1.Marshal(struct {
			Algorithm pkix.AlgorithmIdentifier
			Key       asn1.BitString
		}{pkix.AlgorithmIdentifier{Algorithm: test.oid}, asn1.BitString{Bytes: make([]byte, 1184), BitLength: 8 * 1184}})
		if err != nil {
			t.Fatal(err)
		}
		if name, weak := keyInfo(der); name != test.want || weak != "" {
			t.Errorf("a key of %v is %q, weak %q; want %q", test.oid, name, weak, test.want)
		}
	}
}
