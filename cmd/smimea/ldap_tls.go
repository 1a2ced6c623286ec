package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"sync/atomic"

	"coredns-smimea/internal/armour"
	"coredns-smimea/internal/disk"
)

// A keyPair is the TLS certificate of smimea ldap, which is read again when its files
// change. Only config's callbacks are for several goroutines.
type keyPair struct {
	certFile, keyFile string
	cert, key         []byte // as read last, good or bad
	failure           string // what was wrong with them
	current           atomic.Pointer[tls.Certificate]
}

func newKeyPair(certFile, keyFile string) (*keyPair, error) {
	if certFile == "" || keyFile == "" {
		return nil, usageError("-tls-cert and -tls-key go together")
	}
	k := &keyPair{certFile: certFile, keyFile: keyFile}
	if _, err := k.read(); err != nil {
		return nil, fail(exitNoInput, err)
	}
	return k, nil
}

// read reads the files, and takes the certificate if they have changed and are good.
func (k *keyPair) read() (changed bool, err error) {
	cert, err := disk.ReadFile(k.certFile, disk.MaxSettings)
	if err != nil {
		return false, err
	}
	key, err := disk.ReadFile(k.keyFile, disk.MaxSettings)
	if err != nil {
		return false, err
	}
	pair, err := armour.KeyPair(cert, key)
	if err != nil {
		return false, fmt.Errorf("reading %q and %q: %w", k.certFile, k.keyFile, err)
	}
	if bytes.Equal(cert, k.cert) && bytes.Equal(key, k.key) {
		return false, nil
	}
	k.cert, k.key = cert, key
	k.current.Store(&pair)
	return true, nil
}

func (k *keyPair) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return k.current.Load(), nil },
	}
}

// followTLS takes the TLS certificate that is there now, and says so. What is wrong with
// it is said once, or if somebody wants to know.
func (d *ldapDaemon) followTLS(asked bool) {
	if d.tls == nil {
		return
	}
	changed, err := d.tls.read()
	said := d.tls.failure
	switch d.tls.failure = ""; {
	case err != nil:
		if d.tls.failure = err.Error(); asked || said != d.tls.failure {
			d.say("the TLS certificate stays as it is: %v", err)
		}
	case changed || asked:
		d.say("the TLS certificate was read again")
	}
}
