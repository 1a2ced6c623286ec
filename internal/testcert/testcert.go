// Package testcert makes certificates for tests and for the demo: the usual ones by
// the hundred thousand, and one of every odd kind that the field has.
//
// [Template] describes one certificate and [Write] makes it a file. [Make]
// fills a directory with specimens, and says for each file what is to be
// published of it. Nothing of it is kept in the repository; it is all made
// when it is needed.
//
// The builder writes DER by hand, since crypto/x509 makes no certificates that
// it would not read. It is also several times as fast: it does not verify what
// it has just signed.
package testcert

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Write makes the certificate of a template and writes it to a file, as PEM,
// or as DER where the name ends in .der or .cer. The folder must be there.
func Write(path string, t Template) error {
	der, err := t.DER()
	if err != nil {
		return fmt.Errorf("making the certificate for %q: %w", path, err)
	}
	switch strings.ToLower(filepath.Ext(path)) {
	case ".der", ".cer":
	default:
		der = PEM(der)
	}
	if err := os.WriteFile(path, der, 0o644); err != nil {
		return fmt.Errorf("writing a certificate: %w", err)
	}
	return nil
}

// PEM returns certificates as PEM blocks, one after the other.
func PEM(certs ...[]byte) []byte {
	var out bytes.Buffer
	for _, der := range certs {
		pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	return out.Bytes()
}
