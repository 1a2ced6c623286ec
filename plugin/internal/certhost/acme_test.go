package certhost

import (
	"bufio"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coredns-smimea/internal/pebble"
)

// month is a validity with which nothing is due soon: pebble says of a certificate of
// an hour that it is due within the first minutes.
const month = 30 * 24 * time.Hour

func acmeOptions(p *pebble.CA, storage string, domains ...string) *ACME {
	return &ACME{Domains: domains, Email: "hostmaster@example.com", CA: p.URL(), Roots: rootsOf(p.RootFile), RootsFrom: p.RootFile, Storage: storage}
}

// certified waits until the lease's listener shows a good certificate.
func certified(t testing.TB, p *pebble.CA, lease *Lease, name string, log *recorder) (serial string) {
	t.Helper()
	last := errors.New("none")
	defer func() {
		if t.Failed() {
			t.Log(last)
			if log != nil {
				log.dump(t)
			}
		}
	}()
	eventually(t, "certificate for "+name, func() bool {
		state, err := handshake(lease, name)
		if err == nil {
			if err = p.Verify(state, name); err == nil {
				serial = state.PeerCertificates[0].SerialNumber.String()
			}
		}
		last = err
		return err == nil
	})
	return serial
}

// The CA is down at the start: the host starts, a handshake fails cleanly, and
// the certificate comes when the CA does. Reloads keep it, a new start finds it
// in the storage with the CA down again, and it is renewed.
func TestACME(t *testing.T) {
	p := pebble.New(t, nil, month)
	options := acmeOptions(p, t.TempDir(), "mail.example")
	p.Close() // its address stays, and its own certificate is httptest's constant

	files, _ := one(t, "mail.example", "alice.crt", "alice")
	log := newRecorder()
	config := Config{Owner: 1, Address: "127.0.0.1:0", Domains: []string{"mail.example"}, TLS: &TLS{ACME: options}, Log: log, Metrics: log}
	lease := start(t, config, files) // which does not wait for the CA
	eventually(t, "attempts to reach the CA", func() bool { return log.see(func() bool { return log.events["ca_unreachable"] > 2 }) })
	if _, err := handshake(lease, "mail.example", "h2"); err == nil || !strings.Contains(err.Error(), "internal error") {
		t.Errorf("without a certificate: %v", err)
	}
	eventually(t, "failure counted", func() bool { return log.see(func() bool { return log.failures["no_certificate"] > 0 }) })

	l, err := net.Listen("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	p = pebble.New(t, l, month)
	p.Validate(lease.Addr().String(), pebble.Resolver(t, new(Challenges).Values))
	first := certified(t, p, lease, "mail.example", log)
	if response, _ := get(t, client(lease, true), "https://mail.example/.well-known/smime/alice.crt"); response.StatusCode != 200 || response.Proto != "HTTP/2.0" {
		t.Errorf("%s %s", response.Proto, response.Status)
	}
	if _, err := handshake(lease, "other.example"); err == nil {
		t.Error("a handshake for another name succeeds")
	}
	if state, err := handshake(lease, ""); err != nil || len(state.PeerCertificates) == 0 {
		t.Errorf("a handshake without a name: %v", err)
	}
	rootFile := filepath.Join(t.TempDir(), "root.pem")
	write(t, rootFile, p.Root())
	if said := tool(t, nil, "openssl", "s_client", "-connect", lease.Addr().String(), "-servername", "mail.example", "-CAfile", rootFile, "-verify_hostname", "mail.example", "-verify_return_error"); !strings.Contains(said, "Verify return code: 0 (ok)") {
		t.Errorf("openssl s_client: %s", said)
	}

	// Reloads: the same options, then others, with the same storage.
	for owner := 2; owner < 6; owner++ {
		config.Owner = owner
		if owner == 5 {
			changed := *options
			changed.Email = "other@example.com"
			config.TLS = &TLS{ACME: &changed}
		}
		next := start(t, config, files)
		if again := certified(t, p, next, "mail.example", log); again != first {
			t.Error("a reload shows another certificate")
		}
		if _, err := handshake(next, "mail.example"); err != nil {
			t.Errorf("at once after a reload: %v", err)
		}
		lease.Release()
		lease = next
	}
	lease.Release()
	if n := p.Orders(); n != 1 {
		t.Errorf("%d orders", n)
	}
	eventually(t, "expiry forgotten", func() bool { return log.see(func() bool { return log.expiry["mail.example"].IsZero() }) })
	p.Close()
	lease = start(t, config, files)
	if _, err := handshake(lease, "mail.example"); err != nil {
		t.Errorf("from the storage, CA down: %v", err)
	}
	if !log.see(func() bool {
		return log.events["obtaining"] == 1 && log.events["obtained"] == 1 && log.events["challenge"] > 0
	}) {
		t.Errorf("events: %v", log.events)
	}
}

func TestACMERenewal(t *testing.T) {
	p := pebble.New(t, nil, 12*time.Second)
	files, _ := one(t, "mail.example", "alice.crt", "alice")
	log := newRecorder()
	lease := start(t, Config{Domains: []string{"mail.example"}, TLS: &TLS{ACME: acmeOptions(p, t.TempDir(), "mail.example")}, Log: log, Metrics: log}, files)
	p.Validate(lease.Addr().String(), pebble.Resolver(t, new(Challenges).Values))
	first := certified(t, p, lease, "mail.example", log)
	var expiry time.Time
	eventually(t, "expiry", func() bool {
		return log.see(func() bool { expiry = log.expiry["mail.example"]; return !expiry.IsZero() })
	})
	eventually(t, "renewal", func() bool {
		state, err := handshake(lease, "mail.example")
		return err == nil && state.PeerCertificates[0].SerialNumber.String() != first
	})
	eventually(t, "later expiry", func() bool { return log.see(func() bool { return log.expiry["mail.example"].After(expiry) }) })
	if !log.see(func() bool { return log.events["renewed"] > 0 }) {
		log.dump(t)
		t.Errorf("events: %v", log.events)
	}
}

// A CA that refuses is asked again, at growing intervals, and the storage is
// not locked meanwhile.
func TestACMERefused(t *testing.T) {
	p := pebble.New(t, nil, month)
	resolver := pebble.Resolver(t, new(Challenges).Values)
	p.Validate("127.0.0.1:1", resolver)
	files, _ := one(t, "mail.example", "alice.crt", "alice")
	log := newRecorder()
	storage := t.TempDir()
	lease := start(t, Config{Domains: []string{"mail.example"}, TLS: &TLS{ACME: acmeOptions(p, storage, "mail.example")}, Log: log, Metrics: log}, files)
	eventually(t, "failure", func() bool { return log.see(func() bool { return log.events["failed"] > 0 }) })
	eventually(t, "the storage's lock is given back", func() bool {
		locks, _ := filepath.Glob(filepath.Join(storage, "locks", "*issue*"))
		return len(locks) == 0
	})
	p.Validate(lease.Addr().String(), resolver)
	certified(t, p, lease, "mail.example", log)
	if log.see(func() bool {
		for _, line := range log.lines {
			if strings.HasPrefix(line, "warning https: acme: no certificate for mail.example yet, next try in ") {
				return false
			}
		}
		return true
	}) {
		log.dump(t)
		t.Error("the failure is not in the log")
	}
}

func TestACMEDNS(t *testing.T) {
	p := pebble.New(t, nil, month)
	key := []byte("a key of external account binding, 32 octets or more")
	keyFile := filepath.Join(t.TempDir(), "hmac")
	write(t, keyFile, []byte(base64.URLEncoding.EncodeToString(key)+"\n"))
	p.RequireAccount("kid-1", key)
	var challenges Challenges
	p.Validate("", pebble.Resolver(t, challenges.Values))
	files, _ := one(t, "mail.example", "alice.crt", "alice")
	log := newRecorder()
	options := acmeOptions(p, t.TempDir(), "mail.example", "*.mail.example")
	options.Challenges, options.EABKeyID, options.EABKeyFile = &challenges, "kid-1", keyFile
	lease := start(t, Config{Domains: []string{"mail.example"}, TLS: &TLS{ACME: options}, Log: log, Metrics: log}, files)
	certified(t, p, lease, "mail.example", log)
	certified(t, p, lease, "certs.mail.example", log)
	eventually(t, "challenges gone", func() bool { return !challenges.Active() })
	if left, _ := os.ReadDir(filepath.Join(options.Storage, "dns-01")); len(left) > 0 {
		t.Errorf("left in the storage: %v", left)
	}
}

// Processes that share a storage: a challenge that one presents, another
// answers; a certificate that one obtains, all have; and only one obtains it.
func TestACMEShared(t *testing.T) {
	for _, kind := range []string{"tls-alpn-01", "dns-01"} {
		t.Run(kind, func(t *testing.T) {
			p := pebble.New(t, nil, month)
			storage := t.TempDir()
			other := newProcess(t, acmeOptions(p, storage, "other.example"), kind)
			if kind == "dns-01" {
				p.Validate("", other.resolver)
			} else {
				p.Validate(other.addr, other.resolver)
			}
			log := newRecorder()
			files, _ := one(t, "mail.example", "alice.crt", "alice")
			options := acmeOptions(p, storage, "mail.example")
			if kind == "dns-01" {
				options.Challenges = new(Challenges)
			}
			lease := start(t, Config{Domains: []string{"mail.example"}, TLS: &TLS{ACME: options}, Log: log, Metrics: log}, files)
			serial := certified(t, p, lease, "mail.example", log)
			if kind != "dns-01" && !log.see(func() bool { return log.events["challenge"] == 0 }) {
				t.Error("the CA has asked this process: nothing is shown")
			}
			before := p.Orders()
			third := newProcess(t, acmeOptions(p, storage, "mail.example"), kind)
			if got := certified(t, p, &Lease{host: &host{listener: third}}, "mail.example", nil); got != serial {
				t.Error("a third process shows another certificate")
			}

			// Two that begin at the same time, with an order each otherwise.
			contended := acmeOptions(p, storage, "both.example")
			fourth := newProcess(t, contended, kind)
			if kind == "dns-01" {
				contended.Challenges = new(Challenges)
			}
			lease = start(t, Config{Domains: []string{"both.example"}, TLS: &TLS{ACME: contended}, Log: log, Metrics: log}, files)
			a := certified(t, p, lease, "both.example", log)
			b := certified(t, p, &Lease{host: &host{listener: fourth}}, "both.example", nil)
			if a != b {
				t.Error("two processes show two certificates")
			}
			if n := p.Orders() - before; n > 2 { // other.example may be late
				t.Errorf("%d orders", n)
			}
		})
	}
}

// A process is this test binary again, as a host of its own. It is a
// net.Listener only so that it can stand in a Lease.
type process struct {
	net.Listener
	addr, resolver string
}

func (p process) Addr() net.Addr {
	a, _ := net.ResolveTCPAddr("tcp", p.addr)
	return a
}

func newProcess(t testing.TB, options *ACME, kind string) process {
	t.Helper()
	config, _ := json.Marshal(options)
	command := exec.Command(os.Args[0], "-test.run=^TestProcess$")
	command.Env = append(os.Environ(), "CERTHOST_PROCESS="+string(config), "CERTHOST_CHALLENGE="+kind)
	command.Stderr = os.Stderr
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close() // which ends it
		command.Wait()
	})
	var p process
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(line, "ready %s %s", &p.addr, &p.resolver); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return p
}

