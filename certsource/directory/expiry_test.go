package directory

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/internal/testcert"
)

func until(end time.Time) func(*testcert.Template) {
	return func(t *testcert.Template) { t.NotAfter = end }
}

// TestExpiry holds that a certificate is withdrawn its margin before its end,
// at the second, in whatever hour, and only then.
func TestExpiry(t *testing.T) {
	w := newWorld(t)
	start := w.now().Truncate(time.Hour).Add(3 * time.Hour)
	ends := map[string]time.Time{
		"a.pem": start, "b.pem": start.Add(time.Second), "c.pem": start.Add(59 * time.Minute),
		"d.pem": start.Add(time.Hour), "e.pem": start.Add(100 * time.Hour), "f.pem": start.Add(100 * time.Hour),
	}
	for p, end := range ends {
		w.write(p, until(end.Add(time.Hour))) // the margin
	}
	w.skew = time.Second // settled
	w.look()
	at := func(now time.Time) {
		t.Helper()
		w.skew = time.Until(now)
		w.expire(now) // not a moment later
		var want []string
		for p, end := range ends {
			if now.Before(end) {
				want = append(want, p)
			} else {
				w.wantState(p, certsource.Expired, "")
			}
		}
		w.want(want...)
		if next := w.d.NextExpiry(); len(want) > 0 && !next.After(now) {
			t.Errorf("at %v the next is to expire at %v", now, next)
		} else if len(want) == 0 && !next.IsZero() {
			t.Errorf("nothing is left to expire at %v", next)
		}
	}
	if next := w.d.NextExpiry(); !next.Equal(start) {
		t.Errorf("the first expires at %v, want %v", next, start)
	}
	if n := w.d.Expiring(start); n != 3 { // in that hour
		t.Errorf("%d expire in the first hour, want 3", n)
	}
	for _, now := range []time.Time{
		start.Add(-time.Minute), start.Add(-time.Second), start, start.Add(time.Second), start.Add(2 * time.Second),
		start.Add(59 * time.Minute), start.Add(time.Hour), start.Add(99 * time.Hour),
	} {
		at(now)
	}
	// A look finds the same, and reads nothing again.
	w.look()
	if w.changes+w.report.Read > 0 {
		t.Errorf("%d changes, %d files read", w.changes, w.report.Read)
	}
	// One that ends in an hour that is in the queue already.
	now := start.Add(99*time.Hour + time.Minute)
	ends["g.pem"] = now.Add(10 * time.Second)
	w.write("g.pem", until(ends["g.pem"].Add(time.Hour)))
	w.skew = time.Until(now)
	w.look()
	at(now)
	if next := w.d.NextExpiry(); !next.Equal(ends["g.pem"].Truncate(time.Second)) {
		t.Errorf("the next expires at %v, want %v", next, ends["g.pem"])
	}
	// One that is replaced before its end.
	ends["f.pem"] = start.Add(200 * time.Hour)
	w.write("f.pem", until(ends["f.pem"].Add(time.Hour)))
	w.look()
	at(start.Add(101 * time.Hour))
	at(start.Add(200 * time.Hour))

	// The clock goes back: what has expired has not.
	w.skew = time.Until(start.Add(30 * time.Minute))
	w.look()
	w.want("c.pem", "d.pem", "e.pem", "f.pem", "g.pem")
	at(start.Add(59 * time.Minute))
	at(start.Add(500 * time.Hour))
}

// TestExpiryRandom holds it for many certificates against a plain model.
func TestExpiryRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	w := newWorld(t)
	start := w.now().Truncate(time.Second).Add(2 * time.Hour)
	ends := map[string]time.Time{}
	for i := range 300 {
		p := fmt.Sprintf("%d.pem", i)
		ends[p] = start.Add(time.Duration(rng.IntN(10*3600)) * time.Second)
		w.write(p, until(ends[p].Add(time.Hour)))
	}
	w.look()
	for now := start; now.Before(start.Add(11 * time.Hour)); now = now.Add(time.Duration(rng.IntN(1200)) * time.Second) {
		w.d.Expire(context.Background(), now, w.changed)
		for p, end := range ends {
			if _, ok := w.served[p]; ok != end.After(now) {
				t.Fatalf("at %v: %s, which ends at %v, is published: %v", now, p, end, ok)
			}
		}
		first := time.Time{}
		for p := range w.served {
			if end := ends[p]; first.IsZero() || end.Before(first) {
				first = end
			}
		}
		next := w.d.NextExpiry()
		if next.IsZero() != first.IsZero() || next.After(first) || !first.IsZero() && !next.After(now) {
			t.Fatalf("at %v: the next is to expire at %v, and does at %v", now, next, first)
		}
		if rng.IntN(3) == 0 { // some are removed
			p := fmt.Sprintf("%d.pem", rng.IntN(300))
			delete(ends, p)
			os.Remove(w.at(p))
			w.report, w.err = w.d.Check(context.Background(), []string{p}, now, w.changed)
		}
	}
	w.check()
	w.want()
}

// TestArrivals has 100,000 files arrive at once: no more than a second's worth
// of copying them in, by way of a directory moved in.
func TestArrivals(t *testing.T) {
	const n = 100_000
	w := newWorld(t)
	w.skew = time.Second // settled
	w.write("a.pem")
	w.look()
	staging := newWorld(t)
	for i := range n {
		if i%1000 == 0 {
			staging.write(fmt.Sprintf("in/%d/0.pem", i/1000))
		} else {
			staging.must(os.Link(staging.at(fmt.Sprintf("in/%d/0.pem", i/1000)), staging.at(fmt.Sprintf("in/%d/%d.pem", i/1000, i%1000))))
		}
	}
	w.must(os.Rename(staging.at("in"), w.at("in")))
	began := time.Now()
	w.report, w.err = w.d.Check(context.Background(), []string{"in"}, w.now(), w.changed)
	t.Logf("%d files in %s", n, time.Since(began))
	if w.err != nil || len(w.served) != n+1 {
		t.Fatalf("%d published, error %v", len(w.served), w.err)
	}
	w.check()
	w.look()
	if w.changes > 0 {
		t.Errorf("%d changes without any", w.changes)
	}
}
