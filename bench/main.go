// Command bench measures how fast the plugin answers, against other servers of
// the same records in the same run, and prints a table. It ends with status 1 if
// anything is slower than it must be.
//
// The server under load has processor 0 and dnsperf has processor 1; the servers
// take turns, several rounds long. README.md says how to read the table.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/bench/internal/measure"
	"coredns-smimea/internal/testcert"
)

type options struct {
	users   int
	more    int
	rounds  int
	time    time.Duration
	check   bool
	server  string
	parts   string
	queries int
}

func main() {
	var o options
	flag.IntVar(&o.users, "users", 100_000, "`N` users")
	flag.IntVar(&o.more, "more", 1_000_000, "`N` users of the second directory, 0 for none")
	flag.IntVar(&o.rounds, "rounds", 3, "`N` rounds")
	flag.DurationVar(&o.time, "time", 10*time.Second, "`DURATION` of one measurement")
	flag.BoolVar(&o.check, "check", true, "end with status 1 if anything is slower than it must be")
	flag.StringVar(&o.parts, "parts", "peers two answers denials beside million amplification", "`WORDS` for what is measured")
	flag.StringVar(&o.server, "server", "", "`FILE` of a server that is built already")
	flag.Parse()
	o.queries = 500_000
	if o.users < 100_000 {
		o.queries = 50_000
	}
	missed, err := run(o)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	case missed > 0 && o.check:
		os.Exit(1)
	}
}

func run(o options) (missed int, err error) {
	if err := measure.Tools("dnsperf", "taskset", "dnssec-keygen"); err != nil {
		return 0, err
	}
	b := &bench{options: o, Progress: measure.NewProgress(os.Stderr)}
	defer b.close()
	if err := b.prepare(); err != nil {
		return 0, err
	}
	began := measure.Machine()
	var tables []*measure.Table
	parts := map[string]func() (*measure.Table, error){
		"peers": b.peers, "two": b.two, "answers": b.answers, "denials": b.denials, "beside": b.beside, "million": b.million, "amplification": b.amplification,
	}
	for _, name := range strings.Fields(o.parts) {
		part, ok := parts[name]
		if !ok {
			return 0, fmt.Errorf("no part is called %q", name)
		}
		t, err := part()
		if err != nil {
			return 0, err
		}
		if t != nil {
			t.Fprint(os.Stdout)
			tables = append(tables, t)
		}
	}
	fmt.Printf("\n%s at the start, %s at the end; %d rounds of %v\n", began, measure.Machine(), o.rounds, o.time)
	for _, t := range tables {
		for _, row := range t.Missed {
			fmt.Println("missed:", row)
			missed++
		}
	}
	return missed, nil
}

// bench is one run.
type bench struct {
	options
	*measure.Progress
	dir    string // for all that is not kept
	binary string
	key    string // the zone's, without its suffixes
	users  *measure.Users
	asks   map[string]string // files of questions

	running []*measure.Server
}

const (
	serverPin = measure.Pin("0")
	clientPin = measure.Pin("1")
	bothPin   = measure.Pin("0,1")
)

func (b *bench) prepare() error {
	root, err := measure.Root()
	if err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "bench-"); err != nil {
		return err
	}
	if b.binary = b.server; b.binary == "" {
		b.Say("building the server")
		if b.binary, err = measure.Build(root); err != nil {
			return err
		}
	}
	if b.users, err = measure.MakeUsers(b.options.users, testcert.P256, b.Say); err != nil {
		return err
	}
	out, err := exec.Command("dnssec-keygen", "-K", b.dir, "-a", "ECDSAP256SHA256", "-f", "KSK", measure.Domain).Output()
	if err != nil {
		return fmt.Errorf("making a key: %w", err)
	}
	b.key = filepath.Join(b.dir, strings.TrimSpace(string(out)))
	if err := measure.WriteHosts(filepath.Join(b.dir, "db.hosts"), hosts); err != nil {
		return err
	}
	return b.questions(b.users.N)
}

// questions writes files of questions about n users.
func (b *bench) questions(n int) error {
	q := measure.Queries{Dir: b.dir}
	b.asks = map[string]string{}
	for name, write := range map[string]func() (string, error){
		"smimea": func() (string, error) { return q.SMIMEA(n, b.queries) },
		"txt":    func() (string, error) { return q.TXT(n, b.queries) },
		"once":   func() (string, error) { return q.Once(n) },
		"absent": func() (string, error) { return q.Absent(b.queries) },
		"a":      func() (string, error) { return q.A(n, b.queries) },
		"hosts":  func() (string, error) { return q.Hosts(hosts, b.queries) },
	} {
		path, err := write()
		if err != nil {
			return fmt.Errorf("writing questions: %w", err)
		}
		b.asks[name] = path
	}
	return nil
}

