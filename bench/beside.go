package main

import (
	"path/filepath"

	"coredns-smimea/bench/internal/measure"
)

// hosts is how many names *file* has that are not ours.
const hosts = 1000

// beside measures names that we pass on. A difference of three in a hundred is
// less than the machine's noise: there are many short turns, and each is
// compared with the one directly after it.
func (b *bench) beside() (*measure.Table, error) {
	zone := file(filepath.Join(b.dir, "db.hosts"))
	alone, err := b.start("file", zone, anA)
	if err != nil {
		return nil, err
	}
	with, err := b.start("file beside smimea", ours(b.users)+zone, anA)
	if err != nil {
		return nil, err
	}
	defer b.stop(alone, with)
	c := &contest{bench: b, batched: true}
	behind := c.add("file, behind smimea", with, "hosts", false)
	first := c.add("file, alone", alone, "hosts", false)
	for _, e := range c.entries {
		e.load.Time = b.time / 4
	}
	if err := c.run(5 * b.rounds); err != nil { // pairs, now this one first, now that
		return nil, err
	}
	var ratios, costs measure.Samples
	for i := range behind.qps {
		ratios = append(ratios, behind.qps[i]/first.qps[i])
		costs = append(costs, first.cpu[i]/behind.cpu[i])
	}
	t := measure.NewTable("names that are passed on to *file*")
	t.Least("A beside smimea, pair by pair", behind.String(), "*file* alone: "+first.String(), ratios.Median(), 0.95)
	t.Row("the same by processor time", costs.String(), "")
	return t, nil
}
