// Command directory measures how the plugin lives with a large directory that
// changes, and prints a table. It ends with status 1 if anything takes longer,
// or more, than it may.
//
// The server has all processors here, as it would have; what it is compared with
// runs in the same run on the same files. ../README.md says how to read the table.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/bench/internal/measure"
	"coredns-smimea/internal/testcert"
)

type options struct {
	users   int
	rsa     int
	rounds  int
	changes int
	time    time.Duration
	check   bool
	server  string
}

func main() {
	var o options
	flag.IntVar(&o.users, "users", 1_000_000, "`N` users with P-256 keys")
	flag.IntVar(&o.rsa, "rsa", 100_000, "`N` users with RSA-2048 keys, for the cold load; 0 for none")
	flag.IntVar(&o.rounds, "rounds", 3, "`N` cold loads")
	flag.IntVar(&o.changes, "changes", 50, "`N` changes of each kind")
	flag.DurationVar(&o.time, "time", 20*time.Second, "`DURATION` of a load of queries, and of idleness")
	flag.BoolVar(&o.check, "check", true, "end with status 1 if anything is not as it must be")
	flag.StringVar(&o.server, "server", "", "`FILE` of a server that is built already")
	flag.Parse()
	missed, err := run(o)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench-directory:", err)
		os.Exit(2)
	case missed > 0 && o.check:
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	options
	*measure.Progress
	dir    string // for all that is not kept
	binary string
	users  *measure.Users
	table  *measure.Table

	running []*measure.Server
}

func run(o options) (missed int, err error) {
	b := &bench{options: o, Progress: measure.NewProgress(os.Stderr)}
	defer b.close()
	root, err := measure.Root()
	if err != nil {
		return 0, err
	}
	if b.dir, err = os.MkdirTemp("", "bench-"); err != nil {
		return 0, err
	}
	if b.binary = o.server; b.binary == "" {
		b.Say("building the server")
		if b.binary, err = measure.Build(root); err != nil {
			return 0, err
		}
	}
	if b.users, err = measure.MakeUsers(o.users, testcert.P256, b.Say); err != nil {
		return 0, err
	}
	began := measure.Machine()
	b.table = measure.NewTable(fmt.Sprintf("a directory of %d users", b.users.N))
	for _, part := range []func() error{b.load, b.loadRSA, b.live, b.polled, b.restart} {
		if err := part(); err != nil {
			return 0, err
		}
	}
	b.table.Fprint(os.Stdout)
	fmt.Printf("\n%s at the start, %s at the end\n", began, measure.Machine())
	for _, row := range b.table.Missed {
		fmt.Println("missed:", row)
	}
	return len(b.table.Missed), nil
}

func (b *bench) close() {
	for _, s := range b.running {
		s.Stop()
	}
	os.RemoveAll(b.dir)
}

// start starts the server on a directory, with options of the directive.
func (b *bench) start(u *measure.Users, options ...string) (*measure.Server, error) {
	block := fmt.Sprintf("\tsmimea %s {\n\t\tmbox hostmaster.%s\n\t\t%s\n\t}\n", u.Dir, measure.Domain, strings.Join(options, "\n\t\t"))
	s, err := measure.Spec{
		Name: "smimea", Binary: b.binary, Block: block, Dir: b.dir, Wait: 10 * time.Minute,
		Ready: certificate(measure.Address(u.N - 1).Owner()),
	}.Start()
	if s != nil {
		b.running = append(b.running, s)
	}
	return s, err
}

func certificate(owner string) dns.Question {
	return dns.Question{Name: owner, Qtype: dns.TypeSMIMEA, Qclass: dns.ClassINET}
}

// load reads the whole directory, in turns with a plain loop over the same files.
func (b *bench) load() error {
	return b.loadOf(b.users, "P-256", func(s *measure.Server) error {
		time.Sleep(min(5*time.Second, b.time)) // what the load took is given back
		resident, err := s.Resident()
		if err != nil {
			return err
		}
		mb := float64(resident) / (1 << 20)
		// The server itself takes some 90 MB; the rest grows with the users.
		if err := b.peak(s, "cold"); err != nil {
			return err
		}
		b.table.Most("memory after it, MB", fmt.Sprintf("%.0f", mb), "BIND 757, Knot 798, *file* 1,430 for 1,000,000", mb, 400)
		return nil
	})
}

func (b *bench) loadRSA() error {
	if b.rsa == 0 {
		return nil
	}
	u, err := measure.MakeUsers(b.rsa, testcert.RSA2048, b.Say)
	if err != nil {
		return err
	}
	return b.loadOf(u, "RSA-2048", func(*measure.Server) error { return nil })
}

func (b *bench) loadOf(u *measure.Users, kind string, after func(*measure.Server) error) error {
	if _, err := plainLoop(u.Dir); err != nil { // so that all files are in memory
		return err
	}
	var plain, ours measure.Samples
	for round := range b.rounds {
		n, took := 0, time.Duration(0)
		began := time.Now()
		n, err := plainLoop(u.Dir)
		if took = time.Since(began); err != nil {
			return err
		}
		if n != u.N {
			return fmt.Errorf("the directory %q has %d certificates, want %d", u.Dir, n, u.N)
		}
		s, err := b.start(u)
		if err != nil {
			return err
		}
		plain, ours = append(plain, took.Seconds()), append(ours, s.Took.Seconds())
		b.Say("%d %s files: plain loop %.2f s, server %.2f s", n, kind, took.Seconds(), s.Took.Seconds())
		if round == b.rounds-1 {
			if err := after(s); err != nil {
				return err
			}
		}
		s.Stop()
	}
	b.table.Most(fmt.Sprintf("cold load of %d %s files, s", u.N, kind), ours.String(), "plain Go loop: "+plain.String(), ours.Median()/plain.Median(), 1.5)
	return nil
}

// peak compares the most memory that a start has taken with what stays.
func (b *bench) peak(s *measure.Server, start string) error {
	most, err := s.Peak()
	if err != nil {
		return err
	}
	stays, err := s.Resident()
	if err != nil {
		return err
	}
	b.table.Most("peak memory, "+start+" start, MB", fmt.Sprintf("%d", most>>20), fmt.Sprintf("%d stay", stays>>20), float64(most)/float64(stays), 1.4)
	return nil
}

// restart starts anew with a saved state.
func (b *bench) restart() error {
	state := filepath.Join(b.dir, "state")
	option := "state " + state
	s, err := b.start(b.users, option)
	if err != nil {
		return err
	}
	cold := s.Took
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if info, err := os.Stat(state); err == nil && info.Size() > 0 {
			break
		}
		if time.Since(began) > 2*time.Minute {
			b.table.Row("restart with a saved state, s", "no state was saved", "")
			return nil
		}
	}
	s.Stop()
	var took measure.Samples
	for range b.rounds {
		if s, err = b.start(b.users, option); err != nil {
			return err
		}
		took = append(took, s.Took.Seconds())
		if len(took) == b.rounds {
			time.Sleep(min(10*time.Second, b.time)) // the look at everything goes on
			if err := b.peak(s, "warm"); err != nil {
				return err
			}
		}
		b.Say("restart: %.2f s, without a state %.2f s", s.Took.Seconds(), cold.Seconds())
		s.Stop()
	}
	b.table.Most("restart with a saved state until it answers, s", took.String(), fmt.Sprintf("%.2f without", cold.Seconds()), took.Median(), 1)
	return nil
}