// start starts a server with a block of the zone.
func (b *bench) start(name, block string, ready dns.Question) (*measure.Server, error) {
	return b.startOn(serverPin, name, block, ready)
}

func (b *bench) startOn(pin measure.Pin, name, block string, ready dns.Question) (*measure.Server, error) {
	b.Say("starting %s", name)
	s, err := measure.Spec{Name: name, Binary: b.binary, Block: block, Ready: ready, Pin: pin, Dir: b.dir, Wait: 20 * time.Minute}.Start()
	if s != nil {
		b.running = append(b.running, s)
	}
	return s, err
}

// stop ends servers before the run does.
func (b *bench) stop(servers ...*measure.Server) {
	for _, s := range servers {
		if s != nil {
			s.Stop()
		}
	}
}

func (b *bench) close() {
	b.stop(b.running...)
	os.RemoveAll(b.dir)
}

// Blocks of the servers that are compared.

// dnssec signs; large gives it room for all signatures, which *file* needs and we do not.
func (b *bench) dnssec(large bool) string {
	capacity := ""
	if large {
		capacity = "\t\tcache_capacity 2000000\n"
	}
	return fmt.Sprintf("\tdnssec {\n\t\tkey file %s\n%s\t}\n", b.key, capacity)
}

func ours(u *measure.Users, options ...string) string {
	return fmt.Sprintf("\tsmimea %s {\n\t\t%s\n\t}\n", u.Dir, strings.Join(append(options, "mbox hostmaster."+measure.Domain), "\n\t\t"))
}

func file(zone string) string { return fmt.Sprintf("\tfile %s {\n\t\treload 0\n\t}\n", zone) }

const erratic = "\terratic {\n\t\tdrop 0\n\t}\n"

// certificate is a question that every server of the users' records can answer.
var certificate = dns.Question{Name: measure.Address(0).Owner(), Qtype: dns.TypeSMIMEA, Qclass: dns.ClassINET}

// anA is one for those that have no users.
var anA = dns.Question{Name: "host0." + measure.Domain + ".", Qtype: dns.TypeA, Qclass: dns.ClassINET}

// A contest has several measurements take turns.
type contest struct {
	*bench
	batched bool // by package sender, and not by dnsperf
	rate    int  // questions a second of batched loads, on any processor; 0: as many as are answered
	entries []*entry
}

// entry is one measurement: a server, asked in one way.
type entry struct {
	name   string
	server *measure.Server
	load   measure.Load
	qps    measure.Samples
	cpu    measure.Samples // microseconds of processor time for an answer
	lost   measure.Samples // share
	tc     measure.Samples // share, of batched loads
}

func (c *contest) add(name string, s *measure.Server, queries string, do bool) *entry {
	e := &entry{name: name, server: s, load: measure.Load{Queries: c.asks[queries], DO: do, Time: c.time, Pin: clientPin, Batched: c.batched, Urgent: c.batched}}
	if c.rate > 0 {
		e.load.QPS, e.load.Pin, e.load.Urgent = c.rate, "", false
	}
	c.entries = append(c.entries, e)
	return e
}

// run measures all, one after the other, in each round.
func (c *contest) run(rounds int) error {
	for round := range rounds {
		for i := range c.entries {
			// Each round begins with another, so that nobody always follows the same.
			e := c.entries[(i+round*3)%len(c.entries)]
			if err := c.measure(e); err != nil {
				return fmt.Errorf("round %d: %w", round+1, err)
			}
		}
	}
	return nil
}

func (b *bench) measure(e *entry) error {
	r, err := e.load.Run(e.server)
	if err != nil {
		return err
	}
	b.Say("%-40s %8.0f qps  %5.1f us", e.name, r.QPS, float64(r.CPU)/1e3)
	e.qps = append(e.qps, r.QPS)
	e.cpu = append(e.cpu, float64(r.CPU)/1e3)
	e.lost = append(e.lost, r.Lost)
	e.tc = append(e.tc, r.Codes["TC"])
	return nil
}

// String returns queries a second, and processor time for each.
func (e *entry) String() string {
	return fmt.Sprintf("%v qps, %.1f us", e.qps, e.cpu.Median())
}

// against names what e is compared with, and how they compare by processor time.
func (e *entry) against(f *entry, name string) string {
	return fmt.Sprintf("%s; %.2f by processor time", name, f.cpu.Median()/e.cpu.Median())
}

// over returns how many times as many queries e has answered than f.
func (e *entry) over(f *entry) float64 { return e.qps.Median() / f.qps.Median() }
