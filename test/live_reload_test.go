package test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/coredns/caddy"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"coredns-smimea/internal/harness"
)

// An instance is a server in this process that is reloaded.
type instance struct {
	*testing.T
	*caddy.Instance
	addr string
	port int
}

func startInstance(t *testing.T, corefile string) *instance {
	t.Helper()
	i := &instance{T: t}
	err := harness.OnFreePort(func(port int) (err error) {
		startMu.Lock()
		defer startMu.Unlock()
		i.port, i.addr = port, harness.Loopback(port)
		i.Instance, err = caddy.Start(i.input(corefile))
		return err
	})
	if err != nil {
		t.Fatalf("starting the server: %v\n%s", err, corefile)
	}
	t.Cleanup(func() { end(t, i.Instance) })
	return i
}

func (i *instance) input(corefile string) caddy.CaddyfileInput {
	return caddy.CaddyfileInput{
		Filepath: "Corefile", ServerTypeName: "dns",
		Contents: []byte(strings.ReplaceAll(corefile, "PORT", strconv.Itoa(i.port))),
	}
}

// reload reloads to a Corefile; without success the old one goes on. It waits for
// the new servers to run: CoreDNS cannot stop one that has not begun, which would
// then stay for ever and answer as before.
func (i *instance) reload(corefile string) error {
	i.Helper()
	startMu.Lock()
	defer startMu.Unlock()
	next, err := i.Restart(i.input(corefile))
	if err == nil {
		i.Instance = next
		waitFor(i.T, "the new servers", func() bool {
			s := stacks()
			return strings.Count(s, "dnsserver.(*Server).ServePacket(") == 1 && strings.Count(s, ".(*Server).serveTCP(") == 1
		})
	}
	return err
}

func stacks() string {
	var b strings.Builder
	pprof.Lookup("goroutine").WriteTo(&b, 2)
	return b.String()
}

// held is what a process holds of what must not be left behind.
type held struct{ goroutines, descriptors, watches int }

func (h held) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d inotify watches", h.goroutines, h.descriptors, h.watches)
}

func holds(t *testing.T) held {
	t.Helper()
	runtime.GC() // caddy leaves descriptors to it
	// *dnssec* leaves one behind for each reload that fails.
	h := held{goroutines: runtime.NumGoroutine() - strings.Count(stacks(), "dnssec.periodicClean(")}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	h.descriptors = len(fds)
	for _, fd := range fds {
		info, _ := os.ReadFile("/proc/self/fdinfo/" + fd.Name())
		h.watches += strings.Count(string(info), "inotify wd:")
	}
	return h
}

// waitHeld waits until the process holds no more than before.
func waitHeld(t *testing.T, before held) {
	t.Helper()
	var now held
	if !harness.Wait(harness.Patience, nil, func() bool {
		now = holds(t)
		return now.goroutines <= before.goroutines && now.descriptors <= before.descriptors && now.watches <= before.watches
	}) {
		t.Errorf("%s are held, before it were %s", now, before)
	}
	t.Log(stacks())
}

