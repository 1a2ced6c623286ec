package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/bench/internal/measure"
	"coredns-smimea/certsource"
	"coredns-smimea/certsource/directory"
	"coredns-smimea/internal/testcert"
	"coredns-smimea/smimea"
)

// folder is the part of the directory that the benchmark changes.
const folder = "changing"

// A change is a certificate for a user of the benchmark's own.
type change struct {
	address smimea.Address
	path    string // of its file
	pem     []byte
	digest  string // of its key
}

// newChange makes a certificate for the i-th of these users; each call, another.
func (b *bench) newChange(dir string, i int) (change, error) {
	c := change{
		address: smimea.Address{Local: fmt.Sprintf("changing%d", i), Domain: measure.Domain},
		path:    filepath.Join(dir, fmt.Sprintf("changing%d.pem", i)),
	}
	t := measure.Template(i, testcert.P256)
	t.Addresses = []string{c.address.Local + "@" + measure.Domain}
	der, err := t.DER()
	if err != nil {
		return c, err
	}
	cert, err := certsource.Parse(der)
	if err != nil {
		return c, err
	}
	sum := sha256.Sum256(cert.SPKI)
	c.pem, c.digest = testcert.PEM(der), hex.EncodeToString(sum[:])
	return c, nil
}

// put writes the file beside its place and moves it there, as everybody should.
func (c change) put() error {
	temp := filepath.Join(filepath.Dir(c.path), "."+filepath.Base(c.path))
	if err := os.WriteFile(temp, c.pem, 0o644); err != nil {
		return err
	}
	return os.Rename(temp, c.path)
}

// shows waits until a server answers for the user with a digest, or, if that is
// empty, has nothing. It asks every millisecond.
func shows(s *measure.Server, a smimea.Address, digest string, patience time.Duration) (time.Duration, error) {
	began := time.Now()
	for {
		reply, err := measure.Ask(s.Port, certificate(a.Owner()))
		if err == nil && answersWith(reply, digest) {
			return time.Since(began), nil
		}
		if time.Since(began) > patience {
			return 0, fmt.Errorf("no change is seen within %v (error %v, reply %v)", patience, err, reply)
		}
		time.Sleep(time.Millisecond)
	}
}

func answersWith(reply *dns.Msg, digest string) bool {
	if digest == "" {
		return reply.Rcode == dns.RcodeNameError
	}
	// What was renewed stays beside it for a TTL.
	return slices.ContainsFunc(reply.Answer, func(rr dns.RR) bool {
		return rr.(*dns.SMIMEA).Certificate == digest
	})
}

// own makes the benchmark's part of the directory, and returns how to remove it.
func (b *bench) own() (dir string, remove func(), err error) {
	dir = filepath.Join(b.users.Dir, folder)
	if err := os.RemoveAll(dir); err != nil { // of a run that was ended
		return "", nil, err
	}
	return dir, func() { os.RemoveAll(dir) }, os.MkdirAll(dir, 0o755)
}

// delays adds, changes and removes files, n times each, and measures how long it
// is until the answer changes.
func (b *bench) delays(s *measure.Server, dir string, n int, patience time.Duration) (map[string]measure.Samples, error) {
	delays := map[string]measure.Samples{}
	for i := range n {
		c, err := b.newChange(dir, i)
		if err != nil {
			return nil, err
		}
		d, err := b.newChange(dir, i)
		if err != nil {
			return nil, err
		}
		for _, step := range []struct {
			kind   string
			do     func() error
			digest string
		}{
			{"added", c.put, c.digest},
			{"changed", d.put, d.digest},
			{"removed", func() error { return os.Remove(d.path) }, ""},
		} {
			if err := step.do(); err != nil {
				return nil, err
			}
			took, err := shows(s, c.address, step.digest, patience)
			if err != nil {
				return nil, fmt.Errorf("waiting for a file that was %s: %w\n%s", step.kind, err, s.Log())
			}
			delays[step.kind] = append(delays[step.kind], took.Seconds())
		}
	}
	return delays, nil
}

// live measures a running server: how soon changes show, what they do to the
// queries meanwhile, and what it takes when nothing happens.
func (b *bench) live() error {
	dir, remove, err := b.own()
	if err != nil {
		return err
	}
	defer remove()
	s, err := b.start(b.users)
	if err != nil {
		return err
	}
	defer s.Stop()
	delays, err := b.delays(s, dir, b.changes, 30*time.Second)
	if err != nil {
		return err
	}
	for _, kind := range []string{"added", "changed", "removed"} {
		b.Say("file %s: %v s", kind, delays[kind])
		b.table.Most("file "+kind+" until the answer changes, s", delays[kind].String(), fmt.Sprintf("%d times; the worst counts", b.changes), delays[kind].Worst(), 1)
	}
	if err := b.idle(s); err != nil {
		return err
	}
	return b.churn(s, dir)
}

