package measure

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"coredns-smimea/internal/harness"
)

// A Server is a name server that is being measured.
type Server struct {
	Name    string
	Port    int
	Metrics string // address of its metrics and profiles, "" if it has none
	Took    time.Duration

	process *harness.Process
	env     []string
}

// Pin says which processors a program runs on. The empty Pin is all.
type Pin string

// Processors returns how many they are: those of a list, as taskset(1) has it.
func (p Pin) Processors() int { return 1 + strings.Count(string(p), ",") }

// command is exec.Command on these processors. A Go program is told how many
// they are, as it would be by a container's limit.
func (p Pin) command(name string, args ...string) *exec.Cmd {
	if p == "" {
		return exec.Command(name, args...)
	}
	cmd := exec.Command("taskset", append([]string{"-c", string(p), name}, args...)...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("GOMAXPROCS=%d", p.Processors()))
	return cmd
}

// A Spec says how to start a CoreDNS.
type Spec struct {
	Name   string
	Binary string
	Block  string // of the zone Domain, without braces
	Ready  dns.Question
	Pin    Pin
	Env    []string
	Dir    string        // where it runs
	Wait   time.Duration // for the first right answer
}

// Start starts a CoreDNS and waits until it answers its Ready question with a
// record. Metrics and profiles are served beside, not in the queries' way.
func (s Spec) Start() (*Server, error) {
	var ports [4]int // of the zone, and of what is beside it
	for i := range ports {
		var err error
		if ports[i], err = harness.FreePort(); err != nil {
			return nil, err
		}
	}
	port, side, web, profile := ports[0], ports[1], ports[2], ports[3]
	conf := fmt.Sprintf(`%s:%d {
	bind 127.0.0.1
%s
}
measured.invalid:%d {
	bind 127.0.0.1
	prometheus 127.0.0.1:%d
	pprof 127.0.0.1:%d
}
`, Domain, port, s.Block, side, web, profile)
	path := filepath.Join(s.Dir, fmt.Sprintf("Corefile.%d", port))
	if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
		return nil, err
	}
	cmd := s.Pin.command(s.Binary, "-conf", path)
	cmd.Dir = s.Dir
	cmd.Env = append(append(cmd.Environ(), s.Env...), "PROFILE="+harness.Loopback(profile))
	srv := &Server{Name: s.Name, Port: port, Metrics: harness.Loopback(web)}
	return srv, srv.run(cmd, s.Ready, s.Wait)
}

// StartNSD starts NSD with a zone file, and one process a processor that answers, each
// with a socket of its own.
func StartNSD(dir, zone string, ready dns.Question, pin Pin, wait time.Duration) (*Server, error) {
	return startPeer("NSD", dir, ready, pin, wait, func(dir string, port int) (string, []string) {
		return harness.NSDConfig(dir, port, []string{fmt.Sprintf("server-count: %d", pin.Processors()), "reuseport: yes"}, harness.NSDZone(Domain, zone)), []string{"nsd", "-d", "-c"}
	})
}

// StartKnot starts Knot DNS with a zone file and one worker a processor.
func StartKnot(dir, zone string, ready dns.Question, pin Pin, wait time.Duration) (*Server, error) {
	return startPeer("Knot", dir, ready, pin, wait, func(dir string, port int) (string, []string) {
		return harness.KnotConfig(dir, port, pin.Processors(), harness.KnotZone(Domain, zone)), []string{"knotd", "-c"}
	})
}

// startPeer starts another name server with a directory of its own.
func startPeer(name, dir string, ready dns.Question, pin Pin, wait time.Duration, config func(dir string, port int) (text string, command []string)) (*Server, error) {
	port, err := harness.FreePort()
	if err != nil {
		return nil, err
	}
	dir, err = os.MkdirTemp(dir, name)
	if err != nil {
		return nil, err
	}
	text, command := config(dir, port)
	conf := filepath.Join(dir, "conf")
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	srv := &Server{Name: name, Port: port}
	return srv, srv.run(pin.command(command[0], append(command[1:], conf)...), ready, wait)
}

