package directory

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"coredns-smimea/internal/disk"
	"coredns-smimea/internal/testcert"
)

// epoch is when simulations begin.
var epoch = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

const (
	simDir    = "/srv/certs"
	simMargin = time.Minute
)

// A simCert is a file's content, and what is to become of it.
type simCert struct {
	data     []byte
	digest   [32]byte
	notAfter time.Time
	good     bool
}

// The first of simCerts are always in the directory: wanderers are moved about,
// residents stay, and the many come and go together.
const (
	wanderers = 3
	many      = 30
)

// residents are paths, and what is there.
var residents = map[string]int{"r/0.pem": wanderers, "kept/1.pem": wanderers + 1}

// simCerts are the contents of all simulations: making them takes longer than
// reading them.
var simCerts = sync.OnceValue(func() (list []simCert) {
	add := func(good bool, t testcert.Template) {
		t.NotBefore = epoch.Add(-24 * time.Hour)
		if t.NotAfter.IsZero() {
			t.NotAfter = epoch.Add(1000 * time.Hour)
		}
		t.Addresses = []string{fmt.Sprintf("user%d@example.com", len(list))}
		der, err := t.DER()
		if err != nil {
			panic(err)
		}
		list = append(list, simCert{testcert.PEM(der), sha256.Sum256(der), t.NotAfter, good})
	}
	for range wanderers + len(residents) + many + 20 {
		add(true, testcert.Template{})
	}
	for i := range 4 {
		add(true, testcert.Template{NotAfter: epoch.Add(time.Duration(i+1) * time.Hour)})
	}
	add(false, testcert.Template{Authority: true})
	return list
})

var goodCerts = sync.OnceValue(func() map[[32]byte]bool {
	good := map[[32]byte]bool{}
	for _, c := range simCerts() {
		good[c.digest] = c.good
	}
	return good
})

// certOf returns which of simCerts a file holds, nil if none.
var certOf = func() func(data []byte) *simCert {
	byData := sync.OnceValue(func() map[string]*simCert {
		m := map[string]*simCert{}
		for _, c := range simCerts() {
			m[string(c.data)] = &c
		}
		return m
	})
	return func(data []byte) *simCert { return byData()[string(data)] }
}()

func (s *simulation) must(err error) {
	if err != nil {
		panic(err)
	}
}

func (s *simulation) write(p string, i int) {
	s.must(s.m.MkdirAll(path.Dir(p)))
	s.must(s.m.WriteFile(p, simCerts()[i].data))
}

// build makes the directory as it is in the beginning.
func (s *simulation) build() {
	s.must(s.m.MkdirAll(simDir))
	s.m.Mount(simDir, nil)
	for i := range s.at {
		s.at[i] = fmt.Sprintf("%s/w%d/w%d.pem", simDir, i%2, i)
		s.write(s.at[i], i)
	}
	s.write(simDir+"/r/0.pem", residents["r/0.pem"])
	s.write(simDir+"/.kept/1.pem", residents["kept/1.pem"])
	s.must(s.m.Symlink(".kept", simDir+"/kept"))
	if s.options.MaxWithdraw < 100 {
		for i := range many {
			s.write(fmt.Sprintf("%s/m/%d.pem", simDir, i), wanderers+len(residents)+i)
		}
	}
	s.m.Pass(time.Second)
}

// before is somebody at work while we are, and a disk that fails.
func (s *simulation) before(call, name string) error {
	if !s.storm || s.within {
		return nil
	}
	s.within = true
	defer func() { s.within = false }()
	byWatch := call == "openroot" && name != simDir // while it can hear nothing
	switch call {
	case "list", "getdents", "sleep", "open", "openroot", "read":
		for !byWatch && s.IntN(4) == 0 {
			s.step()
		}
		if !byWatch && s.IntN(4) == 0 || call == "sleep" { // by then what was done before is heard
			s.deliver(true)
		}
	}
	switch call {
	case "list", "getdents", "stat", "open", "read", "fstat", "sub", "lstat", "real", "addwatch", "watch", "resolve", "openroot":
		if err := s.broken[path.Base(name)]; err != nil {
			s.note("%s of %q fails: %v", call, name, err)
			return err
		}
		if s.IntN(60) == 0 {
			err := []error{syscall.EIO, syscall.EACCES, syscall.EMFILE, syscall.ESTALE}[s.IntN(4)]
			s.note("%s of %q fails: %v", call, name, err)
			return err
		}
	}
	return nil
}

