package test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/internal/harness"
)

// load fetches a URL over old and new connections until stop, and counts.
type load struct {
	done, failed atomic.Int64
	stop         chan struct{}
	wait         sync.WaitGroup
}

// startLoad begins with some clients, half of them with one connection a request.
func startLoad(t *testing.T, w *web, clients int, url, want string) *load {
	t.Helper()
	l := &load{stop: make(chan struct{})}
	for i := range clients {
		c := w.client(t)
		l.wait.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-l.stop:
					return
				default:
				}
				response, err := c.Get(url)
				if err == nil {
					var body []byte
					body, err = io.ReadAll(response.Body)
					response.Body.Close()
					if err == nil && (response.StatusCode != 200 || string(body) != want) {
						err = fmt.Errorf("status %d", response.StatusCode)
					}
				}
				if err != nil && l.failed.Add(1) < 5 {
					t.Error(err)
				}
				l.done.Add(1)
				if i%2 == 0 && n%20 == 0 {
					c.CloseIdleConnections()
				}
			}
		})
	}
	return l
}

func (l *load) end() {
	close(l.stop)
	l.wait.Wait()
}

// TestHTTPSReload reloads the real binary while it is asked: by the reload plugin and
// by SIGUSR1, with the Corefile changed and as it was, and with Corefiles that cannot
// be put into force, early or late. No request of 10,000 fails, and no file
// descriptor is left.
func TestHTTPSReload(t *testing.T) {
	dir := t.TempDir()
	cert{addresses: []string{"alice@example.com"}}.write(t, filepath.Join(dir, "alice.pem"))
	w, options := newWeb(t, "example.com")
	other := t.TempDir()
	cert{addresses: []string{"bob@example.org"}}.write(t, filepath.Join(other, "bob.pem"))
	first := block("example.com", smimea(dir, options), "reload 2s 1s")
	changed := block("example.com", smimea(dir, options+"\nttl 30m"), "reload 2s 1s")
	more := changed + block("example.org", smimea(other, options))
	broken := unloadable(t, w, dir, options, changed)
	s := startProcess(t, "", first)
	certificate := string(derOf(t, filepath.Join(dir, "alice.pem")))
	l := startLoad(t, w, 8, fileURL("example.com", "alice.pem"), certificate)
	served := func(domain, local string) bool {
		m, _ := ask(t, s.addr, question{name: hashOwner(local, domain+"."), qtype: dns.TypeSMIMEA})
		return len(m.Answer) == 1
	}

	// reload sees the change by itself. After SIGUSR1 it is dead, which is CoreDNS's.
	writeFile(t, s.cmd.Args[2], strings.ReplaceAll(changed, "PORT", portOf(s.addr)))
	complete := 1
	waitFor(t, "reload to reload", func() bool { return lines(s.log, "Reloading complete") >= complete })
	handles, before := -1, l.done.Load()
	for round := 0; l.done.Load() < before+10_000 || round < 3; round++ {
		for _, corefile := range []string{changed, more, more, first} {
			complete++
			s.signal(t, corefile, "Reloading complete", complete)
			if got := served("example.org", "bob"); got != (corefile == more) {
				t.Errorf("round %d: bob is served: %v", round, got)
			}
		}
		failures := strings.Count(s.log.String(), "[ERROR] SIGUSR1")
		for name, corefile := range broken {
			failures++
			s.signal(t, corefile, "[ERROR] SIGUSR1", failures)
			if !served("example.com", "alice") {
				t.Errorf("%s: alice is not served any more", name)
			}
		}
		// What a reload opens it gives back, if it fails as well.
		if handles < 0 {
			handles = descriptors(t, s.cmd.Process.Pid)
		} else if round >= 2 {
			waitFor(t, fmt.Sprintf("not many more file descriptors than the %d after the first round", handles), func() bool {
				return descriptors(t, s.cmd.Process.Pid) <= handles+16 // connections come and go
			})
		}
	}
	l.end()
	t.Logf("%d requests, %d failed, %d reloads, %d refused", l.done.Load(), l.failed.Load(), complete, strings.Count(s.log.String(), "[ERROR] SIGUSR1"))
	// The address is still free for who was refused it only because of us.
	if c, err := net.Dial("tcp", w.addr); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	s.signal(t, block("example.com", "smimea "+dir), "Reloading complete", complete+1)
	waitFor(t, "the listener to close", func() bool {
		l, err := net.Listen("tcp", w.addr)
		if err == nil {
			l.Close()
		}
		return err == nil
	})
}

