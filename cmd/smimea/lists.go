package main

import (
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/certsource/revocation"
)

// readLists reads lists of revoked certificates from files, and verifies them as the
// server does at a time: by the authorities in some files, by those that come with the
// lists, and by the authorities that issuers returns.
func readLists(files, authorities []string, now time.Time, issuers func() ([][]byte, error)) (*revocation.Set, error) {
	var known []*x509.Certificate
	learn := func(ders [][]byte) {
		for _, der := range ders {
			if cert, err := x509.ParseCertificate(der); err == nil {
				known = append(known, cert)
			}
		}
	}
	if len(files) == 0 {
		return nil, nil
	}
	for _, name := range authorities {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fail(exitNoInput, err)
		}
		ders, _ := certsource.ReadAll(data)
		learn(ders)
	}
	ders, err := issuers()
	if err != nil {
		return nil, err
	}
	learn(ders)
	var lists []revocation.Verified
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			return nil, fail(exitNoInput, err)
		}
		data, err := io.ReadAll(io.LimitReader(file, revocation.MaxSize+1))
		file.Close()
		if err != nil {
			return nil, fail(exitNoInput, err)
		}
		read, own, err := revocation.Read(data)
		if err != nil {
			return nil, fail(exitNoInput, fmt.Errorf("reading the list %q: %w", name, err))
		}
		for _, l := range read {
			v, err := revocation.Verify(l, append(own, known...))
			if err == nil {
				err = l.Begun(now)
			}
			if err != nil {
				return nil, fail(exitNoInput, fmt.Errorf("reading the list %q: %w", name, err))
			}
			lists = append(lists, v)
		}
	}
	return revocation.NewSet(lists), nil
}

// issuers returns the certificates of authorities that are in the files of a directory.
func (s source) issuers(operands []string) (ders [][]byte, err error) {
	err = s.read(operands, func(f sourceFile) {
		for _, cert := range f.certs {
			ders = append(ders, cert.Others...)
		}
	})
	return ders, err
}
