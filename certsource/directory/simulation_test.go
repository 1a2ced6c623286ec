package directory

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/internal/disk/fake"
)

var (
	seeds     = flag.Int("seeds", 300, "how many simulations are run")
	firstSeed = flag.Uint64("seed", 1, "the first of them")
)

// TestSimulation follows a directory on a machine in memory, where all that can
// go wrong does, in an order that a seed gives. At every quiet point what is
// published is what plain code says of the files that are there; and at no point
// is a certificate missing that was in the directory all the time, wherever it
// was moved, or one published that never was.
func TestSimulation(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	for seed := *firstSeed; seed < *firstSeed+uint64(*seeds); seed++ {
		if s := simulate(seed, false); len(s.wrong) > 0 {
			s = simulate(seed, true)
			t.Fatalf("seed %d:\n%s\nwhat was done:\n%s\nagain: go test ./certsource/directory -run TestSimulation -seed %d -seeds 1",
				seed, strings.Join(s.wrong, "\n"), strings.Join(s.log, "\n"), seed)
		}
	}
}

// A simulation is a server that follows a directory, and all that happens to it.
type simulation struct {
	*rand.Rand
	m       *fake.Machine
	options Options
	d       *Directory
	watch   *Watch // nil where there is none

	served  map[string][32]byte // what the changes add up to
	again   []string            // what is to be looked at soon
	failed  bool                // the last look did
	held    []time.Duration     // when looks held back withdrawals, since one did not
	most    int                 // certificates that were published at once, since all was quiet
	saved   saved
	changes int

	at     [wanderers]string // where the wanderers are
	hidden [wanderers]bool   // behind what is broken, now or not long ago
	broken map[string]error  // what fails until all is mended, by the last element of its name
	away   *fake.Volume      // DIR, while it is not mounted
	storm  bool              // somebody is at work, and the disk fails
	within bool              // a call of ours: somebody else's are not disturbed

	told  bool       // what is done is to be told
	mu    sync.Mutex // who walks is not who takes in
	log   []string
	wrong []string
}

// saved is what a server had saved before it was killed.
type saved struct {
	entries [][2][]byte
	device  uint64
	served  map[string][32]byte
}