// unloadable returns Corefiles that cannot be put into force, some of which fail only
// after others of their blocks have started. good is one that can.
func unloadable(t *testing.T, w *web, dir, options, good string) map[string]string {
	t.Helper()
	other := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	return map[string]string{
		"unknown option": block("example.com", smimea(dir, options+"\nnonsense")),
		"taken port":     good + block("example.org", smimea(other, "http "+taken.Addr().String())),
		"bad key":        good + block("example.org", smimea(other, "https "+w.addr+"\ntls "+w.trust+" "+w.trust)),
		"same domain":    good + block("_smimecert.example.com", smimea(dir, options)),
		"no directory":   good + block("example.org", smimea(dir+"/none", options)),
		"plain and TLS":  good + block("example.org", smimea(other, "http "+w.addr)),
		"a port more":    block("example.org", smimea(other, "http "+portOf(harness.Loopback(freePort(t))))) + good + block("example.net", smimea(other, "http "+taken.Addr().String())),
	}
}

// TestHTTPSReloadLeaks has reloads fail in this process, where goroutines can be counted.
func TestHTTPSReloadLeaks(t *testing.T) {
	dir := t.TempDir()
	cert{addresses: []string{"alice@example.com"}}.write(t, filepath.Join(dir, "alice.pem"))
	w, options := newWeb(t, "example.com")
	good := block("example.com", smimea(dir, options))
	s := startServer(t, good)
	broken := unloadable(t, w, dir, options, block("example.com", smimea(dir, options+"\nttl 30m")))
	s.reload(t, good)
	const times = 10
	before := runtime.NumGoroutine()
	for name, corefile := range broken {
		for range times {
			if err := s.tryReload(t, corefile); err == nil {
				t.Fatalf("%s: the reload succeeded", name)
			}
		}
		if code := w.status(t, fileURL("example.com", "alice.pem")); code != "200" {
			t.Errorf("after %s: %s", name, code)
		}
	}
	// One goroutine for each failure would be seen.
	waitFor(t, "goroutines to end", func() bool { return runtime.NumGoroutine() < before+times })
	t.Logf("%d goroutines, %d after %d failed reloads", before, runtime.NumGoroutine(), times*len(broken))
}

// descriptors returns how many files a process has open.
func descriptors(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestHTTPSPorts holds what a start says when it cannot have the port.
func TestHTTPSPorts(t *testing.T) {
	dir := t.TempDir()
	cert{addresses: []string{"alice@example.com"}}.write(t, filepath.Join(dir, "alice.pem"))
	w, options := newWeb(t, "example.com")
	trust, key := w.trust, strings.TrimSuffix(w.trust, ".pem")+".key"
	port := portOf(w.addr)
	doh := func(address string) string {
		return address + " {\n\tbind 127.0.0.2 127.0.0.1\n\ttls " + trust + " " + key + "\n\twhoami\n}\n"
	}
	// Another process has it, with SO_REUSEPORT as CoreDNS would set it.
	taken := listenReuse(t)
	defer taken.Close()
	for name, c := range map[string]struct {
		corefile string
		words    []string
	}{
		"another process": {block("example.com", smimea(dir, strings.ReplaceAll(options, w.addr, taken.Addr().String()))), []string{taken.Addr().String(), "taken"}},
		"DoH":             {block("example.com", smimea(dir, options)) + doh("https://example.org:"+port), []string{"https://example.org:" + port, "DNS over HTTPS", "another port"}},
		"DoH before":      {doh("https://.:"+port) + block("example.com", smimea(dir, options)), []string{"DNS over HTTPS", "another port"}},
		"DoH, default":    {block("example.com", smimea(dir, "https 127.0.0.1\ntls "+trust+" "+key)) + doh("https://example.org"), []string{"443", "DNS over HTTPS"}},
		"DoH, of http":    {block("example.com", smimea(dir, "http "+port)) + doh("https://example.org:"+port), []string{"DNS over HTTPS", "another port"}},
		"DoT":             {block("example.com", smimea(dir, options)) + doh("tls://example.org:"+port), []string{port}},
		"DNS itself":      {block("example.com", smimea(dir, "https 127.0.0.1:PORT\ntls "+trust+" "+key)), []string{"PORT"}},
		"no port":         {block("example.com", smimea(dir, "http 127.0.0.1:x")), []string{"option http", "port"}},
		"host alone":      {block("example.com", smimea(dir, "http 127.0.0.1")), []string{"option http", "port"}},
	} {
		said := failProcess(t, "", c.corefile)
		for _, word := range c.words {
			if word != "PORT" && !strings.Contains(said, word) {
				t.Errorf("%s: no %q in\n%s", name, word, said)
			}
		}
	}
	// A port alone is of loopback's first address: the second is free.
	startServer(t, block("example.com", smimea(dir, "http "+port)))
	second, err := net.Listen("tcp", "127.0.0.2:"+port)
	if err != nil {
		t.Fatalf("http listens on more than 127.0.0.1: %v", err)
	}
	second.Close()
	if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
		l.Close()
		t.Error("http does not listen on 127.0.0.1")
	}
	w, options = newWeb(t, "example.com")
	port = portOf(w.addr)
	// DoH at another address is nobody's concern.
	startProcess(t, "", block("example.com", smimea(dir, options))+strings.Replace(doh("https://example.org:"+port), "127.0.0.2 127.0.0.1", "127.0.0.2", 1))
	if code := w.status(t, fileURL("example.com", "alice.pem")); code != "200" {
		t.Errorf("beside DoH: %s", code)
	}
}

