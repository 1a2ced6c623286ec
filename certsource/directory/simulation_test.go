package directory

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/internal/disk"
	"coredns-smimea/internal/disk/fake"
	"coredns-smimea/internal/zoo"
)

var (
	seeds = flag.Int("simulation.seeds", 1000, "how many simulations are run")
	seed  = flag.Uint64("simulation.seed", 0, "the first of them; 0: by the time")
)

// TestSimulation follows a directory on a machine in memory, where all that can
// go wrong does, in an order that a seed gives. At every quiet point what is
// published is what plain code says of the files that are there; and at no point
// is a certificate missing that was always in one of the directories, or one
// published that never was.
func TestSimulation(t *testing.T) {
	first := *seed
	if first == 0 {
		first = uint64(time.Now().UnixNano())
	}
	for s := first; s < first+uint64(*seeds); s++ {
		if !t.Run(fmt.Sprint(s), func(t *testing.T) { simulate(t, s) }) {
			t.Fatalf("again: go test ./certsource/directory -run TestSimulation -simulation.seeds 1 -simulation.seed %d", s)
		}
	}
}

// epoch is when simulations begin.
var epoch = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

const simDir = "/srv/certs"

// A simCert is a file's content, and what is to become of it.
type simCert struct {
	data     []byte
	digest   [32]byte
	notAfter time.Time
	good     bool
}

// simCerts are the contents of all simulations: making them takes longer than
// reading them.
var simCerts = sync.OnceValue(func() (list []simCert) {
	add := func(good bool, t zoo.Template) {
		t.NotBefore = epoch.Add(-24 * time.Hour)
		if t.NotAfter.IsZero() {
			t.NotAfter = epoch.Add(1000 * time.Hour)
		}
		t.Addresses = []string{fmt.Sprintf("user%d@example.com", len(list))}
		der, err := t.DER()
		if err != nil {
			panic(err)
		}
		list = append(list, simCert{zoo.PEM(der), sha256.Sum256(der), t.NotAfter, good})
	}
	for range 20 {
		add(true, zoo.Template{})
	}
	for i := range 4 {
		add(true, zoo.Template{NotAfter: epoch.Add(time.Duration(i+1) * time.Hour)})
	}
	add(false, zoo.Template{Authority: true})
	return list
})

// wanderers are the first of simCerts: always somewhere, moved at times.
const wanderers = 3

type simulation struct {
	*testing.T
	*rand.Rand
	m     *fake.Machine
	d     *Directory
	watch *Watch

	served map[string][32]byte
	at     [wanderers]string // where the wanderers are
	again  []string
	storm  bool // somebody is at work, and the disk fails
	failed bool // the last look did
	within bool // a call of ours: somebody else's are not disturbed
	log    []string
}

func simulate(t *testing.T, seed uint64) {
	s := &simulation{T: t, Rand: rand.New(rand.NewPCG(seed, 1)), m: fake.New(epoch), served: map[string][32]byte{}}
	defer func() {
		if t.Failed() {
			t.Logf("what was done:\n%s", strings.Join(s.log, "\n"))
		}
	}()
	s.m.MkdirAll(simDir)
	for i := range s.at {
		s.at[i] = fmt.Sprintf("%s/w%d/w.pem", simDir, i%2)
		s.at[i] = strings.Replace(s.at[i], "w.pem", fmt.Sprintf("w%d.pem", i), 1)
		s.m.MkdirAll(path.Dir(s.at[i]))
		s.m.WriteFile(s.at[i], simCerts()[i].data)
	}
	o := Options{Dir: simDir, Margin: time.Minute, MaxWithdraw: 100, Window: 30 * time.Second, Paths: s.IntN(2) == 0, System: s.m, Workers: 1}
	if s.IntN(3) > 0 {
		watch, err := NewWatch(simDir, s.m)
		if err != nil {
			t.Fatal(err)
		}
		defer watch.Close()
		s.watch = watch
		o.Enter = watch.Add
		o.Heard = func() ([]string, bool) {
			if watch.Deaf() != nil {
				return nil, true
			}
			return watch.Take()
		}
	}
	s.d = New(o)
	s.m.Before = s.before
	s.look()
	for range 2 + s.IntN(3) {
		s.storm = true
		for range 3 + s.IntN(10) {
			for range s.IntN(6) {
				s.step()
			}
			s.turn()
		}
		s.storm = false
		s.quiet()
		if t.Failed() {
			return
		}
	}
}