func (s *simulation) note(format string, args ...any) {
	if !s.told {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, s.m.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

func (s *simulation) fail(format string, args ...any) {
	s.note("WRONG: "+format, args...)
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
}

func simulate(seed uint64, told bool) *simulation {
	s := &simulation{
		told: told,
		Rand: rand.New(rand.NewPCG(seed, 1)), m: fake.New(epoch),
		served: map[string][32]byte{}, broken: map[string]error{},
	}
	s.options = Options{Dir: simDir, Margin: simMargin, MaxWithdraw: 100, Window: 30 * time.Second, Paths: s.IntN(2) == 0, System: s.m, Workers: 1}
	if s.IntN(4) == 0 {
		s.options.MaxWithdraw = 50
	}
	s.build()
	s.start()
	defer s.stop()
	s.look()
	s.m.Before = s.before
	for range 1 + s.IntN(3) {
		s.storm = true
		for range 3 + s.IntN(8) {
			for range s.IntN(6) {
				s.step()
			}
			s.turn()
		}
		s.storm = false
		s.quiet()
		if len(s.wrong) > 0 {
			break
		}
	}
	return s
}

// start begins to follow the directory.
func (s *simulation) start() {
	o := s.options
	if s.IntN(3) > 0 {
		watch, err := NewWatch(simDir, s.m)
		if err == nil {
			s.watch, o.Enter = watch, watch.Add
			o.Heard = func() ([]string, bool) {
				if watch.Deaf() != nil {
					return nil, true
				}
				return watch.Take()
			}
		}
	}
	s.d = New(o)
}

func (s *simulation) stop() {
	if s.watch != nil {
		s.watch.Close()
		s.watch = nil
	}
}

// save saves what is known, as a server does from time to time.
func (s *simulation) save() {
	s.note("saved")
	s.saved = saved{device: s.d.Device(), served: map[string][32]byte{}}
	for path, record := range s.d.Files().Entries() {
		s.saved.entries = append(s.saved.entries, [2][]byte{bytes.Clone(path), bytes.Clone(record)})
	}
	for p, digest := range s.served {
		s.saved.served[p] = digest
	}
}

// restart goes on from what was saved, or from that of a moment ago.
func (s *simulation) restart() {
	if s.saved.served == nil || s.IntN(2) == 0 {
		s.save()
	}
	s.note("restarted")
	s.stop()
	s.start()
	r := s.d.Restore(len(s.saved.entries), 1000)
	for _, e := range s.saved.entries {
		if err := r.Add(e[0], e[1]); err != nil {
			s.fail("%s cannot be restored: %v", e[0], err)
		}
	}
	r.End(s.saved.device)
	s.served, s.again, s.held = map[string][32]byte{}, nil, nil
	for p, digest := range s.saved.served {
		s.served[p] = digest
	}
	s.look()
}

// reload goes on in another Directory, with other options.
func (s *simulation) reload() {
	s.options.Margin = time.Duration(1+s.IntN(10)) * time.Minute
	s.note("reloaded, with a margin of %v", s.options.Margin)
	legacy := s.d.Legacy()
	s.stop()
	s.start()
	s.d = Inherit(s.d.options, legacy, func(f File) bool { return f.ID%2 == 0 })
	s.d.Expire(context.Background(), s.m.Now(), s.change)
	s.look()
}

// turn is what a server does next.
func (s *simulation) turn() {
	s.m.Pass(time.Duration(s.IntN(400)) * time.Millisecond)
	if s.IntN(3) > 0 {
		s.deliver(true)
	}
	switch n := s.IntN(40); {
	case n == 0:
		s.restart()
	case n == 1:
		s.save()
	case n == 2:
		s.reload()
	case s.watch == nil || n < 7:
		s.look()
	default:
		s.hear()
	}
}

// hear does what notifications, and looks before, have asked for.
func (s *simulation) hear() {
	var paths []string
	all := false
	if s.watch != nil {
		paths, all = s.watch.Take()
	}
	if paths = append(s.again, paths...); all {
		s.look()
	} else if len(paths) > 0 {
		s.note("a check of %q", paths)
		before := maps.Clone(s.served)
		report, err := s.d.Check(context.Background(), paths, s.m.Now(), s.change)
		if s.again = report.Unsettled; err != nil {
			s.again = append(paths, s.again...)
		}
		s.ran(before, report, err)
	}
}

func (s *simulation) look() {
	s.note("a look")
	before := maps.Clone(s.served)
	report, err := s.d.Look(context.Background(), s.m.Now(), s.change)
	s.again = report.Unsettled
	s.ran(before, report, err)
}

// ran ends a look or a check.
func (s *simulation) ran(before map[string][32]byte, report Report, err error) {
	if s.failed = err != nil; s.failed {
		s.note("it failed: %v", err)
	}
	s.guarded(before, report)
	s.d.Expire(context.Background(), s.m.Now(), s.change)
	s.hold()
}

func (s *simulation) change(c Change) {
	s.changes++
	if digest, ok := s.served[c.Path]; c.Old.Published() != ok || ok && digest != c.Old.Digest {
		s.fail("%s: a change from something else than was made known", c.Path)
	}
	delete(s.served, c.Path)
	if c.New.Published() && c.Removed.IsZero() {
		s.served[c.Path] = c.New.Digest
		if c.Certificates == nil && c.Old.Digest != c.New.Digest {
			s.fail("%s: published without its certificate", c.Path)
		}
	}
	s.note("  %s: %v %q %q", c.Path, c.New.Published() && c.Removed.IsZero(), c.New.Reason, c.New.Failing)
}

func (s *simulation) digests() map[[32]byte]bool {
	have := map[[32]byte]bool{}
	for _, digest := range s.served {
		have[digest] = true
	}
	return have
}

// guarded holds that withdrawals of many at once had to wait.
func (s *simulation) guarded(before map[string][32]byte, report Report) {
	now := s.digests()
	lost := 0
	for p, digest := range before {
		if _, still := s.served[p]; !still && !now[digest] {
			lost++
		}
	}
	all := maps.Clone(before)
	maps.Copy(all, s.served)
	s.most = max(s.most, len(all))
	since := s.m.Elapsed()
	if len(s.held) > 0 {
		since = s.held[0]
	}
	if s.options.MaxWithdraw < 100 && s.most > guardedFrom && lost*100 > s.options.MaxWithdraw*s.most && s.m.Elapsed()-since < 2*s.options.Window {
		s.fail("%d of %d are withdrawn at once", lost, len(before))
	}
	if report.Held > 0 {
		s.held = append(s.held, s.m.Elapsed())
	} else {
		s.held = nil
	}
}

// hold holds what must be so at all times.
func (s *simulation) hold() {
	published, failing := 0, map[certsource.Reason]int{}
	for p, f := range s.d.Files().All() {
		if digest, ok := s.served[p]; f.Published() != ok || ok && digest != f.Digest {
			s.fail("%s is served %v, and known as %+v", p, ok, f)
		}
		if f.Published() {
			published++
		}
		if why := f.why(); why != "" {
			failing[why]++
		}
	}
	if published != len(s.served) || s.d.Published() != published {
		s.fail("%d are published, %d counted, %d served", published, s.d.Published(), len(s.served))
	}
	if fmt.Sprint(failing) != fmt.Sprint(s.d.Failing()) {
		s.fail("failing are %v, counted %v", failing, s.d.Failing())
	}
	have := s.digests()
	for digest := range have {
		if !goodCerts()[digest] {
			s.fail("something is published that is no certificate")
		}
	}
	for i, p := range s.at {
		if s.isBroken(p) {
			s.hidden[i] = true // the disk may never have given it
		}
		if !have[simCerts()[i].digest] && !s.hidden[i] {
			s.fail("certificate %d, now at %s, is not published", i, p)
		}
	}
	for p, i := range residents {
		if s.served[p] != simCerts()[i].digest {
			s.fail("%s has always been there, and is not published", p)
		}
	}
}

func (s *simulation) isBroken(p string) bool {
	return slices.ContainsFunc(strings.Split(strings.TrimPrefix(p, simDir), "/"), func(name string) bool { return s.broken[name] != nil })
}

// quiet lets all come to rest, and compares.
func (s *simulation) quiet() {
	s.note("quiet")
	clear(s.broken)
	s.m.MaxWatches = 0
	s.mount()
	if s.IntN(2) == 0 {
		s.mend(simDir)
	}
	s.deliver(false)
	s.m.Pass(time.Minute)
	s.look()
	for turns := 0; len(s.again) > 0 || len(s.held) > 0; turns++ {
		s.m.Pass(time.Second)
		if len(s.held) > 0 {
			s.m.Pass(s.options.Window)
			s.look()
		} else {
			s.hear()
		}
		if turns > 20 {
			s.fail("it never comes to rest: %q", s.again)
			return
		}
	}
	s.compare()
	clear(s.hidden[:])
	s.most = 0
	// Once more, and there is nothing to do.
	s.changes = 0
	s.look()
	if s.changes > 0 {
		s.fail("%d changes where nothing has changed", s.changes)
	}
}