// metric returns the sum of a metric's values over all that have the labels,
// each "name=value".
func metric(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		if family.GetName() != "coredns_smimea_"+name {
			continue
		}
		for _, m := range family.Metric {
			if hasLabels(m, labels) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

func hasLabels(m *dto.Metric, labels []string) bool {
	for _, want := range labels {
		found := false
		for _, pair := range m.Label {
			found = found || pair.GetName()+"="+pair.GetValue() == want
		}
		if !found {
			return false
		}
	}
	return true
}

// TestReload reloads the Corefile a hundred times under queries: unchanged, and
// changed. Nothing is left behind, and what is unchanged is not read again.
func TestReload(t *testing.T) {
	l := &liveDir{T: t, dir: t.TempDir()}
	alice := l.write("alice.pem", "alice")
	for i := range 50 {
		cert{addresses: []string{fmt.Sprintf("user%d@example.com", i)}}.write(t, l.at(fmt.Sprintf("%d/%d.pem", i%10, i)))
	}
	corefile := func(ttl string) string {
		return block("_smimecert.example.com _smime.example.com", "smimea "+l.dir+" {\nreload 1h\nttl "+ttl+"\n}")
	}
	aged(t) // files that were written just now would be read twice
	i := startInstance(t, corefile("1h"))
	l.addr = i.addr
	serial := l.serial("_smimecert.example.com.")
	read := metric(t, "files_read_total", "dir="+l.dir)
	looks := metric(t, "look_duration_seconds", "dir="+l.dir)
	before := holds(t)

	// A client asks all the time.
	var asked, lost, wrong atomic.Int64
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		query := question{name: hashOwner("alice", "example.com."), qtype: dns.TypeSMIMEA}.pack(t)
		for {
			select {
			case <-stop:
				return
			default:
			}
			asked.Add(1)
			b, err := exchange(l.addr, "udp", query, lostAfter)
			m := new(dns.Msg)
			switch {
			case err != nil:
				lost.Add(1)
			case m.Unpack(b) != nil || len(m.Answer) != 1 || m.Answer[0].(*dns.SMIMEA).Certificate != alice:
				wrong.Add(1)
			}
		}
	}()
	for range 100 {
		if err := i.reload(corefile("1h")); err != nil {
			t.Fatal(err)
		}
	}
	if now := metric(t, "files_read_total", "dir="+l.dir); now != read {
		t.Errorf("%v files were read again", now-read)
	}
	if now := metric(t, "look_duration_seconds", "dir="+l.dir); now != looks {
		t.Errorf("the directory was looked at %v times", now-looks)
	}
	if now := l.serial("_smimecert.example.com."); now != serial {
		t.Errorf("serial %d after %d", now, serial)
	}
	for n := range 100 {
		if err := i.reload(corefile([]string{"30m", "1h"}[n%2])); err != nil {
			t.Fatal(err)
		}
		now := l.serial("_smimecert.example.com.")
		if int32(now-serial) <= 0 {
			t.Errorf("with another TTL: serial %d after %d", now, serial)
		}
		serial = now
	}
	close(stop)
	<-done
	t.Logf("%d queries, %d lost, %d answered wrong", asked.Load(), lost.Load(), wrong.Load())
	if lost.Load() > 0 || wrong.Load() > 0 {
		t.Errorf("of %d queries %d were lost, %d answered wrong", asked.Load(), lost.Load(), wrong.Load())
	}
	waitHeld(t, before)

	// It follows the directory as before.
	l.wait("after all", map[string]string{"bob": l.write("bob.pem", "bob")})
}

// TestReloadFailed has reloads fail in every phase: the old instance is as it was.
func TestReloadFailed(t *testing.T) {
	l := &liveDir{T: t, dir: t.TempDir()}
	alice := l.write("alice.pem", "alice")
	k, other := newKeys(t, "example.com.", signing{dns.ECDSAP256SHA256, true}), newKeys(t, "example.com.", signing{dns.ECDSAP256SHA256, true})
	options := "smimea " + l.dir + " {\nreload 1h\n}"
	good := block("example.com", k.directive, options)
	i := startInstance(t, good)
	l.addr = i.addr
	signed := func(local string) bool {
		t.Helper()
		m, _ := ask(t, l.addr, question{name: hashOwner(local, "example.com."), qtype: dns.TypeSMIMEA, size: 1232, do: true})
		k.verify(t, local, "example.com.", m.Answer)
		return len(m.Answer) == 2
	}
	if !signed("alice") {
		t.Fatal("alice is not signed")
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	state, list := filepath.Join(t.TempDir(), "state"), filepath.Join(t.TempDir(), "zones")
	writeFile(t, list, "example.com\n")
	serial, before := l.serial("example.com."), holds(t)
	// Of the last one that has failed for a port caddy keeps the descriptors.
	for _, failing := range []struct{ what, corefile string }{
		{"port taken", block("example.com", other.directive, options) + strings.ReplaceAll(block("example.org", "smimea "+l.dir), "PORT", portOf(taken.Addr().String()))},
		{"at setup", block("example.com", other.directive, options, "smimea "+l.dir)},
		{"no DIR", block("example.com", other.directive, options) + block("example.org", "smimea /nowhere")},
		{"at startup, after a block has begun", block(". example.com", "smimea "+l.dir+" {\nzones "+list+"\n}", "transfer {\nto 127.0.0.1:1\n}") + block("example.org", "smimea "+l.dir+" {\nstate "+state+"\n}") + block("example.net", "smimea "+l.dir+" {\nstate "+state+"\n}")},
		{"at startup", block("example.com", other.directive, options) + block("example.org", "smimea "+l.dir+" {\nstate "+state+"\n}") + block("example.net", "smimea "+l.dir+" {\nstate "+state+"\n}")},
	} {
		for range 10 {
			if err := i.reload(failing.corefile); err == nil {
				t.Fatalf("%s: the reload has not failed", failing.what)
			}
		}
		if got := l.served("alice"); got != alice || !signed("alice") || l.serial("example.com.") != serial {
			t.Errorf("%s: alice is %s, serial %d after %d", failing.what, got, l.serial("example.com."), serial)
		}
	}
	waitHeld(t, before)
	l.wait("after all", map[string]string{"bob": l.write("bob.pem", "bob")})
	if !signed("bob") {
		t.Error("bob is not signed")
	}
	if err := i.reload(good); err != nil {
		t.Error(err)
	}
}

// TestReloadSignal reloads the real binary by SIGUSR1.
func TestReloadSignal(t *testing.T) {
	l := &liveDir{T: t, dir: t.TempDir()}
	alice := l.write("alice.pem", "alice")
	conf := filepath.Join(t.TempDir(), "Corefile")
	var s *server
	port := freePort(t)
	corefile := func(url string) string {
		return strings.ReplaceAll(block("_smimecert.example.com _smime.example.com", "smimea "+l.dir+" {\nreload 1h\nurl "+url+"\n}"), "PORT", strconv.Itoa(port))
	}
	writeFile(t, conf, corefile("https://a.example/{file}"))
	s = startConf(t, conf, port)
	l.addr = s.addr
	url := func() string {
		m, _ := ask(t, l.addr, question{name: "alice._smime.example.com.", qtype: dns.TypeTXT})
		if len(m.Answer) != 1 {
			return m.String()
		}
		return m.Answer[0].(*dns.TXT).Txt[0]
	}
	serial := l.serial("_smime.example.com.")
	published := strings.Count(s.log.String(), "Published")
	reloads := 0
	signal := func() {
		t.Helper()
		reloads++
		if err := s.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the reload", func() bool { return strings.Count(s.log.String(), "Reloading complete") >= reloads })
	}
	for range 5 {
		signal()
	}
	if got := l.served("alice"); got != alice || l.serial("_smime.example.com.") != serial {
		t.Errorf("alice is %s, serial %d after %d", got, l.serial("_smime.example.com."), serial)
	}
	if n := strings.Count(s.log.String(), "Published"); n != published {
		t.Errorf("published %d times without a change\n%s", n-published, s.log)
	}
	writeFile(t, conf, corefile("https://b.example/{file}"))
	signal()
	if got := url(); got != "https://b.example/alice.pem" {
		t.Errorf("URL after the reload: %s", got)
	}
	if now := l.serial("_smime.example.com."); int32(now-serial) <= 0 {
		t.Errorf("serial %d after %d", now, serial)
	}
	l.wait("after it", map[string]string{"bob": l.write("bob.pem", "bob")})
}

// startConf runs the real binary with a Corefile that can be changed.
func startConf(t *testing.T, conf string, port int) *server {
	t.Helper()
	s := &server{addr: harness.Loopback(port), log: &harness.Log{}}
	s.cmd = exec.Command(builtServer(t), "-conf", conf)
	if err := run(t, s.cmd, s.log, s.addr); err != nil {
		t.Fatal(err)
	}
	return s
}