func (s *Server) run(cmd *exec.Cmd, ready dns.Question, wait time.Duration) error {
	if wait == 0 {
		wait = 3 * time.Minute
	}
	began := time.Now()
	var err error
	if s.process, err = harness.Start(cmd, new(harness.Log)); err != nil {
		return err
	}
	s.env = cmd.Env
	err = s.process.Until("it answers rightly", wait, func() bool { return answers(s.Port, ready) })
	s.Took = time.Since(began)
	return err
}

// answers reports whether a server answers a question with a record.
func answers(port int, q dns.Question) bool {
	reply, err := Ask(port, q)
	return err == nil && len(reply.Answer) > 0
}

// Ask asks a server of this machine a question.
func Ask(port int, q dns.Question) (*dns.Msg, error) {
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Id: dns.Id()}, Question: []dns.Question{q}}
	c := dns.Client{Timeout: time.Second}
	reply, _, err := c.Exchange(m, "127.0.0.1:"+strconv.Itoa(port))
	return reply, err
}

// Log returns what the server has said.
func (s *Server) Log() string { return s.process.Log.String() }

// PID returns the number of its process.
func (s *Server) PID() int { return s.process.Cmd.Process.Pid }

// Stop ends the server, if it runs.
func (s *Server) Stop() {
	if s.process != nil {
		_ = s.process.Stop() // it may have been stopped before
	}
}

// Resident returns the octets of memory that the server takes, Peak the most that it
// has taken.
func (s *Server) Resident() (int64, error) { return s.memory("VmRSS:") }
func (s *Server) Peak() (int64, error)     { return s.memory("VmHWM:") }

func (s *Server) memory(field string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("reading the memory of %s: no %s", s.Name, field)
}

// schedule gives all threads of the server's processes a policy of the scheduler, where
// that is permitted.
func (s *Server) schedule(policy uint32) {
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: policy}
	if policy == unix.SCHED_RR {
		attr.Priority = 10
	}
	for _, process := range s.processes() {
		threads, err := filepath.Glob(filepath.Join(process, "task", "*"))
		if err != nil {
			continue
		}
		for _, thread := range threads {
			if id, err := strconv.Atoi(filepath.Base(thread)); err == nil {
				_ = unix.SchedSetAttr(id, &attr, 0)
			}
		}
	}
}

// processes returns the directories in /proc of the server's process, and of all that
// it has started: NSD's answer, and the first one only watches them.
func (s *Server) processes() []string {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	var group []string
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // has ended
		}
		// After the name, which is in parentheses, the group is the 3rd field.
		_, rest, _ := strings.Cut(string(text), ") ")
		if fields := strings.Fields(rest); len(fields) > 2 && fields[2] == strconv.Itoa(s.PID()) {
			group = append(group, filepath.Dir(stat))
		}
	}
	return group
}

// CPU returns the processor time that the server has taken, with what it has started.
func (s *Server) CPU() (time.Duration, error) {
	var sum time.Duration
	for _, process := range s.processes() {
		// The first field is the time on a processor in ns.
		threads, err := filepath.Glob(filepath.Join(process, "task", "*", "schedstat"))
		if err != nil {
			return 0, err
		}
		for _, thread := range threads {
			var ns int64
			if text, err := os.ReadFile(thread); err == nil {
				fmt.Sscan(string(text), &ns)
			}
			sum += time.Duration(ns)
		}
	}
	return sum, nil
}

// Metric returns the sum of a metric's values, of those lines that begin so.
func (s *Server) Metric(prefix string) (float64, error) {
	resp, err := http.Get("http://" + s.Metrics + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	var sum float64
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, prefix) {
			fields := strings.Fields(line)
			v, err := strconv.ParseFloat(fields[len(fields)-1], 64)
			if err != nil {
				return 0, err
			}
			sum += v
		}
	}
	return sum, nil
}

// Signed waits until the server has n signatures made ahead.
func (s *Server) Signed(n int, wait time.Duration) error {
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		made, err := s.Metric("coredns_smimea_signatures_total")
		if err != nil {
			return err
		}
		if made >= float64(n) {
			return nil
		}
		if time.Since(began) > wait {
			return fmt.Errorf("waiting for %s to sign: %.0f of %d signatures after %v", s.Name, made, n, wait)
		}
	}
}

// Environ returns the environment that the server was started with.
func (s *Server) Environ() []string { return s.env }
