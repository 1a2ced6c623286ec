package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

	"coredns-smimea/bench/internal/measure"
	"coredns-smimea/internal/testcert"
)

// million measures a directory ten times as large: the rates, the memory, and
// what it takes to sign all of it.
func (b *bench) million() (*measure.Table, error) {
	if b.more == 0 {
		return nil, nil
	}
	large, err := measure.MakeUsers(b.more, testcert.P256, b.Say)
	if err != nil {
		return nil, err
	}
	small, err := b.start("smimea", b.dnssec(false)+ours(b.users), certificate)
	if err != nil {
		return nil, err
	}
	defer b.stop(small)
	unsigned, err := b.start("smimea with more users, unsigned", ours(large), certificate)
	if err != nil {
		return nil, err
	}
	time.Sleep(min(5*time.Second, b.time)) // what the load took is given back
	plain, err := unsigned.Resident()
	if err != nil {
		return nil, err
	}
	b.stop(unsigned)
	s, err := b.start("smimea with more users", b.dnssec(false)+ours(large), certificate)
	if err != nil {
		return nil, err
	}
	defer b.stop(s)

	signing, err := b.signing(s, large.N)
	if err != nil {
		return nil, err
	}
	full, err := s.Resident()
	if err != nil {
		return nil, err
	}
	if err := small.Signed(2*b.users.N, time.Hour); err != nil {
		return nil, err
	}
	t := measure.NewTable(fmt.Sprintf("%d users", large.N))
	if err := b.fewAndMany(t, small, s, large.N); err != nil {
		return nil, err
	}
	t.Most("signing ahead while idle, us a signature", number(signing.each), "ECDSA alone, "+number(signing.ecdsa), signing.each/signing.ecdsa, 2)
	t.Most("processor for signing while 5,000 qps are answered", fmt.Sprintf("%.2f, %.0f signatures/s", signing.with-signing.without, signing.rate),
		fmt.Sprintf("%.2f with, %.2f without", signing.with, signing.without), signing.with-signing.without, 0.55)
	t.Row("memory, nothing signed, MB", megabytes(plain), "")
	t.Row("memory, all signed, MB", megabytes(full), "")
	t.Most("signatures, octets of memory a user", fmt.Sprintf("%.0f", float64(full-plain)/float64(large.N)), "", float64(full-plain)/float64(large.N), 300)
	return t, nil
}

// A signingCost is what it takes to sign all of a directory.
type signingCost struct {
	each, ecdsa   float64 // a signature while idle, and ECDSA alone, in microseconds
	with, without float64 // shares of a processor under a load, while signing and when all is signed
	rate          float64 // signatures a second under that load
}

// signing measures the signing of n users by a server that has just begun with it.
func (b *bench) signing(s *measure.Server, n int) (c signingCost, err error) {
	// The few who ask at first slow the signing down to half of the processor.
	// What their answers cost is measured again when all is signed.
	quarter := measure.Load{Queries: b.asks["smimea"], Time: 2 * b.time, QPS: 5000, Pin: clientPin}
	if c.with, c.rate, err = share(s, quarter); err != nil {
		return c, err
	}
	left, err := s.Metric(signedMetric)
	if err != nil {
		return c, err
	}
	began := time.Now()
	if err := s.Signed(2*n, time.Hour); err != nil {
		return c, err
	}
	c.each = time.Since(began).Seconds() * 1e6 / max(1, 2*float64(n)-left)
	if c.ecdsa, err = signatureCost(); err != nil {
		return c, err
	}
	b.Say("all is signed: %.0f us each, ECDSA alone %.0f us", c.each, c.ecdsa)
	c.without, _, err = share(s, quarter)
	return c, err
}

// fewAndMany measures the answers of a server with n users beside those of one with the
// usual number, and adds them to a table.
func (b *bench) fewAndMany(t *measure.Table, small, s *measure.Server, n int) error {
	few, err := b.asked(b.users.N)
	if err != nil {
		return err
	}
	many, err := b.asked(n)
	if err != nil {
		return err
	}
	c := &contest{bench: b, batched: true}
	type pair struct{ few, many *entry }
	pairs := map[string]pair{}
	kinds := []string{"SMIMEA", "TXT", "SMIMEA with DO", "TXT with DO"}
	for _, kind := range kinds {
		do := kind == "SMIMEA with DO" || kind == "TXT with DO"
		query := "smimea"
		if kind == "TXT" || kind == "TXT with DO" {
			query = "txt"
		}
		b.asks = few
		p := pair{few: c.add(fmt.Sprintf("%d users, %s", b.users.N, kind), small, query, do)}
		b.asks = many
		p.many = c.add(fmt.Sprintf("%d users, %s", n, kind), s, query, do)
		pairs[kind] = p
	}
	if err := c.run(b.rounds); err != nil {
		return err
	}
	for _, kind := range kinds {
		p := pairs[kind]
		t.Least(kind, p.many.String(), fmt.Sprintf("%d users: %v", b.users.N, p.few), p.few.cpu.Median()/p.many.cpu.Median(), 0.85)
	}
	return nil
}

const signedMetric = "coredns_smimea_signatures_total"

// asked writes questions about n users, and returns their files.
func (b *bench) asked(n int) (map[string]string, error) {
	old := b.asks
	defer func() { b.asks = old }()
	dir := b.dir
	b.dir = fmt.Sprintf("%s/%d", dir, n)
	defer func() { b.dir = dir }()
	if err := makeDir(b.dir); err != nil {
		return nil, err
	}
	err := b.questions(n)
	return b.asks, err
}

// share returns the share of a processor that a server takes under a load, and
// the signatures that it makes ahead meanwhile, a second.
func share(s *measure.Server, l measure.Load) (processor, signatures float64, err error) {
	var cpu [2]time.Duration
	var made [2]float64
	began := time.Now()
	var took float64
	for i := range cpu {
		if cpu[i], err = s.CPU(); err != nil {
			return 0, 0, err
		}
		if made[i], err = s.Metric(signedMetric); err != nil {
			return 0, 0, err
		}
		if i == 0 {
			if _, err := l.Run(s); err != nil {
				return 0, 0, err
			}
			took = time.Since(began).Seconds()
		}
	}
	return (cpu[1] - cpu[0]).Seconds() / took, (made[1] - made[0]) / took, nil
}

// signatureCost returns what an ECDSA signature costs here, in microseconds.
func signatureCost() (float64, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return 0, err
	}
	sum := sha256.Sum256([]byte("an RRset"))
	n, began := 0, time.Now()
	for ; time.Since(began) < time.Second; n++ {
		if _, err := ecdsa.SignASN1(rand.Reader, key, sum[:]); err != nil {
			return 0, err
		}
	}
	return time.Since(began).Seconds() * 1e6 / float64(n), nil
}
