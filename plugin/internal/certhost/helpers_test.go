package certhost

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"coredns-smimea/internal/harness"
)

// selfSigned makes a certificate with key; template fields that are zero get values.
func selfSigned(t testing.TB, template x509.Certificate) (der []byte, key *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, _ = rand.Int(rand.Reader, big.NewInt(1<<62))
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(24 * time.Hour)
	}
	template.NotBefore = time.Now().Add(-time.Hour)
	der, err = x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

// mailCertificate is what the host gives out: one for an address.
func mailCertificate(t testing.TB, address string) Certificate {
	t.Helper()
	der, _ := selfSigned(t, x509.Certificate{
		Subject: pkix.Name{CommonName: address}, EmailAddresses: []string{address},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	})
	return published(der)
}

func published(der []byte) Certificate {
	return Certificate{
		Digest:   sha256.Sum256(der),
		NotAfter: time.Now().Add(24 * time.Hour),
		Modified: time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC),
		TTL:      time.Hour,
		DER:      func() ([]byte, error) { return der, nil },
	}
}

// serverPair writes a TLS certificate for the names and its key as PEM files.
func serverPair(t testing.TB, dir string, names ...string) (certFile, keyFile string) {
	t.Helper()
	der, key := selfSigned(t, x509.Certificate{DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, Subject: pkix.Name{CommonName: names[0]}})
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, names[0]+".pem"), filepath.Join(dir, names[0]+".key")
	write(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	return certFile, keyFile
}

func write(t testing.TB, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// directory is a Files made of maps.
type directory struct {
	files  map[string]Certificate // domain + "/" + path
	labels map[string][]Certificate
}

func (d *directory) File(domain, path string) (Certificate, error) {
	if c, ok := d.files[domain+"/"+path]; ok {
		return c, nil
	}
	return Certificate{}, ErrNotFound
}

func (d *directory) ByHash(domain string, hash [28]byte) ([]Certificate, error) {
	if c, ok := d.labels[domain+"/"+fmt.Sprintf("%x", hash)]; ok {
		return c, nil
	}
	return nil, ErrNotFound
}

func label(local string) string {
	sum := sha256.Sum256([]byte(local))
	return fmt.Sprintf("%x", sum[:28])
}

// one publishes a single certificate under a file name and an address.
func one(t testing.TB, domain, file, local string) (*directory, Certificate) {
	c := mailCertificate(t, local+"@"+domain)
	return &directory{
		files:  map[string]Certificate{domain + "/" + file: c},
		labels: map[string][]Certificate{domain + "/" + label(local): {c}},
	}, c
}

// start acquires and publishes, and releases at the end of the test.
func start(t testing.TB, config Config, files Files) *Lease {
	t.Helper()
	if config.Address == "" {
		config.Address = "127.0.0.1:0"
	}
	if config.Owner == nil {
		config.Owner = new(int)
	}
	lease, err := Acquire(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lease.Release)
	lease.Publish(files)
	return lease
}

// client sends every name to the lease's listener and trusts every server.
func client(lease *Lease, http2 bool) *http.Client {
	transport := &http.Transport{
		DialContext:       dialer(lease),
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		ForceAttemptHTTP2: http2,
	}
	return &http.Client{Transport: transport, Timeout: 2 * time.Minute}
}

func get(t testing.TB, c *http.Client, url string, header ...string) (*http.Response, []byte) {
	t.Helper()
	return do(t, c, http.MethodGet, url, header...)
}

func do(t testing.TB, c *http.Client, method, url string, header ...string) (*http.Response, []byte) {
	t.Helper()
	request, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Add(header[i], header[i+1])
	}
	response, err := c.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, data
}

// recorder is Logger and Metrics.
type recorder struct {
	mu       sync.Mutex
	lines    []string
	requests map[int]int
	failures map[string]int
	events   map[string]int
	expiry   map[string]time.Time
	open     int
}

func newRecorder() *recorder {
	return &recorder{requests: map[int]int{}, failures: map[string]int{}, events: map[string]int{}, expiry: map[string]time.Time{}}
}

func (r *recorder) line(level, format string, v ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, level+" "+fmt.Sprintf(format, v...))
}

func (r *recorder) Debugf(f string, v ...any)    { r.line("debug", f, v...) }
func (r *recorder) Infof(f string, v ...any)     { r.line("info", f, v...) }
func (r *recorder) Warningf(f string, v ...any)  { r.line("warning", f, v...) }
func (r *recorder) Errorf(f string, v ...any)    { r.line("error", f, v...) }
func (r *recorder) Request(code int)             { r.mu.Lock(); r.requests[code]++; r.mu.Unlock() }
func (r *recorder) HandshakeError(reason string) { r.mu.Lock(); r.failures[reason]++; r.mu.Unlock() }
func (r *recorder) ACME(event string)            { r.mu.Lock(); r.events[event]++; r.mu.Unlock() }
func (r *recorder) Connections(_ string, n int)  { r.mu.Lock(); r.open = n; r.mu.Unlock() }
func (r *recorder) TLSCertificate(name string, notAfter time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expiry[name] = notAfter
}

// see runs f under the recorder's lock.
func (r *recorder) see(f func() bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return f()
}

func (r *recorder) dump(t testing.TB) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range r.lines {
		t.Log(line)
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	if !harness.Wait(harness.Patience, nil, condition) {
		t.Fatalf("%s: not within %s", what, harness.Patience)
	}
}

// tool runs an external program with input and returns its output.
func tool(t testing.TB, input []byte, name string, args ...string) string {
	t.Helper()
	command := exec.Command(name, args...)
	command.Stdin = bytes.NewReader(input)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Fatal(err)
		}
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, stdout.String(), stderr.String())
	}
	return stdout.String()
}
