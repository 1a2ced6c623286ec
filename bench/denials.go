package main

import (
	"fmt"
	"time"

	"coredns-smimea/bench/internal/measure"
)

// denials measures names that do not exist, and what a flood of them does to
// those that do.
func (b *bench) denials() (*measure.Table, error) {
	unlimited, err := b.start("smimea without a limit of denials", b.dnssec(false)+ours(b.users, "denials_per_second 0"), certificate)
	if err != nil {
		return nil, err
	}
	stock, err := b.start("file + dnssec", b.dnssec(true)+file(b.users.Zone), certificate)
	if err != nil {
		return nil, err
	}
	smimea, err := b.start("smimea", b.dnssec(false)+ours(b.users), certificate)
	if err != nil {
		return nil, err
	}
	defer b.stop(unlimited, stock, smimea)
	for _, s := range []*measure.Server{unlimited, smimea} {
		if err := s.Signed(2*b.users.N, 10*time.Minute); err != nil {
			return nil, err
		}
	}
	before, err := unlimited.Resident()
	if err != nil {
		return nil, err
	}
	c := &contest{bench: b}
	denied := c.add("smimea, absent with DO", unlimited, "absent", true)
	stockDenied := c.add("file + dnssec, absent with DO", stock, "absent", true)
	plain := c.add("smimea, absent", unlimited, "absent", false)
	existing := c.add("smimea, SMIMEA with DO", smimea, "smimea", true)
	limited := c.add("smimea, absent with DO, default limit", smimea, "absent", true)
	if err := c.run(b.rounds); err != nil {
		return nil, err
	}
	after, err := unlimited.Resident()
	if err != nil {
		return nil, err
	}

	// Those who ask for names that exist come at a rate of their own; the flood
	// is whatever gets through.
	steady := min(20_000, int(0.2*existing.qps.Median()))
	quiet, flooded, err := b.flood(smimea, steady)
	if err != nil {
		return nil, err
	}
	stockSteady := min(steady, 4000)
	stockQuiet, stockFlooded, err := b.flood(stock, stockSteady)
	if err != nil {
		return nil, err
	}

	t := measure.NewTable(fmt.Sprintf("%d users: names that do not exist", b.users.N))
	t.Row("*file* + *dnssec*, absent with DO", stockDenied.String(), "")
	t.Least("absent with DO, no limit", denied.String(), denied.against(stockDenied, "*file* + *dnssec*"), denied.over(stockDenied), 2)
	t.Row("absent with DO, default limit", limited.String(), "most get TC")
	t.Row("absent, unsigned", plain.String(), "")
	t.Most("memory after the floods without a limit, MB", megabytes(after), megabytes(before)+" before", float64(after)/float64(before), 1.5)
	t.Least(fmt.Sprintf("SMIMEA with DO at %d qps, beside a flood", steady), flooded.String(), "without one", flooded.over(quiet), 0.95)
	t.Row("lost beside the flood, share", fmt.Sprintf("%.4f", flooded.lost.Median()), "")
	t.Row(fmt.Sprintf("*file* + *dnssec* at %d qps, beside a flood", stockSteady), stockFlooded.String(), fmt.Sprintf("%.2f x without one", stockFlooded.over(stockQuiet)))
	return t, nil
}

// flood asks for names that exist at a steady rate, alone and while as many
// others as get through are asked for that do not.
func (b *bench) flood(s *measure.Server, qps int) (quiet, flooded *entry, err error) {
	load := measure.Load{Queries: b.asks["smimea"], DO: true, Time: b.time, QPS: qps, Pin: clientPin}
	quiet = &entry{name: s.Name + ", steady, no flood", server: s, load: load}
	flooded = &entry{name: s.Name + ", steady, beside a flood", server: s, load: load}
	for range b.rounds {
		if err := b.measure(quiet); err != nil {
			return nil, nil, err
		}
		done := make(chan error, 1)
		go func() {
			_, err := measure.Load{Queries: b.asks["absent"], DO: true, Time: b.time + b.time/4, Pin: clientPin}.Run(s)
			done <- err
		}()
		time.Sleep(b.time / 8) // the flood is there first
		if err := b.measure(flooded); err != nil {
			return nil, nil, err
		}
		if err := <-done; err != nil {
			return nil, nil, err
		}
	}
	return quiet, flooded, nil
}

func megabytes(n int64) string { return fmt.Sprintf("%.0f", float64(n)/(1<<20)) }
