package crl

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"coredns-smimea/certsource/revocation"
	"coredns-smimea/internal/testcert"
)

// A web is what stands in for the network: what a URL leads to.
type web struct {
	*testing.T
	f     *Follower
	a     *testcert.Authority
	cert  []byte // of a user
	id    revocation.ID
	reply []byte
	err   error
	asked int
}

const url = "http://crl.example.org/a.crl"

func newWeb(t *testing.T, c Config) *web {
	t.Helper()
	w := &web{T: t}
	var err error
	w.a, err = testcert.NewAuthority("A", nil)
	w.must(err)
	w.cert, err = testcert.Template{Addresses: []string{"a@example.com"}, Issuer: w.a}.DER()
	w.must(err)
	w.id, _ = revocation.IDOf(w.cert)
	world := Real(c)
	world.Get = func(context.Context, string) ([]byte, error) { w.asked++; return w.reply, w.err }
	world.Jitter = func(d time.Duration) time.Duration { return d }
	w.f = New(c, world, nil)
	return w
}

func (w *web) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *web) list(number int64, certs ...[]byte) []byte {
	w.Helper()
	der, err := w.a.Revoke(number, certs...)
	w.must(err)
	return der
}

// fetch looks at the lists, and takes in what is fetched for that; want is whether
// something is.
func (w *web) fetch(now time.Time, want bool) {
	w.Helper()
	w.f.Look(now)
	if got := len(w.f.wanted) > 0; got != want {
		w.Fatalf("at %v it is asked %v, want %v", now, got, want)
	}
	if !want {
		return
	}
	ctx, cancel := context.WithCancel(w.Context())
	done := make(chan struct{})
	go func() { w.f.Run(ctx); close(done) }()
	w.f.Take(<-w.f.C(), now)
	cancel()
	<-done
}

func (w *web) revokes(what string, want bool) {
	w.Helper()
	if got := w.f.Set().Concerns(w.id) && w.f.Set().Revoked(w.cert) != nil; got != want {
		w.Errorf("%s: revoked %v, want %v", what, got, want)
	}
}

// value returns that of a metric.
func value(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var d dto.Metric
	if err := m.Write(&d); err != nil {
		t.Fatal(err)
	}
	return d.GetCounter().GetValue() + d.GetGauge().GetValue()
}

// TestPoints follows a list over HTTP: when it is asked for, and what counts when it
// cannot be had.
func TestPoints(t *testing.T) {
	w := newWeb(t, Config{Points: true})
	now, failed := time.Now(), value(t, failures.WithLabelValues(url))
	w.fetch(now, false)
	w.f.learnPoint(url)
	w.err = errors.New("no route")
	w.fetch(now, true)
	w.revokes("unreachable", false)
	w.fetch(now.Add(retry-time.Second), false)
	// It comes, but nobody knows the issuer.
	w.err, w.reply = nil, w.list(1, w.cert)
	w.fetch(now.Add(retry), true)
	w.revokes("an unknown issuer", false)
	w.f.Learn(w.cert, [][]byte{w.a.Certificate})
	w.revokes("an issuer that is known by now", true)

	now = now.Add(2 * retry)
	w.fetch(now, true)
	set := w.f.Set()
	w.fetch(now.Add(every-time.Second), false)
	now = now.Add(every)
	w.reply = []byte("<html>")
	w.fetch(now, true)
	w.revokes("something else", true)
	if w.f.Set() != set {
		t.Error("another set though nothing has changed")
	}
	now = now.Add(retry)
	w.reply = w.list(0)
	w.fetch(now, true)
	w.revokes("an older list", true)
	now = now.Add(retry)
	w.reply = w.list(2)
	w.fetch(now, true)
	w.revokes("a newer list", false)
	if n := value(t, failures.WithLabelValues(url)) - failed; n != 4 {
		t.Errorf("%v failures are counted", n)
	}
	if n := value(t, nextUpdate.WithLabelValues(url)); n < float64(now.Unix()) {
		t.Errorf("the next update is at %v", n)
	}

	// A week later it is overdue, and counts.
	w.reply, w.err = nil, errors.New("no route")
	w.fetch(now.AddDate(0, 0, 10), true)
	if !w.f.sources[url].overdue {
		t.Error("it is not said to be overdue")
	}
	w.f.Forget()
}