// before is somebody at work while we are, and a disk that fails.
func (s *simulation) before(call, name string) error {
	if !s.storm || s.within {
		return nil
	}
	s.within = true
	defer func() { s.within = false }()
	switch call {
	case "list", "getdents", "sleep", "open":
		for s.IntN(4) == 0 {
			s.step()
		}
		if s.IntN(4) == 0 || call == "sleep" { // by then what was done before is heard
			s.deliver(true)
		}
	}
	switch call {
	case "list", "getdents", "stat", "open", "read", "sub", "lstat", "addwatch", "openroot":
		if s.IntN(40) == 0 {
			err := []error{syscall.EIO, syscall.EACCES, syscall.EMFILE, syscall.ESTALE}[s.IntN(4)]
			s.note("%s of %q fails: %v", call, name, err)
			return err
		}
	}
	return nil
}

func (s *simulation) note(format string, args ...any) {
	s.log = append(s.log, fmt.Sprintf(format, args...))
}

// deliver hands over notifications, in a storm not all of them, and some twice.
func (s *simulation) deliver(storm bool) {
	s.m.Deliver(func(events []disk.Event) []disk.Event {
		if !storm {
			return events
		}
		switch s.IntN(12) {
		case 0:
			s.note("%d notifications are doubled", len(events))
			return append(events, events...)
		case 1:
			s.note("notifications overflow")
			return append(events[:s.IntN(len(events)+1)], disk.Event{Watch: -1, Lost: true})
		}
		return events
	})
}

// turn is what a server does next.
func (s *simulation) turn() {
	s.m.Pass(time.Duration(s.IntN(400)) * time.Millisecond)
	switch s.IntN(30) {
	case 0:
		s.note("the clock is set forward")
		s.m.SetClock(time.Duration(s.IntN(60)) * time.Minute)
	case 1:
		s.note("the clock is set back")
		s.m.SetClock(-time.Duration(s.IntN(60)) * time.Minute)
	}
	if s.IntN(3) > 0 {
		s.deliver(true)
	}
	if s.watch == nil || s.IntN(8) == 0 {
		s.look()
		return
	}
	s.hear()
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
		report, err := s.d.Check(context.Background(), paths, s.m.Now(), s.change)
		s.again = report.Unsettled
		if s.failed = err != nil; s.failed {
			s.again = paths
		}
		s.hold()
	}
}

func (s *simulation) look() {
	s.note("a look")
	report, err := s.d.Look(context.Background(), s.m.Now(), s.change)
	s.again, s.failed = report.Unsettled, err != nil
	s.d.Expire(context.Background(), s.m.Now(), s.change)
	s.hold()
}

func (s *simulation) change(c Change) {
	if digest, ok := s.served[c.Path]; c.Old.Published() != ok || ok && digest != c.Old.Digest {
		s.Errorf("%s: a change from something else than was made known", c.Path)
	}
	delete(s.served, c.Path)
	if c.New.Published() && c.Removed.IsZero() {
		s.served[c.Path] = c.New.Digest
	}
	s.note("  %s: %v %q %q", c.Path, c.New.Published() && c.Removed.IsZero(), c.New.Reason, c.New.Failing)
}

// hold holds what must be so at all times.
func (s *simulation) hold() {
	for p, digest := range s.served {
		if f, ok := s.d.Files().Get(p); !ok || !f.Published() || f.Digest != digest {
			s.Errorf("%s is served and not known", p)
		}
		if !slices.ContainsFunc(simCerts(), func(c simCert) bool { return c.good && c.digest == digest }) {
			s.Errorf("%s publishes what is no certificate", p)
		}
	}
	if s.d.Published() != len(s.served) {
		s.Errorf("%d are counted, %d served", s.d.Published(), len(s.served))
	}
	if len(s.served) == 0 && s.failed { // there was no first look
		return
	}
	have := map[[32]byte]bool{}
	for _, digest := range s.served {
		have[digest] = true
	}
	for i, p := range s.at {
		if !have[simCerts()[i].digest] && s.d.Files().Len() > 0 {
			if f, ok := s.d.Files().Get(strings.TrimPrefix(p, simDir+"/")); ok && f.Reason == certsource.Unreadable {
				continue // the disk has never given it
			}
			s.note("LOST")
			s.Errorf("certificate %d, now at %s, is not published", i, p)
		}
	}
}

// quiet lets all come to rest, and compares.
func (s *simulation) quiet() {
	s.note("quiet")
	s.mend(simDir)
	s.deliver(false)
	s.m.Pass(time.Minute)
	s.look()
	for turns := 0; len(s.again) > 0; turns++ {
		s.m.Pass(time.Second)
		s.hear()
		if turns > 20 {
			s.Fatalf("it never comes to rest: %q", s.again)
		}
	}
	want := map[string][32]byte{}
	s.model(want, simDir, 0)
	if !maps.Equal(want, s.served) {
		s.Errorf("published are %q, the files say %q", slices.Sorted(maps.Keys(s.served)), slices.Sorted(maps.Keys(want)))
		for p := range want {
			if s.served[p] != want[p] {
				s.Errorf("%s: %x, want %x", p, s.served[p], want[p])
			}
		}
	}
	if s.failed {
		s.Error("the look failed, though nothing is wrong")
	}
	for p, f := range s.d.Files().All() {
		if f.Failing != "" {
			s.Errorf("%s fails still: %s", p, f.Failing)
		}
	}
}