// TestProcess is what a process runs. It is no test of its own.
func TestProcess(t *testing.T) {
	config := os.Getenv("CERTHOST_PROCESS")
	if config == "" {
		return
	}
	var options ACME
	if err := json.Unmarshal([]byte(config), &options); err != nil {
		t.Fatal(err)
	}
	options.Roots = rootsOf(options.RootsFrom)
	challenges := new(Challenges)
	if os.Getenv("CERTHOST_CHALLENGE") == "dns-01" {
		options.Challenges = challenges
	}
	files, _ := one(t, options.Domains[0], "alice.crt", "alice")
	lease := start(t, Config{Domains: options.Domains, TLS: &TLS{ACME: &options}}, files)
	fmt.Println("ready", lease.Addr(), pebble.Resolver(t, challenges.Values))
	bufio.NewReader(os.Stdin).ReadByte()
}

// rootsOf returns the certificates of a file.
func rootsOf(file string) *x509.CertPool {
	text, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return pool
}

func TestACMEOptions(t *testing.T) {
	storage := t.TempDir()
	empty, key := filepath.Join(storage, "empty"), filepath.Join(storage, "key")
	write(t, empty, nil)
	write(t, key, []byte("not+base64url"))
	for _, test := range []struct {
		options ACME
		want    string
	}{
		{ACME{Storage: storage}, "at least one domain"},
		{ACME{Domains: []string{"a b"}, Storage: storage}, "not a host name"},
		{ACME{Domains: []string{"127.0.0.1"}, Storage: storage}, "not a host name"},
		{ACME{Domains: []string{"*.example.com"}, Storage: storage}, "DNS challenge"},
		{ACME{Domains: []string{"example.com"}}, "storage"},
		{ACME{Domains: []string{"example.com"}, Storage: storage, CA: "http://127.0.0.1/dir"}, "https"},
		{ACME{Domains: []string{"example.com"}, Storage: storage, EABKeyID: "x"}, "needs both"},
		{ACME{Domains: []string{"example.com"}, Storage: storage, EABKeyID: "x", EABKeyFile: key}, "base64url"},
		{ACME{Domains: []string{"example.com"}, Storage: empty}, "storage"},
	} {
		_, err := Acquire(Config{Address: "127.0.0.1:0", Domains: []string{"example.com"}, TLS: &TLS{ACME: &test.options}})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v", test.options, err)
		}
	}
	registry.Lock()
	defer registry.Unlock()
	if len(registry.hosts)+len(registry.sources) > 0 {
		t.Error("an error leaves something behind")
	}
}