// listenReuse listens on a port that others with SO_REUSEPORT could share.
func listenReuse(t *testing.T) net.Listener {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		const reusePort = 15 // SO_REUSEPORT on Linux
		if control := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, reusePort, 1) }); control != nil {
			return control
		}
		return err
	}}
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestSlowConnections opens 1,000 connections that dawdle, and measures the DNS beside:
// each query is answered, and costs the processor no more than before.
func TestSlowConnections(t *testing.T) {
	dir := t.TempDir()
	cert{addresses: []string{"alice@example.com"}}.write(t, filepath.Join(dir, "alice.pem"))
	w, options := newWeb(t, "example.com")
	s := startProcess(t, "", block("example.com", smimea(dir, options)))
	query := question{name: hashOwner("alice", "example.com."), qtype: dns.TypeSMIMEA}.pack(t)
	// The time that passes on a clock is the whole machine's affair, that of the
	// processor is the server's.
	measure := func() time.Duration {
		t.Helper()
		began := processorTime(t, s.cmd.Process.Pid)
		for range 5000 {
			if _, err := exchange(s.addr, "udp", query, lostAfter); err != nil {
				t.Fatalf("a query is lost: %v", err)
			}
		}
		return processorTime(t, s.cmd.Process.Pid) - began
	}
	before := measure()
	ctx, cancel := context.WithCancel(t.Context())
	var dawdlers sync.WaitGroup
	for i := range 1000 {
		dawdlers.Go(func() { dawdle(ctx, w.addr, i%2 == 0) })
	}
	defer dawdlers.Wait()
	defer cancel()
	waitFor(t, "the server to have them", func() bool { return descriptors(t, s.cmd.Process.Pid) > 900 })
	beside := measure()
	t.Logf("5,000 queries take %s of the processor, beside 1,000 slow connections %s", before, beside)
	if beside > 10*before+time.Second {
		t.Errorf("5,000 queries took %s of the processor, and %s beside 1,000 slow connections", before, beside)
	}
	if code := w.status(t, fileURL("example.com", "alice.pem")); code != "200" {
		t.Errorf("a quick one among them: %s", code)
	}
}

// dawdle connects, and says half of a handshake or nothing; when it is cut, again.
func dawdle(ctx context.Context, addr string, half bool) {
	for ctx.Err() == nil {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			continue
		}
		hangUp := context.AfterFunc(ctx, func() { c.Close() })
		if half {
			c.Write([]byte{22, 3, 1, 1, 0, 1})
		}
		io.Copy(io.Discard, c)
		hangUp()
		c.Close()
	}
}

// processorTime returns how long a process has used processors.
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, fields, _ := strings.Cut(string(text), ") ") // behind the number and the name
	var ticks int
	for _, field := range strings.Fields(fields)[11:13] { // utime and stime, of proc_pid_stat(5)
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100 on Linux
}
