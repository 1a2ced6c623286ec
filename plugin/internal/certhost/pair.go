package certhost

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"coredns-smimea/internal/armour"
	"coredns-smimea/internal/disk"
)

// lookInterval is how often certificate files are looked at; tests shorten it.
var lookInterval = 2 * time.Second

// A filePair serves a certificate and key from files and follows their changes.
type filePair struct {
	certFile, keyFile string
	log               Logger
	metrics           Metrics

	tls     *tls.Config
	current atomic.Pointer[tls.Certificate] // the last good one, never nil

	stop chan struct{}
	done sync.WaitGroup

	// Owned by the goroutine that looks.
	seen    pairBytes // as last tried
	failure string    // of the last try, said once; empty: it was good
}

// pairBytes are the two files. They are small and compared whole: a renewal
// often leaves the size, and within a clock tick the time, as they were.
type pairBytes struct{ cert, key []byte }

func (p pairBytes) equal(q pairBytes) bool {
	return bytes.Equal(p.cert, q.cert) && bytes.Equal(p.key, q.key)
}

func newFilePair(config *Config) (*filePair, error) {
	p := &filePair{
		certFile: absolute(config.TLS.CertFile),
		keyFile:  absolute(config.TLS.KeyFile),
		log:      config.Log,
		metrics:  config.Metrics,
		stop:     make(chan struct{}),
	}
	if p.certFile == "" || p.keyFile == "" {
		return nil, errors.New("a TLS certificate needs two files, certificate and key")
	}
	p.tls = serving(&tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return p.current.Load(), nil
	}})
	read, err := p.read()
	if err == nil {
		err = p.take(read)
	}
	if err != nil {
		return nil, fmt.Errorf("loading TLS certificate: %w", err)
	}
	p.done.Add(1)
	go p.follow()
	return p, nil
}

func (p *filePair) config(bool) (*tls.Config, error) { return p.tls, nil }

func (p *filePair) activate(*Config)   { p.tell() }
func (p *filePair) deactivate(*Config) {}

func (p *filePair) close() {
	close(p.stop)
	p.done.Wait()
	if leaf, name := leafName(p.current.Load()); leaf != nil {
		p.metrics.TLSCertificate(name, time.Time{})
	}
}

func (p *filePair) follow() {
	defer p.done.Done()
	defer recovered(p.log, "reading a certificate", func() {})
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			p.look()
		case <-p.stop:
			return
		}
	}
}

func (p *filePair) look() {
	read, err := p.read()
	if err == nil {
		if read.equal(p.seen) {
			return // good or bad, it is the same
		}
		if err = p.take(read); err == nil {
			p.failure = ""
			p.tell()
			p.log.Infof("https: TLS certificate %q re-read, valid until %s", p.certFile, p.current.Load().Leaf.NotAfter.UTC().Format(time.RFC3339))
			return
		}
	}
	if said := err.Error(); said != p.failure {
		p.failure = said
		p.log.Warningf("https: the last good TLS certificate stays in use until the files are good again: %v", err)
	}
}

func (p *filePair) read() (read pairBytes, err error) {
	if read.cert, err = disk.ReadFile(p.certFile, disk.MaxSettings); err == nil {
		read.key, err = disk.ReadFile(p.keyFile, disk.MaxSettings)
	}
	return read, err
}

// take leaves the current certificate as it is if the new one is bad.
func (p *filePair) take(read pairBytes) error {
	p.seen = read
	pair, err := armour.KeyPair(read.cert, read.key)
	if err != nil {
		return fmt.Errorf("reading %q and %q: %w", p.certFile, p.keyFile, err)
	}
	if old := p.current.Swap(&pair); old != nil {
		_, was := leafName(old)
		if _, is := leafName(&pair); is != was {
			p.metrics.TLSCertificate(was, time.Time{})
		}
	}
	return nil
}

func (p *filePair) tell() {
	if leaf, name := leafName(p.current.Load()); leaf != nil {
		p.metrics.TLSCertificate(name, leaf.NotAfter)
	}
}