// model says in plain code what the files say.
func (s *simulation) model(want map[string][32]byte, dir string, links int) {
	for _, e := range s.m.Entries(dir) {
		p := dir + "/" + e.Name
		if strings.HasPrefix(e.Name, ".") {
			continue
		}
		isCert := strings.HasSuffix(e.Name, ".pem")
		if e.Link {
			if !strings.HasPrefix(e.Real+"/", simDir+"/") {
				continue
			}
			if !strings.Contains(e.Real, "/.") && (e.Into || strings.HasSuffix(e.Real, ".pem")) {
				continue // read under its own name
			}
			if e.Into && links < 2 {
				s.model(want, p, links+1)
			}
		} else if e.Dir {
			s.model(want, p, links)
		}
		if e.Into || !isCert {
			continue
		}
		for _, c := range simCerts() {
			if string(c.data) == string(e.Data) && c.good && c.notAfter.Add(-time.Minute).After(s.m.Now()) {
				want[strings.TrimPrefix(p, simDir+"/")] = c.digest
			}
		}
	}
}

// mend removes what is torn: a file keeps what it held before, which plain code
// does not remember.
func (s *simulation) mend(dir string) {
	for _, e := range s.m.Entries(dir) {
		p := dir + "/" + e.Name
		switch {
		case e.Dir:
			s.mend(p)
		case e.Link:
		case !slices.ContainsFunc(simCerts(), func(c simCert) bool { return string(c.data) == string(e.Data) }):
			s.m.RemoveAll(p)
		}
	}
}

func (s *simulation) path() string {
	return fmt.Sprintf("%s/%s/f%d.pem", simDir, []string{".", "a", "a/x", "b", ".v1", ".v2"}[s.IntN(6)], s.IntN(4))
}

func (s *simulation) dir() string {
	return simDir + "/" + []string{"a", "a/x", "b", "c", ".v1", ".v2"}[s.IntN(6)]
}

// step is one thing that somebody does. That it cannot be done is no matter.
func (s *simulation) step() {
	certs := simCerts()
	p, q := s.path(), s.path()
	text := certs[wanderers+s.IntN(len(certs)-wanderers)].data
	s.m.Pass(time.Duration(s.IntN(2000)) * time.Microsecond)
	do := func(what string, err error) { s.note("    %s %s %s: %v", what, p, q, err) }
	switch s.IntN(13) {
	case 0, 1:
		do("mkdir", s.m.MkdirAll(path.Dir(p)))
		do("write", s.m.WriteFile(p, text))
	case 2:
		do("write", s.m.WriteFile(p+".tmp", text))
		do("rename over", s.m.Rename(p+".tmp", p))
	case 3:
		do("tear", s.m.WriteFile(p, text[:s.IntN(len(text))]))
	case 4:
		do("remove", s.m.RemoveAll(p))
	case 5:
		do("swap", s.m.Rename(p, simDir+"/x"))
		do("swap", s.m.Rename(q, p))
		do("swap", s.m.Rename(simDir+"/x", q))
	case 6:
		p, q = s.dir(), s.dir()
		do("move", s.m.Rename(p, q))
	case 7:
		p = s.dir()
		do("remove", s.m.RemoveAll(p))
	case 8:
		q = []string{"f1.pem", "a", "../.v1/f2.pem", "nowhere", "/etc/hostname", ".v1/f1.pem", ".v2"}[s.IntN(7)]
		do("remove", s.m.RemoveAll(p))
		do("link", s.m.Symlink(q, p))
	case 9:
		p, q = simDir+"/current", []string{".v1", ".v2"}[s.IntN(2)]
		do("link", s.m.Symlink(q, p+".tmp"))
		do("switch", s.m.Rename(p+".tmp", p))
	case 10, 11: // a wanderer
		i := s.IntN(wanderers)
		p, q = s.at[i], fmt.Sprintf("%s/w%d/w%d.pem", simDir, s.IntN(2), s.IntN(6))
		if slices.Contains(s.at[:], q) {
			return
		}
		if err := s.m.Rename(p, q); err == nil {
			s.at[i] = q
			do("wander", nil)
		}
	case 12: // their directories change places
		do("w", s.m.Rename(simDir+"/w0", simDir+"/w2"))
		do("w", s.m.Rename(simDir+"/w1", simDir+"/w0"))
		do("w", s.m.Rename(simDir+"/w2", simDir+"/w1"))
		for i, at := range s.at {
			s.at[i] = strings.NewReplacer("/w0/", "/w1/", "/w1/", "/w0/").Replace(at)
		}
	}
}