// deliver hands over notifications, in a storm not all of them, and some twice.
func (s *simulation) deliver(storm bool) {
	s.m.Deliver(func(events []disk.Event) []disk.Event {
		if !storm || len(events) == 0 {
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

// step is one thing that happens. That it cannot be done is no matter.
func (s *simulation) step() {
	certs := simCerts()
	fixed := wanderers + len(residents) + many
	p, q := s.path(), s.path()
	text := certs[fixed+s.IntN(len(certs)-fixed)].data
	s.m.Pass(time.Duration(s.IntN(2000)) * time.Microsecond)
	do := func(what string, err error) {
		if err == nil {
			s.note("      %s %s %s", what, strings.TrimPrefix(p, simDir), strings.TrimPrefix(q, simDir))
		}
	}
	if s.away != nil {
		if s.IntN(3) == 0 {
			s.mount()
		}
		return
	}
	switch s.IntN(21) {
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
		q = []string{"f1.pem", "a", "../.v1/f2.pem", "nowhere", "/etc/hostname", ".v1/f1.pem", ".v2", "../f0.pem", "current", "f2.pem"}[s.IntN(10)]
		do("remove", s.m.RemoveAll(p))
		do("link", s.m.Symlink(q, p))
	case 9:
		p, q = simDir+"/current", []string{".v1", ".v2"}[s.IntN(2)]
		do("link", s.m.Symlink(q, p+".tmp"))
		do("switch", s.m.Rename(p+".tmp", p))
	case 10, 11:
		s.wander(s.IntN(wanderers))
	case 12: // the wanderers' directories change places
		s.must(s.m.Rename(simDir+"/w0", simDir+"/w2"))
		s.must(s.m.Rename(simDir+"/w1", simDir+"/w0"))
		s.must(s.m.Rename(simDir+"/w2", simDir+"/w1"))
		for i, at := range s.at {
			s.at[i] = strings.NewReplacer("/w0/", "/w1/", "/w1/", "/w0/").Replace(at)
		}
		s.note("      w0 and w1 change places")
	case 13: // copied, and then removed
		do("copy", s.m.WriteFile(q, text[:s.IntN(len(text))]))
		do("copy", s.m.WriteFile(q, text))
		do("remove", s.m.RemoveAll(p))
	case 14:
		p, q = simDir+"/m", simDir+"/.m"
		if s.IntN(2) == 0 {
			p, q = q, p
		}
		do("move", s.m.Rename(p, q))
	case 15:
		if len(s.broken) > 0 && s.IntN(2) == 0 {
			s.note("      all is mended")
			clear(s.broken)
			return
		}
		name := []string{"w0", "w1", "w2.pem", "f0.pem", "f1.pem", "a", "x", "r", "0.pem", "kept", "current", ".v1"}[s.IntN(12)]
		s.broken[name] = []error{syscall.EIO, syscall.EACCES}[s.IntN(2)]
		s.note("      %s breaks", name)
	case 16:
		if s.IntN(4) == 0 {
			s.note("      DIR is unmounted")
			s.away = s.m.Unmount(simDir)
		}
	case 17:
		if s.IntN(3) == 0 {
			by := time.Duration(s.IntN(120)-60) * []time.Duration{time.Second, time.Minute}[s.IntN(2)]
			s.note("      the clock is set by %v", by)
			s.m.SetClock(by)
		}
	case 18:
		s.m.MaxWatches = []int{0, 0, 3, 6}[s.IntN(4)]
	case 19: // a link that leads nowhere for a moment
		p, q = simDir+"/current", []string{".v1", ".v2"}[s.IntN(2)]
		do("remove", s.m.RemoveAll(p))
		do("link", s.m.Symlink(q, p))
	case 20: // Kubernetes
		p, q = simDir+"/..data", fmt.Sprintf("..%d", s.IntN(3))
		do("mkdir", s.m.MkdirAll(simDir+"/"+q))
		do("write", s.m.WriteFile(simDir+"/"+q+"/k.pem", text))
		do("link", s.m.Symlink(q, p+".tmp"))
		do("switch", s.m.Rename(p+".tmp", p))
		do("link", s.m.Symlink("..data/k.pem", simDir+"/k.pem"))
	}
}

func (s *simulation) path() string {
	return fmt.Sprintf("%s/%s/f%d.pem", simDir, []string{".", "a", "a/x", "b", ".v1", ".v2"}[s.IntN(6)], s.IntN(4))
}

func (s *simulation) dir() string {
	return simDir + "/" + []string{"a", "a/x", "b", "c", ".v1", ".v2"}[s.IntN(6)]
}

// wander moves a wanderer.
func (s *simulation) wander(i int) {
	p, q := s.at[i], fmt.Sprintf("%s/w%d/w%d.pem", simDir, s.IntN(2), s.IntN(6))
	if !slices.Contains(s.at[:], q) {
		s.must(s.m.Rename(p, q))
		s.at[i] = q
		s.note("      wanderer %d moves from %s to %s", i, p, q)
	}
}

func (s *simulation) mount() {
	if s.away != nil {
		s.note("      DIR is mounted")
		s.must(s.m.RemoveAll(simDir))
		s.must(s.m.MkdirAll(simDir))
		s.m.Mount(simDir, s.away)
		s.away = nil
	}
}

// compare holds that what is published is what the files say.
func (s *simulation) compare() {
	want, torn := map[string][32]byte{}, map[string]bool{}
	s.model(want, torn, simDir, 0)
	for _, p := range slices.Sorted(maps.Keys(want)) {
		if s.served[p] != want[p] {
			s.fail("%s is not published as the files say", p)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(s.served)) {
		// A torn file keeps what it held, which plain code does not remember.
		if _, ok := want[p]; !ok && !torn[p] {
			s.fail("%s is published, and the files say no", p)
		}
	}
	if s.failed {
		s.fail("the look failed, though nothing is wrong")
	}
	for p, f := range s.d.Files().All() {
		if f.Failing != "" && !torn[p] {
			s.fail("%s fails still: %s", p, f.Failing)
		}
	}
}

// model says in plain code what the files say.
func (s *simulation) model(want map[string][32]byte, torn map[string]bool, dir string, links int) {
	for _, e := range s.m.Entries(dir) {
		p := dir + "/" + e.Name
		if strings.HasPrefix(e.Name, ".") {
			continue
		}
		isCert := strings.HasSuffix(e.Name, ".pem")
		switch {
		case e.Link:
			if !strings.HasPrefix(e.Real+"/", simDir+"/") {
				continue
			}
			if !strings.Contains(e.Real, "/.") && (e.Into || strings.HasSuffix(e.Real, ".pem")) {
				continue // read under its own name
			}
			if e.Into && links < 2 {
				s.model(want, torn, p, links+1)
			}
		case e.Dir:
			s.model(want, torn, p, links)
		}
		if e.Into || !isCert {
			continue
		}
		below := strings.TrimPrefix(p, simDir+"/")
		switch c := certOf(e.Data); {
		case c == nil:
			torn[below] = true
		case c.good && c.notAfter.Add(-s.options.Margin).After(s.m.Now()):
			want[below] = c.digest
		}
	}
}

// mend removes what is torn.
func (s *simulation) mend(dir string) {
	for _, e := range s.m.Entries(dir) {
		switch p := dir + "/" + e.Name; {
		case e.Dir:
			s.mend(p)
		case !e.Link && certOf(e.Data) == nil:
			s.must(s.m.RemoveAll(p))
		}
	}
}
