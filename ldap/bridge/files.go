package bridge

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Open returns the bridge of a directory. Where there is none it makes one: the
// directory, the root and its key, which only the user can read.
func Open(dir string) (*Bridge, error) {
	b := &Bridge{now: time.Now}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	keyFile, rootFile := filepath.Join(dir, KeyFile), filepath.Join(dir, RootFile)
	_, rootErr := os.Stat(rootFile) // before the key, which is made first
	var err error
	if b.key, err = readKey(keyFile); errors.Is(err, fs.ErrNotExist) {
		if rootErr == nil {
			return nil, fmt.Errorf("there is the root %q, but not its key %q: bring that back, or remove the root to make a new one", rootFile, keyFile)
		}
		if b.key, err = makeKey(keyFile); errors.Is(err, fs.ErrExist) { // another gateway was faster
			b.key, err = readKey(keyFile)
		}
	}
	if err != nil {
		return nil, err
	}
	if b.root, err = readRoot(rootFile, b.key); errors.Is(err, fs.ErrNotExist) {
		if b.root, err = makeRoot(rootFile, b.key, b.now()); errors.Is(err, fs.ErrExist) {
			b.root, err = readRoot(rootFile, b.key)
		}
	}
	if err != nil {
		return nil, err
	}
	if !b.now().Before(b.root.NotAfter) {
		return nil, fmt.Errorf("the root %q has ended on %s: remove it and %q to make a new one, and install that", rootFile, b.root.NotAfter.Format(time.DateOnly), keyFile)
	}
	return b, nil
}

// Ends returns when the root ends. Nothing is bridged then.
func (b *Bridge) Ends() time.Time { return b.root.NotAfter }

// Root returns the root, DER.
func (b *Bridge) Root() []byte { return b.root.Raw }

func readKey(name string) (crypto.Signer, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others can read the key %q: whoever has it can make your mail program believe any address. chmod 600 it, or better remove it and the root to make new ones", name)
	}
	der, err := readPEM(name, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("the key %q cannot be read: %w", name, err)
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the key %q is not one that a bridge has made", name)
	}
	return signer, nil
}

func makeKey(name string) (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writePEM(name, "PRIVATE KEY", der, 0o600)
}

func readRoot(name string, key crypto.Signer) (*x509.Certificate, error) {
	der, err := readPEM(name, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("the root %q cannot be read: %w", name, err)
	}
	if public, ok := root.PublicKey.(*ecdsa.PublicKey); !ok || !public.Equal(key.Public()) {
		return nil, fmt.Errorf("the root %q is of another key than %q: remove both to make new ones", name, KeyFile)
	}
	return root, nil
}

func makeRoot(name string, key crypto.Signer, now time.Time) (*x509.Certificate, error) {
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	template := rootTemplate(spki, now)
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	if err := writePEM(name, "CERTIFICATE", der, 0o644); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func readPEM(name, kind string) ([]byte, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%q has no %s in PEM", name, kind)
	}
	return block.Bytes, nil
}

// writePEM writes a file that is not there yet, whole or not at all.
func writePEM(name, kind string, der []byte, mode fs.FileMode) error {
	file, err := os.CreateTemp(filepath.Dir(name), ".new") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	err = errors.Join(pem.Encode(file, &pem.Block{Type: kind, Bytes: der}), file.Chmod(mode), file.Sync(), file.Close())
	if err == nil {
		err = os.Link(file.Name(), name)
	}
	return err
}
