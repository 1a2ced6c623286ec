package rig

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// A Server is a name server that is being measured.
type Server struct {
	Name    string
	Port    int
	Metrics string // address of its metrics and profiles, "" if it has none
	Took    time.Duration

	cmd  *exec.Cmd
	log  *log
	done chan struct{}
	err  error
}

// log keeps what a server says, for when it fails.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Pin says which processors a program runs on. The empty Pin is all.
type Pin string

// command is exec.Command on these processors. A Go program is told how many
// they are, as it would be by a container's limit.
func (p Pin) command(name string, args ...string) *exec.Cmd {
	if p == "" {
		return exec.Command(name, args...)
	}
	cmd := exec.Command("taskset", append([]string{"-c", string(p), name}, args...)...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	return cmd
}

// freePort returns a port of loopback that nobody has just now.
func freePort() (int, error) {
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		port := l.Addr().(*net.TCPAddr).Port
		u, err := net.ListenPacket("udp", l.Addr().String())
		l.Close()
		if err == nil {
			u.Close()
			return port, nil
		}
	}
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
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	side, err := freePort()
	if err != nil {
		return nil, err
	}
	web, err := freePort()
	if err != nil {
		return nil, err
	}
	profile, err := freePort()
	if err != nil {
		return nil, err
	}
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
	cmd.Env = append(append(cmd.Environ(), s.Env...), "PROFILE=127.0.0.1:"+strconv.Itoa(profile))
	srv := &Server{Name: s.Name, Port: port, Metrics: "127.0.0.1:" + strconv.Itoa(web), cmd: cmd}
	return srv, srv.run(s.Ready, s.Wait)
}

// StartNSD starts NSD with a zone file.
func StartNSD(dir, zone string, ready dns.Question, pin Pin, wait time.Duration) (*Server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, fmt.Sprintf("nsd.%d.conf", port))
	text := fmt.Sprintf(`server:
	ip-address: 127.0.0.1@%d
	server-count: 1
	username: ""
	chroot: ""
	database: ""
	zonesdir: %[2]q
	pidfile: "%[2]s/nsd.%[1]d.pid"
	xfrdfile: "%[2]s/nsd.%[1]d.xfrd"
	xfrdir: %[2]q
	zonelistfile: "%[2]s/nsd.%[1]d.list"
remote-control:
	control-enable: no
zone:
	name: %[3]q
	zonefile: %[4]q
`, port, dir, Domain, zone)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	cmd := pin.command("nsd", "-d", "-c", conf)
	srv := &Server{Name: "NSD", Port: port, cmd: cmd}
	return srv, srv.run(ready, wait)
}

func (s *Server) run(ready dns.Question, wait time.Duration) error {
	began := time.Now()
	s.log, s.done = &log{}, make(chan struct{})
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", s.Name, err)
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.done)
	}()
	if wait == 0 {
		wait = 3 * time.Minute
	}
	for {
		if answers(s.Port, ready) {
			s.Took = time.Since(began)
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("starting %s: it ended (%v)\n%s", s.Name, s.err, s.log)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Since(began) > wait {
			s.Stop()
			return fmt.Errorf("starting %s: no right answer within %v\n%s", s.Name, wait, s.log)
		}
	}
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
func (s *Server) Log() string { return s.log.String() }

// PID returns the number of its process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stop ends the server.
func (s *Server) Stop() {
	syscall.Kill(-s.PID(), syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(20 * time.Second):
		syscall.Kill(-s.PID(), syscall.SIGKILL)
		<-s.done
	}
}

// Resident returns the octets of memory that the server takes.
func (s *Server) Resident() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("reading the memory of %s: no VmRSS", s.Name)
}

// CPU returns the processor time that the server has taken.
func (s *Server) CPU() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.PID()))
	if err != nil {
		return 0, err
	}
	// After the name, which is in parentheses, utime and stime are the 12th
	// and 13th field, in ticks of 10 ms.
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
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
func (s *Server) Environ() []string { return s.cmd.Env }
