// Command transfer measures the transfer of a zone of many users to Knot DNS: how
// long it takes, as a ratio to Knot's own transfer of the same zone to a second
// Knot in the same run, and how much memory it takes the primary.
//
//	go run ./bench/transfer [-users 1000000] [-signed] [-server FILE]
//
// The time is that which the receiving Knot logs, from the first message to the
// last. The memory is the most that the primary had resident during the transfer,
// above what it had before.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/bench/internal/measure"
	"coredns-smimea/internal/harness"
	"coredns-smimea/internal/testcert"
)

var (
	users  = flag.Int("users", 1_000_000, "`N` users")
	signed = flag.Bool("signed", false, "transfer signatures and NSEC3")
	server = flag.String("server", "", "`FILE` of a server that is built already")
)

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "transfer:", err)
		os.Exit(1)
	}
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// a process is a name server under measurement.
type process struct {
	cmd  *exec.Cmd
	port int
	log  string
}

// start runs a name server in a directory. Its output goes to a file there.
func start(dir string, port int, argv ...string) (*process, error) {
	p := &process{port: port, log: filepath.Join(dir, "log")}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return p, p.cmd.Start()
}

func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.cmd.Wait()
}

// status returns a line of /proc/PID/status in megabytes.
func (p *process) status(line string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(text)) {
		if fields := strings.Fields(l); fields[0] == line+":" {
			kb, err := strconv.Atoi(fields[1])
			return float64(kb) / 1024, err
		}
	}
	return 0, fmt.Errorf("/proc has no %s", line)
}

// wait waits until the log of a process has a line, and returns what a regular
// expression finds in it.
func (p *process) wait(expression string, limit time.Duration) ([]string, error) {
	re := regexp.MustCompile(expression)
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		text, err := os.ReadFile(p.log)
		if err != nil {
			return nil, err
		}
		if m := re.FindStringSubmatch(string(text)); m != nil {
			return m, nil
		}
	}
	text, _ := os.ReadFile(p.log)
	return nil, fmt.Errorf("no %q within %v in\n%s", expression, limit, text)
}

// ready waits until a server gives the zone's SOA over TCP as a transfer would.
func (p *process) ready(limit time.Duration) error {
	q := new(dns.Msg)
	q.SetIxfr(measure.Domain+".", 0, ".", ".")
	addr := harness.Loopback(p.port)
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if m, err := dns.Exchange(q, addr); err == nil && len(m.Answer) > 0 {
			return nil
		}
	}
	return errors.New("the primary does not transfer its zone")
}

// knot starts a Knot that has the zone from a primary.
func knot(dir string, primary int) (*process, error) {
	port, err := harness.FreePort()
	if err != nil {
		return nil, err
	}
	if dir, err = os.MkdirTemp(dir, "knot-"); err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "knot.conf")
	text := fmt.Sprintf(`server:
    listen: 127.0.0.1@%d
    rundir: %q
database:
    storage: %q
log:
  - target: stdout
    any: info
remote:
  - id: primary
    address: 127.0.0.1@%d
acl:
  - id: anybody
    address: 127.0.0.1
    action: [notify, transfer]
zone:
  - domain: %q
    file: zone
    zonefile-sync: -1
    journal-content: none
    master: primary
    acl: anybody
`, port, dir, dir, primary, measure.Domain)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return start(dir, port, "/usr/sbin/knotd", "-c", conf)
}

const finished = `AXFR, incoming, remote 127.0.0.1@\d+( TCP)?, (?:protocol TCP, )?finished, ([0-9.]+) seconds, (\d+) messages, (\d+) bytes`

// received returns how long a Knot has taken for its transfer, and how large it was.
func (p *process) received() (seconds float64, octets int, err error) {
	m, err := p.wait(finished, 10*time.Minute)
	if err != nil {
		return 0, 0, err
	}
	seconds, err = strconv.ParseFloat(m[2], 64)
	if err != nil {
		return 0, 0, err
	}
	octets, err = strconv.Atoi(m[4])
	return seconds, octets, err
}

// primary starts our server with the users' zone, in a directory of its own, and waits
// until it transfers that.
func primary(dir string, u *measure.Users) (*process, error) {
	root, err := measure.Root()
	if err != nil {
		return nil, err
	}
	binary := *server
	if binary == "" {
		if binary, err = measure.Build(root); err != nil {
			return nil, err
		}
	}
	port, err := harness.FreePort()
	if err != nil {
		return nil, err
	}
	keys, option := "", ""
	if *signed {
		out, err := exec.Command("dnssec-keygen", "-K", dir, "-a", "ECDSAP256SHA256", "-f", "KSK", measure.Domain).Output()
		if err != nil {
			return nil, fmt.Errorf("making a key: %w", err)
		}
		keys, option = fmt.Sprintf("dnssec {\n\tkey file %s\n}\n", filepath.Join(dir, strings.TrimSpace(string(out)))), "transfer_signed"
	}
	conf := filepath.Join(dir, "Corefile")
	text := fmt.Sprintf("%s:%d {\nbind 127.0.0.1\n%stransfer {\nto 127.0.0.1\n}\nsmimea %s {\nns ns1.example.net\nurl %s\n%s\n}\n}\n", measure.Domain, port, keys, u.Dir, measure.URL, option)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	began := time.Now()
	p, err := start(dir, port, binary, "-conf", conf)
	if err != nil {
		return nil, err
	}
	if err := p.ready(20 * time.Minute); err != nil {
		p.stop()
		return nil, err
	}
	say("the primary is ready after %v", time.Since(began).Round(time.Second))
	return p, nil
}

func run() error {
	u, err := measure.MakeUsers(*users, testcert.P256, say)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-transfer-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	primary, err := primary(dir, u)
	if err != nil {
		return err
	}
	defer primary.stop()
	time.Sleep(10 * time.Second) // garbage of the start
	before, err := primary.status("VmRSS")
	if err != nil {
		return err
	}
	// The high-water mark of resident memory begins anew (proc(5), clear_refs).
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", primary.cmd.Process.Pid), []byte("5"), 0); err != nil {
		return err
	}
	first, err := knot(dir, primary.port)
	if err != nil {
		return err
	}
	defer first.stop()
	ours, octets, err := first.received()
	if err != nil {
		return err
	}
	most, err := primary.status("VmHWM")
	if err != nil {
		return err
	}
	if err := first.ready(5 * time.Minute); err != nil {
		return err
	}
	second, err := knot(dir, first.port)
	if err != nil {
		return err
	}
	defer second.stop()
	theirs, same, err := second.received()
	if err != nil {
		return err
	}
	fmt.Println(measure.Machine())
	fmt.Printf("%d users, signed: %v\n", *users, *signed)
	fmt.Printf("smimea to Knot   %6.1f s  %11d octets   resident before %.0f MB, at most %.0f MB, extra %.0f MB\n", ours, octets, before, most, most-before)
	fmt.Printf("Knot to Knot     %6.1f s  %11d octets   ratio of times %.1f\n", theirs, same, ours/theirs)
	return nil
}
