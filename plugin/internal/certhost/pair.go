package certhost

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
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
	seen    [2]stamp // of the files as last tried
	failure string   // of the last try, said once; empty: it was good
}

// A stamp tells that a file has probably changed.
type stamp struct {
	size     int64
	modified time.Time
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
	var err error
	if p.seen, err = p.stamps(); err == nil {
		err = p.load()
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

// look loads the files if they have changed, and again for as long as they are
// bad: the half that was missing may come with the same size and time.
func (p *filePair) look() {
	stamps, err := p.stamps()
	if err == nil {
		if stamps == p.seen && p.failure == "" {
			return
		}
		p.seen = stamps
		if err = p.load(); err == nil {
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

// load leaves the current certificate as it is if the new one is bad.
func (p *filePair) load() error {
	pair, err := tls.LoadX509KeyPair(p.certFile, p.keyFile)
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

// stamps follows symbolic links, as mounted secrets are renewed by turning one.
func (p *filePair) stamps() (stamps [2]stamp, err error) {
	for i, file := range [...]string{p.certFile, p.keyFile} {
		info, err := os.Stat(file)
		if err != nil {
			return stamps, err
		}
		stamps[i] = stamp{info.Size(), info.ModTime()}
	}
	return stamps, nil
}
