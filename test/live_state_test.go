package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"coredns-smimea/internal/harness"
)

// A restarted is a server, the real binary, that is stopped and started again.
type restarted struct {
	*liveDir
	options string   // more of them in the block
	command []string // what to run the binary with, if anything
	state   string   // "": none

	http    string // the address of the metrics
	log     *harness.Log
	process *harness.Process // nil while it does not run
}

func newRestarted(t *testing.T, withState bool) *restarted {
	t.Helper()
	root := t.TempDir()
	r := &restarted{liveDir: &liveDir{T: t, dir: filepath.Join(root, "certs")}}
	if err := os.Mkdir(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if withState {
		r.state = filepath.Join(root, "state")
	}
	t.Cleanup(func() {
		if r.process != nil {
			r.stop(syscall.SIGTERM)
		}
	})
	return r
}

// start starts it and waits until it answers.
func (r *restarted) start() {
	r.Helper()
	err := harness.OnFreePort(func(port int) error {
		r.addr, r.http, r.log = harness.Loopback(port), harness.Loopback(freePort(r.T)), &harness.Log{}
		options := r.options
		if r.state != "" {
			options += "\nstate " + r.state
		}
		corefile := block("_smimecert.example.com _smime.example.com", "prometheus "+r.http, "smimea "+r.dir+" {\nreload 1h\n"+options+"\n}")
		conf := filepath.Join(r.TempDir(), "Corefile")
		writeFile(r.T, conf, strings.ReplaceAll(corefile, "PORT", strconv.Itoa(port)))
		args := append(slices.Clone(r.command), testedServer(r.T, conf)...)
		var err error
		r.process, err = harness.Serve(exec.Command(args[0], args[1:]...), r.log, r.addr, harness.Patience)
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
}

// stop ends it by a signal.
func (r *restarted) stop(signal os.Signal) {
	r.Helper()
	if err := r.process.End(signal); err != nil {
		r.Error(err)
	}
	r.process = nil
	checkLog(r.T, r.log)
}

// metric returns the line of a metric, as the server gives it.
func (r *restarted) metric(name string) string {
	r.Helper()
	for line := range strings.Lines(metricsAt(r.T, r.http)) {
		if strings.HasPrefix(line, "coredns_smimea_"+name) {
			return strings.TrimSpace(line[strings.LastIndex(line, " "):])
		}
	}
	return ""
}

func (r *restarted) serials() [2]uint32 {
	r.Helper()
	return [2]uint32{r.serial("_smimecert.example.com."), r.serial("_smime.example.com.")}
}

// settled starts it anew when all files are so old that it knows them for good once it
// has looked at them.
func (r *restarted) settled() {
	r.Helper()
	aged(r.T)
	r.stop(syscall.SIGTERM)
	r.start()
	waitFor(r.T, "the look", func() bool { return r.metric("look_duration_seconds_count") != "" })
}

// rose holds that serials have risen (RFC 1982), or not fallen.
func rose(t *testing.T, what string, before, after [2]uint32, strictly bool) {
	t.Helper()
	for i := range before {
		if d := int32(after[i] - before[i]); d < 0 || strictly && d == 0 {
			t.Errorf("%s: serial %d after %d", what, after[i], before[i])
		}
	}
}

// TestState holds what a restart with a saved state does, by what has happened
// in between.
func TestState(t *testing.T) {
	t.Parallel()
	r := newRestarted(t, true)
	r.options = "ttl 1s" // so long is bridged what is overwritten
	alice := r.write("alice.pem", "alice")
	bob := r.write("sub/bob.pem", "bob")
	cert{addresses: []string{"authority@example.com"}, ca: true}.write(t, r.at("authority.pem"))
	r.start()
	r.settled()
	for i := range 3 { // faster than the clock of serials
		bob = r.write("sub/bob.pem", "bob")
		r.wait(fmt.Sprint("bob ", i), map[string]string{"bob": bob})
	}
	r.settled()
	before := r.serials()
	r.stop(syscall.SIGTERM)
	if info, err := os.Stat(r.state); err != nil || info.Mode() != 0o600 {
		t.Fatalf("the state: %v, %v", info, err)
	}

	r.start()
	if got := r.serials(); got != before {
		t.Errorf("unchanged: serials %d after %d", got, before)
	}
	r.wait("unchanged", map[string]string{"alice": alice, "bob": bob, "authority": gone})
	if !strings.Contains(r.log.String(), "Serving 2 certificates") {
		t.Errorf("it does not say what it serves\n%s", r.log)
	}
	waitFor(t, "the look", func() bool { return r.metric("look_duration_seconds_count") == "1" })
	if read := r.metric("files_read_total"); read != "0" {
		t.Errorf("%s files were read again", read)
	}
	if n := strings.Count(r.log.String(), "authority.pem"); n > 0 {
		t.Errorf("it says again what it has said\n%s", r.log)
	}
	if n := r.metric(`failing_files{`); n != "1" {
		t.Errorf("%q files fail", n)
	}
	r.stop(syscall.SIGTERM)

	// While it is down one changes, one goes, one comes.
	alice = r.write("alice.pem", "alice")
	carol := r.write("carol.pem", "carol")
	r.remove("sub/bob.pem")
	aged(t)
	r.start()
	r.wait("changed while down", map[string]string{"alice": alice, "bob": gone, "carol": carol})
	after := r.serials()
	rose(t, "changed while down", before, after, true)
	if read := r.metric("files_read_total"); read != "2" {
		t.Errorf("%s files were read, not 2", read)
	}

	// A change of which nothing in the directory tells: a time in the past.
	before = after
	dave := r.write(".dave.pem", "dave")
	past := time.Now().Add(-time.Hour)
	r.must(os.Chtimes(r.at(".dave.pem"), past, past))
	r.rename(".dave.pem", "dave.pem")
	r.must(os.Chtimes(r.dir, past, past))
	r.wait("in the past", map[string]string{"dave": dave})
	after = r.serials()
	rose(t, "in the past", before, after, true)
	r.stop(syscall.SIGTERM)
	r.start()
	if got := r.serials(); got != after {
		t.Errorf("after it: serials %d after %d", got, after)
	}

	// Killed after a change, what it comes back with is what it had.
	before = after
	erin := r.write("erin.pem", "erin")
	r.wait("a change", map[string]string{"erin": erin})
	before = r.serials()
	r.stop(syscall.SIGKILL)
	r.start()
	if got := r.served("erin"); got != erin {
		t.Errorf("after a kill: erin is %s", got)
	}
	rose(t, "after a kill", before, r.serials(), false)
	r.stop(syscall.SIGTERM)

	// Another configuration: other records, and serials that go on.
	before = [2]uint32{}
	r.start()
	before = r.serials()
	r.stop(syscall.SIGTERM)
	r.options = "record 3 0 1\nttl 1s"
	r.start()
	r.wait("digests of certificates", map[string]string{"alice": opensslData(t, r.at("alice.pem"), 0, 1)})
	after = r.serials()
	if int32(after[0]-before[0]) <= 0 || int32(after[1]-before[1]) < 0 {
		t.Errorf("another configuration: serials %d after %d", after, before)
	}
	if !strings.Contains(r.log.String(), "aside") || !exists(r.state+".aside") {
		t.Errorf("the state of another configuration is not set aside\n%s", r.log)
	}
	r.stop(syscall.SIGTERM)
	// A TTL is not in the tables: they are used, and the serial rises.
	before = after
	r.options = "record 3 0 1\nttl 30m"
	r.start()
	rose(t, "another TTL", before, r.serials(), true)
	if read := r.metric("files_read_total"); read != "0" {
		t.Errorf("another TTL: %s files were read", read)
	}
}

// leftovers reports whether a save has left a part behind.
func leftovers(path string) bool {
	left, err := filepath.Glob(path + ".new*")
	return err != nil || len(left) > 0
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// TestStateWithoutDirectory starts a server whose directory is not there, as one that is
// in a file system that is not mounted: what the state has of it is served until it is.
func TestStateWithoutDirectory(t *testing.T) {
	t.Parallel()
	r := newRestarted(t, true)
	r.options = "reload 200ms"
	alice := r.write("alice.pem", "alice")
	r.start()
	r.stop(syscall.SIGTERM)
	away := r.dir + ".away"
	r.must(os.Rename(r.dir, away))
	r.start()
	r.wait("without the directory", map[string]string{"alice": alice})
	waitFor(t, "the error", func() bool { return strings.Contains(r.log.String(), "does not exist") })
	if !strings.Contains(r.log.String(), "option reload: is there twice") {
		t.Errorf("an option that does not count is dropped in silence:\n%s", r.log)
	}
	r.must(os.Rename(away, r.dir))
	bob := r.write("bob.pem", "bob")
	r.wait("with it again", map[string]string{"alice": alice, "bob": bob})
}

// TestStateDamaged holds that a state that is of no use is set aside, and all is
// as without one.
func TestStateDamaged(t *testing.T) {
	t.Parallel()
	r := newRestarted(t, true)
	alice := r.write("alice.pem", "alice")
	r.start()
	r.stop(syscall.SIGTERM)
	whole, err := os.ReadFile(r.state)
	r.must(err)
	flip := func(at int) []byte {
		b := slices.Clone(whole)
		b[at] ^= 1
		return b
	}
	for what, do := range map[string]func(){
		"cut off":  func() { r.must(os.WriteFile(r.state, whole[:len(whole)*2/3], 0o600)) },
		"changed":  func() { r.must(os.WriteFile(r.state, flip(len(whole)-40), 0o600)) },
		"header":   func() { r.must(os.WriteFile(r.state, flip(60), 0o600)) },
		"writable": func() { r.must(os.WriteFile(r.state, whole, 0o600)); r.must(os.Chmod(r.state, 0o666)) },
	} {
		r.must(os.RemoveAll(r.state + ".aside"))
		do()
		r.start()
		r.wait(what, map[string]string{"alice": alice})
		if !strings.Contains(r.log.String(), "Setting the state") || !exists(r.state+".aside") {
			t.Errorf("%s: not set aside\n%s", what, r.log)
		}
		r.stop(syscall.SIGTERM)
		if info, err := os.Stat(r.state); err != nil || !info.Mode().IsRegular() || info.Mode() != 0o600 {
			t.Errorf("%s: no state is saved: %v, %v", what, info, err)
		}
	}
}

// TestStateUnwritable holds that the service goes on where no state can be kept.
func TestStateUnwritable(t *testing.T) {
	t.Parallel()
	check := func(r *restarted, message string) {
		t.Helper()
		alice := r.write("alice.pem", "alice")
		r.start()
		r.wait("at first", map[string]string{"alice": alice})
		waitFor(t, "the message", func() bool { return strings.Contains(r.log.String(), message) })
		alice = r.write("alice.pem", "alice")
		r.wait("after it", map[string]string{"alice": alice})
		r.stop(syscall.SIGTERM)
		if n := strings.Count(r.log.String(), message); n > 1 {
			t.Errorf("it says %d times %q\n%s", n, message, r.log)
		}
	}
	// What is larger than it may be is what a full disk is, for the server.
	r := newRestarted(t, true)
	r.options = "ttl 1s" // for as long a renewal leaves the old certificate
	r.command = []string{"sh", "-c", `trap "" XFSZ; ulimit -f 1; exec "$@"`, "sh"}
	for i := range 30 {
		cert{addresses: []string{fmt.Sprintf("user%d@example.com", i)}}.write(t, r.at(fmt.Sprintf("%d.pem", i)))
	}
	check(r, "file too large")
	if exists(r.state) || leftovers(r.state) {
		t.Error("a part of a state is left")
	}
}

// TestStateRefused holds that a state that could not be kept, or would take the place
// of something else, is refused at the start, with file and line.
func TestStateRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	users(t, dir, "example.com")
	for what, do := range map[string]func(path string) error{
		"does not exist": func(path string) error { return os.RemoveAll(filepath.Dir(path)) },
		"a directory":    func(path string) error { return os.Mkdir(path, 0o700) },
		"a FIFO":         func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a symbolic link": func(path string) error {
			return os.Symlink(filepath.Join(dir, "alice.pem"), path)
		},
		"another kind": func(path string) error { return os.WriteFile(path, []byte("a key of somebody"), 0o600) },
	} {
		path := filepath.Join(t.TempDir(), "state", "state")
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := do(path); err != nil {
			t.Fatal(err)
		}
		said := failProcess(t, "", block("example.com", smimea(dir, "state "+path)))
		if !strings.Contains(said, "Corefile:") || !strings.Contains(said, what) || strings.Contains(said, "somebody") {
			t.Errorf("%s: it says\n%s", what, said)
		}
		if what != "does not exist" && !exists(path) {
			t.Errorf("%s: it is gone", what)
		}
	}
}
