package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"coredns-smimea/bench/internal/measure"
	"coredns-smimea/internal/harness"
)

// peers measures the processor time of an answer at saturation, against NSD and Knot
// with the same records: one processor for the server, the other for a sender that
// fills batches.
func (b *bench) peers() (*measure.Table, error) {
	return b.besidePeers(serverPin, &contest{bench: b, batched: true})
}

// bothRate is a rate of questions that two processors sustain, with their sender.
const bothRate = 100_000

// two measures the same of servers that use two processors. The sender has to share
// them, so that it asks at a steady rate, and not at saturation.
func (b *bench) two() (*measure.Table, error) {
	return b.besidePeers(bothPin, &contest{bench: b, batched: true, rate: bothRate})
}

// A field of servers is ours, in three forms, and NSD's and Knot's, with signatures and
// without.
type field struct {
	smimea, counted, flooded *measure.Server // counted: by *prometheus*; flooded: over its limit of denials
	nsd, knot                *measure.Server
	signedNSD, signedKnot    *measure.Server

	all []*measure.Server // those that have started
}

// startField starts a field of servers on some processors. What has started by an error is
// in it, too.
func (b *bench) startField(pin measure.Pin) (*field, error) {
	f := new(field)
	if err := measure.Tools("nsd", "knotd", "dnssec-signzone"); err != nil {
		return f, err
	}
	signed, err := b.signZone()
	if err != nil {
		return f, err
	}
	metrics, err := harness.FreePort()
	if err != nil {
		return f, err
	}
	var errs []error
	add := func(s *measure.Server, err error) *measure.Server {
		if s != nil {
			f.all = append(f.all, s)
		}
		errs = append(errs, err)
		return s
	}
	const wait = 3 * time.Minute
	f.smimea = add(b.startOn(pin, "smimea", b.dnssec(false)+ours(b.users), certificate))
	f.counted = add(b.startOn(pin, "smimea with prometheus", "\tprometheus "+harness.Loopback(metrics)+"\n"+b.dnssec(false)+ours(b.users), certificate))
	f.flooded = add(b.startOn(pin, "smimea, always over the limit", b.dnssec(false)+ours(b.users, "denials_per_second 1"), certificate))
	b.Say("starting NSD and Knot")
	f.nsd = add(measure.StartNSD(b.dir, b.users.Zone, certificate, pin, wait))
	f.knot = add(measure.StartKnot(b.dir, b.users.Zone, certificate, pin, wait))
	f.signedNSD = add(measure.StartNSD(b.dir, signed, certificate, pin, wait))
	f.signedKnot = add(measure.StartKnot(b.dir, signed, certificate, pin, wait))
	if err := errors.Join(errs...); err != nil {
		return f, err
	}
	for _, s := range []*measure.Server{f.smimea, f.counted, f.flooded} {
		if err := s.Signed(2*b.users.N, 10*time.Minute); err != nil {
			return f, err
		}
	}
	return f, nil
}

