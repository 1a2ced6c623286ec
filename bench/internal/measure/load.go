package measure

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"coredns-smimea/bench/internal/sender"
	"coredns-smimea/internal/harness"
)

// A Load is how a server is asked.
type Load struct {
	Queries string // file
	DO      bool
	Time    time.Duration
	Once    bool // through the file once, whatever time that takes
	QPS     int  // at most so many a second; 0: as many as there are answers for
	Pin     Pin
	// Batched has package sender ask instead of dnsperf, whose limit is below that
	// of the servers. Urgent has it and the server run before all else on their
	// processors, where that is permitted.
	Batched, Urgent bool
}

// A Result is how a server has answered.
type Result struct {
	QPS    float64
	CPU    time.Duration      // of the server, for each answer
	Lost   float64            // share
	Codes  map[string]float64 // shares, by name
	Output string
}

var (
	qpsLine       = regexp.MustCompile(`Queries per second:\s+([0-9.]+)`)
	completedLine = regexp.MustCompile(`Queries completed:\s+([0-9]+)`)
	lostLine      = regexp.MustCompile(`Queries lost:\s+[0-9]+ \(([0-9.]+)%\)`)
	codesLine     = regexp.MustCompile(`Response codes:\s+(.*)`)
	codeItem      = regexp.MustCompile(`([A-Z]+) [0-9]+ \(([0-9.]+)%\)`)
)

// Run asks a server: with dnsperf, eight clients and a hundred queries in flight, or
// batched, eight sockets and 64 queries in flight at each.
func (l Load) Run(s *Server) (Result, error) {
	if l.Batched {
		return l.batched(s)
	}
	args := []string{"-s", "127.0.0.1", "-p", strconv.Itoa(s.Port), "-d", l.Queries, "-c", "8", "-q", "100", "-T", "1", "-t", "2"}
	if l.DO {
		args = append(args, "-D")
	}
	if l.QPS > 0 {
		args = append(args, "-Q", strconv.Itoa(l.QPS))
	}
	if l.Once {
		args = append(args, "-n", "1")
	} else {
		args = append(args, "-l", strconv.FormatFloat(max(0.2, l.Time.Seconds()), 'f', 2, 64))
	}
	before, err := s.CPU()
	if err != nil {
		return Result{}, err
	}
	out, err := l.Pin.command("dnsperf", args...).CombinedOutput()
	r := Result{Output: string(out), Codes: map[string]float64{}}
	if err != nil {
		return r, fmt.Errorf("asking %s: %w\n%s", s.Name, err, out)
	}
	after, err := s.CPU()
	if err != nil {
		return r, err
	}
	answers, err := find(completedLine, r.Output)
	if err != nil {
		return r, fmt.Errorf("asking %s: %w\n%s", s.Name, err, out)
	}
	r.CPU = time.Duration(float64(after-before) / max(1, answers))
	if r.QPS, err = find(qpsLine, r.Output); err != nil {
		return r, fmt.Errorf("asking %s: %w\n%s", s.Name, err, out)
	}
	if r.Lost, err = find(lostLine, r.Output); err != nil {
		return r, fmt.Errorf("asking %s: %w\n%s", s.Name, err, out)
	}
	r.Lost /= 100
	if codes := codesLine.FindStringSubmatch(r.Output); codes != nil {
		for _, item := range codeItem.FindAllStringSubmatch(codes[1], -1) {
			share, err := strconv.ParseFloat(item[2], 64)
			if err != nil {
				return r, err
			}
			r.Codes[item[1]] = share / 100
		}
	}
	return r, nil
}

func (l Load) batched(s *Server) (Result, error) {
	processor, err := strconv.Atoi(string(l.Pin))
	if err != nil {
		processor = -1 // any
	}
	if l.Urgent {
		s.schedule(unix.SCHED_RR)
		defer s.schedule(unix.SCHED_NORMAL)
	}
	before, err := s.CPU()
	if err != nil {
		return Result{}, err
	}
	sent, err := sender.Load{
		Addr: harness.Loopback(s.Port), Queries: l.Queries, DO: l.DO, Time: l.Time,
		QPS: l.QPS, Window: 64, Sockets: 8, Processor: processor, Urgent: l.Urgent,
	}.Run()
	if err != nil {
		return Result{}, err
	}
	after, err := s.CPU()
	if err != nil {
		return Result{}, err
	}
	if sent.Answered == 0 {
		return Result{}, fmt.Errorf("asking %s: no answer to %d questions", s.Name, sent.Sent)
	}
	answers := float64(sent.Answered)
	return Result{
		QPS:  answers / sent.Took.Seconds(),
		CPU:  time.Duration(float64(after-before) / answers),
		Lost: 1 - answers/float64(max(1, sent.Sent)),
		Codes: map[string]float64{
			"NOERROR": float64(sent.Answered-sent.NXDOMAIN-sent.Other) / answers, "NXDOMAIN": float64(sent.NXDOMAIN) / answers, "TC": float64(sent.TC) / answers,
		},
		Output: fmt.Sprintf("%+v", sent),
	}, nil
}

func find(re *regexp.Regexp, text string) (float64, error) {
	m := re.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("dnsperf does not say %q", strings.SplitN(re.String(), ":", 2)[0])
	}
	return strconv.ParseFloat(m[1], 64)
}

// Tools reports what is missing of the programs that are needed.
func Tools(names ...string) error {
	var missing []error
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			missing = append(missing, fmt.Errorf("%s is missing: install it (make bench does)", name))
		}
	}
	return errors.Join(missing...)
}