// TestEarly holds that a list from the future counts when that has come, and not before.
func TestEarly(t *testing.T) {
	w := newWeb(t, Config{Points: true})
	w.f.learnPoint(url)
	w.f.Learn(w.cert, [][]byte{w.a.Certificate})
	now := time.Now()
	w.reply = w.list(1, w.cert) // of now
	w.fetch(now.AddDate(0, 0, -1), true)
	w.revokes("a day before", false)
	if n := value(t, usable.WithLabelValues(url)); n != 0 {
		t.Errorf("usable is %v", n)
	}
	w.f.wanted = nil // nothing is fetched any more
	w.f.Look(now.Add(-time.Hour))
	w.revokes("an hour before", false)
	w.f.Look(now.Add(time.Minute))
	w.revokes("when it has come", true)
	if n := value(t, usable.WithLabelValues(url)); n != 1 {
		t.Errorf("usable is %v", n)
	}
	w.f.Forget()
}

// TestKept hands on what a Follower knows to another one, which cannot reach anything.
func TestKept(t *testing.T) {
	w := newWeb(t, Config{Points: true})
	w.f.learnPoint(url)
	w.f.Learn(w.cert, [][]byte{w.a.Certificate})
	issuers := w.f.Kept()
	w.reply = w.list(1, w.cert)
	w.fetch(time.Now(), true)
	w.revokes("fetched", true)
	copied := new(Kept)
	for name, value := range w.f.Kept().Entries() {
		w.must(copied.Add(slices.Clone(name), slices.Clone(value)))
	}
	next := newWeb(t, Config{Points: true})
	next.cert, next.id = w.cert, w.id
	next.f.Restore(copied)
	next.revokes("restored", true)
	if next.fetch(time.Now(), true); next.asked != 1 {
		t.Error("a place that was restored is not asked")
	}
	// One that knows the place only, and the issuer.
	late := newWeb(t, Config{Points: true})
	late.cert, late.id, late.reply = w.cert, w.id, w.reply
	late.f.Restore(issuers)
	late.fetch(time.Now(), true)
	late.revokes("fetched after a restart", true)
	// One to which what was kept is of no use.
	none := newWeb(t, Config{Files: []string{"/nowhere"}})
	none.cert, none.id = w.cert, w.id
	none.f.Restore(copied)
	none.revokes("files only", false)
	if New(Config{}, Real(Config{}), nil) != nil {
		t.Error("there is a Follower of nothing")
	}
}

// TestFiles follows a file through what can become of it.
func TestFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.crl")
	w := newWeb(t, Config{Files: []string{path}})
	w.f.Learn(w.cert, [][]byte{w.a.Certificate})
	now := time.Now()
	step := func(what string, want bool, do func() error) {
		t.Helper()
		w.must(do())
		now = now.Add(time.Minute)
		w.f.Look(now)
		w.revokes(what, want)
	}
	put := func(data []byte) func() error {
		return func() error {
			w.must(os.WriteFile(path+".new", data, 0o600))
			return os.Rename(path+".new", path)
		}
	}
	step("not there", false, func() error { return nil })
	step("there", true, put(w.list(1, w.cert)))
	step("damaged", true, put(w.list(2)[:100]))
	step("gone", true, func() error { return os.Remove(path) })
	step("a directory", true, func() error { return os.Mkdir(path, 0o700) })
	step("gone again", true, func() error { return os.Remove(path) })
	step("a newer one", false, put(w.list(3)))
	step("an older one, by the operator", true, put(w.list(1, w.cert)))
	// What cannot be read is read the next time, though it has not changed.
	failing := true
	read := w.f.world.Read
	w.f.world.Read = func(name string, most int64) ([]byte, error) {
		if failing {
			return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("input/output error")}
		}
		return read(name, most)
	}
	step("unreadable", true, put(w.list(4)))
	step("readable", false, func() error { failing = false; return nil })
	w.f.Forget()
}
