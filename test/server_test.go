package test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coredns/caddy"

	"coredns-smimea/internal/harness"
)

// A server is one running name server of ours.
type server struct {
	addr string // "127.0.0.1:port", for UDP and TCP alike
	log  *harness.Log
	cmd  *exec.Cmd // nil in process

	instance *caddy.Instance // nil if it is a process
}

// block is one server block of a Corefile on loopback. The zones are without
// ports; the word PORT, which block puts there, is replaced when the server starts.
//
// debug lets a panic end the process instead of turning it into a SERVFAIL.
func block(zones string, directives ...string) string {
	var b strings.Builder
	for i, zone := range strings.Fields(zones) {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(zone + ":PORT")
	}
	b.WriteString(" {\n\tbind 127.0.0.1\n\tdebug\n\terrors\n")
	for _, d := range directives {
		b.WriteString("\t" + strings.ReplaceAll(strings.TrimSpace(d), "\n", "\n\t") + "\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// startMu serialises starts and ends: caddy's and dnsserver's package variables, such
// as the list of instances, are not safe for concurrent use.
var startMu sync.Mutex

// startServer runs a Corefile in this process until the test ends, so that the
// race detector sees it.
func startServer(t *testing.T, corefile string) *server {
	t.Helper()
	s, err := tryServer(t, corefile)
	if err != nil {
		t.Fatalf("starting the server: %v\n%s", err, corefile)
	}
	return s
}

// tryServer is startServer that returns the error of a start that fails.
func tryServer(t *testing.T, corefile string) (*server, error) {
	t.Helper()
	s := new(server)
	err := harness.OnFreePort(func(port int) (err error) {
		startMu.Lock()
		defer startMu.Unlock()
		s.addr = harness.Loopback(port)
		s.instance, err = caddy.Start(s.input(corefile))
		return err
	})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { end(t, s.instance) })
	return s, nil
}

// end ends a server of this process.
func end(t *testing.T, i *caddy.Instance) {
	for _, err := range i.ShutdownCallbacks() {
		t.Errorf("shutting down: %v", err)
	}
	startMu.Lock()
	err := i.Stop()
	startMu.Unlock()
	if err != nil {
		t.Errorf("stopping the server: %v", err)
	}
	i.Wait()
}

// reload puts another Corefile into force in a server that startServer has started.
func (s *server) reload(t *testing.T, corefile string) {
	t.Helper()
	if err := s.tryReload(t, corefile); err != nil {
		t.Fatalf("reloading: %v\n%s", err, corefile)
	}
}

// tryReload is reload that returns the error of one that fails.
func (s *server) tryReload(t *testing.T, corefile string) (err error) {
	t.Helper()
	// CoreDNS does not stop a server that has not quite begun to serve.
	waitFor(t, "an answer from "+s.addr, func() bool { return harness.Answers(s.addr) })
	startMu.Lock()
	defer startMu.Unlock()
	s.instance, err = s.instance.Restart(s.input(corefile))
	return err
}

// input is a Corefile for a server at its port.
func (s *server) input(corefile string) caddy.CaddyfileInput {
	return caddy.CaddyfileInput{
		Filepath:       "Corefile",
		Contents:       []byte(strings.ReplaceAll(corefile, "PORT", portOf(s.addr))),
		ServerTypeName: "dns",
	}
}

// startProcess runs a Corefile with the real binary until the test ends, in dir as
// its working directory ("" for an empty one of its own).
func startProcess(t *testing.T, dir, corefile string) *server {
	t.Helper()
	return startBinary(t, builtServer(t), dir, corefile)
}

// startBinary is startProcess for a given binary.
func startBinary(t *testing.T, binary, dir, corefile string) *server {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	s := &server{}
	err := harness.OnFreePort(func(port int) error {
		s.addr, s.log = harness.Loopback(port), &harness.Log{}
		conf := filepath.Join(t.TempDir(), "Corefile")
		writeFile(t, conf, strings.ReplaceAll(corefile, "PORT", strconv.Itoa(port)))
		s.cmd = exec.Command(binary, "-conf", conf)
		s.cmd.Dir = dir
		return run(t, s.cmd, s.log, s.addr)
	})
	if err != nil {
		t.Fatalf("starting %s: %v\n%s", binary, err, corefile)
	}
	t.Cleanup(func() { checkLog(t, s.log) })
	return s
}

// failProcess runs a Corefile that cannot start with the real binary and returns
// what the binary says about it.
func failProcess(t *testing.T, dir, corefile string) string {
	t.Helper()
	port := freePort(t)
	conf := filepath.Join(t.TempDir(), "Corefile")
	writeFile(t, conf, strings.ReplaceAll(corefile, "PORT", strconv.Itoa(port)))
	cmd := exec.CommandContext(t.Context(), builtServer(t), "-conf", conf)
	cmd.Dir = dir
	done := make(chan struct{})
	go func() { // it started after all: end it, Run then returns no error or "terminated"
		if harness.Wait(harness.Patience, done, func() bool { return harness.Answers(harness.Loopback(port)) }) {
			cmd.Process.Signal(syscall.SIGTERM)
		}
	}()
	out, err := cmd.CombinedOutput()
	close(done)
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("the server started, or died otherwise (%v), with\n%s\nand said\n%s", err, corefile, out)
	}
	return string(out)
}

// testedServer returns a command that runs a Corefile with this test program as the
// server, and so with the race detector if the tests have it. It has the plugins
// that main_test.go names.
func testedServer(t *testing.T, conf string) []string {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{"env", asServer + "=1", program, "-conf", conf}
}

// checkLog fails the test if a server has panicked, or if the race detector has found
// something in it.
func checkLog(t *testing.T, log *harness.Log) {
	t.Helper()
	if text := log.String(); strings.Contains(text, "panic") || strings.Contains(text, "DATA RACE") {
		t.Errorf("the server panicked, or has a race:\n%s", text)
	}
}

// builtServer returns the path of the coredns of this tree, built once a run.
func builtServer(t *testing.T) string {
	t.Helper()
	binary, err := buildServer()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

var buildServer = sync.OnceValues(func() (string, error) { return build("./cmd/coredns") })

// build builds one of our programs as make does.
func build(pkg string) (string, error) {
	binary := filepath.Join(scratch, filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-o", binary, pkg)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", pkg, err, out)
	}
	return binary, nil
}

// run starts cmd, whose output goes to log, waits until addr answers over UDP and
// TCP, and ends it with the test.
func run(t *testing.T, cmd *exec.Cmd, log *harness.Log, addr string) error {
	t.Helper()
	return runFor(t, cmd, log, addr, harness.Patience)
}

// buildTime is how long a build of CoreDNS may take on a slow machine with a cold
// cache.
const buildTime = 10 * time.Minute

// runFor is run for what takes longer to come up.
func runFor(t *testing.T, cmd *exec.Cmd, log *harness.Log, addr string, wait time.Duration) error {
	t.Helper()
	p, err := harness.Serve(cmd, log, addr, wait)
	if err != nil {
		return err
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return nil
}

// waitFor waits until cond holds; what says in the failure what for.
func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	waitLong(t, what, harness.Patience, cond)
}

// serialTick is the time that serials count.
const serialTick = time.Second / 4

// tick has what is written from now on get a later time than what was written before,
// counted in units.
func tick(t *testing.T, unit time.Duration) {
	t.Helper()
	if err := harness.Tick(t.TempDir(), unit); err != nil {
		t.Fatal(err)
	}
}

// aged waits until everything that was written before is so old that a server reads it
// once: what changed less than 50 ms ago it reads again soon.
func aged(t *testing.T) {
	t.Helper()
	if err := harness.Age(t.TempDir(), 200*time.Millisecond); err != nil {
		t.Fatal(err)
	}
}

// waitLong is waitFor for what takes longer.
func waitLong(t *testing.T, what string, wait time.Duration, cond func() bool) {
	t.Helper()
	if !harness.Wait(wait, nil, cond) {
		t.Fatalf("waited %s for %s", wait, what)
	}
}

// freePort returns a port of 127.0.0.1 that is free for UDP and TCP and was not
// given out before.
func freePort(t *testing.T) int {
	t.Helper()
	port, err := harness.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// portOf returns the port of a "host:port".
func portOf(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// command runs a program to its end and returns its standard output.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", cmd, err, out, &stderr)
	}
	return string(out)
}