// idle measures a server that nobody asks and whose directory does not change:
// between two looks, and what a look takes.
func (b *bench) idle(s *measure.Server) error {
	before, err := s.CPU()
	if err != nil {
		return err
	}
	looks, err := s.Metric("coredns_smimea_look_duration_seconds_count")
	if err != nil {
		return err
	}
	time.Sleep(b.time)
	after, err := s.CPU()
	if err != nil {
		return err
	}
	quiet := (after - before).Seconds() / b.time.Seconds()
	// One look at everything, ordered by the file by which an operator confirms.
	confirm := filepath.Join(b.users.Dir, directory.ConfirmFile)
	if err := os.WriteFile(confirm, nil, 0o644); err != nil {
		return err
	}
	defer os.Remove(confirm)
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		now, err := s.Metric("coredns_smimea_look_duration_seconds_count")
		if err != nil {
			return err
		}
		if now > looks {
			break
		}
		if time.Since(began) > 2*time.Minute {
			return fmt.Errorf("there is no look within two minutes of touching %s\n%s", confirm, s.Log())
		}
	}
	if before, after = after, 0; err == nil {
		after, err = s.CPU()
	}
	if err != nil {
		return err
	}
	sum, err := s.Metric("coredns_smimea_look_duration_seconds_sum")
	if err != nil {
		return err
	}
	count, err := s.Metric("coredns_smimea_look_duration_seconds_count")
	if err != nil {
		return err
	}
	look := (after - before).Seconds()
	// Where changes are heard of, looks are that far apart (publisher.pause).
	pause := max(30, min(looksApart*sum/count, longestPause))
	total := quiet + look/pause
	b.Say("idle: %.4f of a processor, a look takes %.2f s of it, every %.0f s", quiet, look, pause)
	b.table.Most("idle, share of one processor", fmt.Sprintf("%.4f", total), fmt.Sprintf("%.4f between looks, %.2f s of it for one, every %.0f s", quiet, look, pause), total, 0.02)
	return nil
}

const (
	looksApart   = 250     // by how many times of what a look takes the next one is later
	longestPause = 15 * 60 // seconds
)

// churn asks at 20,000 queries a second, while a thousand files a second are
// written elsewhere, and then in the directory.
func (b *bench) churn(s *measure.Server, dir string) error {
	elsewhere := filepath.Join(b.dir, "elsewhere")
	if err := os.MkdirAll(elsewhere, 0o755); err != nil {
		return err
	}
	var quiet, busy latency
	for _, round := range []struct {
		dir string
		l   *latency
	}{{elsewhere, &quiet}, {dir, &busy}} {
		stop, done := make(chan struct{}), make(chan error, 1)
		var written int
		go func() {
			var err error
			written, err = b.write(round.dir, stop)
			done <- err
		}()
		time.Sleep(time.Second)
		before, err := s.CPU()
		if err != nil {
			return err
		}
		*round.l, err = measureLatency(s.Port, b.users.N, 20_000, b.time)
		close(stop)
		if err != nil {
			return err
		}
		if err := <-done; err != nil {
			return err
		}
		after, err := s.CPU()
		if err != nil {
			return err
		}
		b.Say("20,000 qps, %d files written: %v, %.2f of a processor", written, *round.l, (after-before).Seconds()/b.time.Seconds())
	}
	b.table.Most("p99 at 20,000 qps while 1,000 files/s change, ms", busy.String(), "quiet: "+quiet.String(), float64(busy.p99)/float64(quiet.p99), 2)
	b.table.Most("queries lost meanwhile", fmt.Sprint(busy.lost), fmt.Sprintf("quiet: %d of %d", quiet.lost, quiet.sent), float64(busy.lost), 0)
	return nil
}

// write changes a thousand files a second, of two versions, until stop.
func (b *bench) write(dir string, stop chan struct{}) (written int, err error) {
	const files = 1000
	var versions [2][]change
	for i := range files {
		for v := range versions {
			c, err := b.newChange(dir, i)
			if err != nil {
				return 0, err
			}
			versions[v] = append(versions[v], c)
		}
	}
	defer func() {
		for _, c := range versions[0] {
			os.Remove(c.path)
		}
	}()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for {
		select {
		case <-stop:
			return written, nil
		case <-tick.C:
		}
		for due := int(time.Since(began).Seconds() * files); written < due; written++ {
			c := versions[written/files%2][written%files]
			if bytes.Equal(c.pem, nil) {
				continue
			}
			if err := c.put(); err != nil {
				return written, err
			}
		}
	}
}

// polled measures how soon changes show if the server is not told of them.
func (b *bench) polled() error {
	dir, remove, err := b.own()
	if err != nil {
		return err
	}
	defer remove()
	const reload = 2
	s, err := b.start(b.users, "watch off", fmt.Sprintf("reload %ds", reload))
	if err != nil {
		return err
	}
	defer s.Stop()
	delays, err := b.delays(s, dir, max(1, b.changes/10), time.Minute)
	if err != nil {
		return err
	}
	var all measure.Samples
	for _, samples := range delays {
		all = append(all, samples...)
	}
	b.table.Most(fmt.Sprintf("the same without notifications, reload %ds, s", reload), all.String(), fmt.Sprintf("%d times; the worst counts", len(all)), all.Worst(), reload+5)
	return nil
}