// besidePeers has servers on some processors take part in a contest.
func (b *bench) besidePeers(pin measure.Pin, c *contest) (*measure.Table, error) {
	f, err := b.startField(pin)
	defer func() { b.stop(f.all...) }()
	if err != nil {
		return nil, err
	}
	var rows []trio
	for _, k := range []struct {
		what, queries string
		do            bool
		floor         float64
	}{
		{"SMIMEA", "smimea", false, 0.8}, {"TXT", "txt", false, 0.8},
		{"SMIMEA with DO", "smimea", true, 0.8}, {"TXT with DO", "txt", true, 0.8},
		{"absent", "absent", false, 0.7}, {floodRow, "absent", true, 0.8},
	} {
		r := trio{what: k.what, floor: k.floor, ours: c.add("smimea, "+k.what, f.smimea, k.queries, k.do)}
		if k.do {
			r.nsd, r.knot = c.add("NSD, "+k.what, f.signedNSD, k.queries, true), c.add("Knot, "+k.what, f.signedKnot, k.queries, true)
		} else {
			r.nsd, r.knot = c.add("NSD, "+k.what, f.nsd, k.queries, false), c.add("Knot, "+k.what, f.knot, k.queries, false)
		}
		rows = append(rows, r)
	}
	tc := c.add("smimea, TC alone", f.flooded, "absent", true)
	prometheus := c.add("smimea with prometheus, SMIMEA", f.counted, "smimea", false)
	if err := c.run(b.rounds); err != nil {
		return nil, err
	}
	title := fmt.Sprintf("%d users: processor time of an answer, beside NSD's and Knot's", b.users.N)
	if c.rate > 0 {
		title += fmt.Sprintf(", %d processors, %d questions a second", pin.Processors(), c.rate)
	}
	t := measure.NewTable(title)
	threeRows(t, rows, tc)
	t.Least("SMIMEA, with *prometheus*", prometheus.String(), "without", rows[0].ours.cpu.Median()/prometheus.cpu.Median(), 0.8)
	if c.rate > 0 {
		var lost measure.Samples
		for _, e := range c.entries {
			lost = append(lost, e.lost...)
		}
		t.Row("lost, share, of the worst", fmt.Sprintf("%.4f", lost.Worst()), "")
		return t, nil
	}
	return t, b.beyond(t, f.smimea)
}

// A trio is a kind of question, as three servers answer it.
type trio struct {
	what            string
	floor           float64 // of the ratio of the better of the others to ours
	ours, nsd, knot *entry
}

const floodRow = "absent with DO, over the limit: TC"

// threeRows adds the rows of each kind of question to a table: ours beside the better of NSD and
// Knot. Tc is ours of a flood of which next to nothing is signed.
func threeRows(t *measure.Table, rows []trio, tc *entry) {
	for _, r := range rows {
		better, name := r.nsd, "NSD"
		if r.what != floodRow && r.knot.cpu.Median() < r.nsd.cpu.Median() {
			better, name = r.knot, "Knot"
		}
		t.Row("NSD, "+r.what, r.nsd.String(), "")
		t.Row("Knot, "+r.what, r.knot.String(), "")
		t.Least(r.what, r.ours.String(), name, better.cpu.Median()/r.ours.cpu.Median(), r.floor)
		if r.what == floodRow {
			t.Row("of these TC, share", fmt.Sprintf("%.3f", r.ours.tc.Median()), "")
			t.Least("the same with next to no denial signed: TC alone", tc.String(), name, better.cpu.Median()/tc.cpu.Median(), r.floor)
		}
	}
}

// beyond asks for names that exist at a steady rate, beside a batched flood of those
// that do not.
func (b *bench) beyond(t *measure.Table, s *measure.Server) error {
	const steady = 5000
	e := &entry{name: "smimea, steady beside a flood", server: s, load: measure.Load{Queries: b.asks["smimea"], DO: true, Time: b.time, QPS: steady, Pin: clientPin}}
	var floods measure.Samples
	for range b.rounds {
		done := make(chan error, 1)
		go func() {
			r, err := measure.Load{Queries: b.asks["absent"], DO: true, Time: b.time + b.time/4, Pin: clientPin, Batched: true}.Run(s)
			floods = append(floods, r.QPS)
			done <- err
		}()
		time.Sleep(b.time / 8) // the flood is there first
		err := b.measure(e)
		if flooded := <-done; err == nil {
			err = flooded
		}
		if err != nil {
			return err
		}
	}
	t.Most(fmt.Sprintf("lost of SMIMEA with DO at %d qps beside a flood, share", steady), fmt.Sprintf("%v qps", e.qps), fmt.Sprintf("a flood of %v qps", floods), e.lost.Worst(), 0)
	return nil
}

// signZone signs the zone file as NSD and Knot want it, with NSEC, once.
func (b *bench) signZone() (string, error) {
	path := filepath.Join(b.dir, "db.signed")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	b.Say("signing the zone file")
	cmd := exec.Command("dnssec-signzone", "-S", "-z", "-K", b.dir, "-o", measure.Domain, "-O", "full", "-f", path, b.users.Zone)
	cmd.Dir = b.dir // where it leaves a file of DS records
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("signing the zone file: %w\n%s", err, out)
	}
	return path, nil
}
