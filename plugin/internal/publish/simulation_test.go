package publish

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"coredns-smimea/internal/disk/fake"
	"coredns-smimea/internal/testcert"
	"coredns-smimea/plugin/internal/secondary"
	"coredns-smimea/plugin/internal/served"
	"coredns-smimea/smimea/zone"
)

var (
	seeds     = flag.Int("seeds", 100, "how many simulations are run")
	firstSeed = flag.Uint64("seed", 1, "the first of them")
)

// TestSimulation follows a publisher through restarts, clean and killed between any
// two system calls of a save, with a state and without, and through reloads, in an
// order that a seed gives. What it serves is held against plain code at all times:
// who has always been there is never denied, serials rise, a serial has one content,
// journals lead from every version they cover to the one that is served; and at
// every quiet point what is served is what the files say, and what secondaries get that
// cannot sign is the same, signed.
func TestSimulation(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	var all simCounts
	for seed := *firstSeed; seed < *firstSeed+uint64(*seeds); seed++ {
		s := simulate(t, seed, false)
		if len(s.wrong) > 0 {
			s = simulate(t, seed, true)
			t.Fatalf("seed %d:\n%s\nwhat was done:\n%s\nagain: go test ./plugin/internal/publish -run TestSimulation -seed %d -seeds 1",
				seed, strings.Join(s.wrong, "\n"), strings.Join(s.log, "\n"), seed)
		}
		all.add(s.simCounts)
	}
	t.Logf("%+v", all)
}

// simCounts is what has been tried.
type simCounts struct{ Versions, Signed, Steps, Kills, Stops, Reloads, Saves, Keys, Held, Restored int }

func (a *simCounts) add(b simCounts) {
	a.Versions += b.Versions
	a.Signed += b.Signed
	a.Steps += b.Steps
	a.Kills += b.Kills
	a.Stops += b.Stops
	a.Reloads += b.Reloads
	a.Saves += b.Saves
	a.Keys += b.Keys
	a.Held += b.Held
	a.Restored += b.Restored
}

const (
	simState = "/state/smimea"
	simUsers = 30
	simStay  = 4 // the first are always there
	simTorn  = 6 // those up to it are there, or torn
)

var simDomains = []string{"example.com", "example.org", "example.net"}

// A simulation is a server, its directory, and all that happens to it.
type simulation struct {
	*rand.Rand
	t    *testing.T
	m    *fake.Machine
	disk *simDisk
	p    *Publisher
	away *fake.Volume
	// group makes the signed zones of secondaries, if the configuration has some.
	group *secondary.Group

	faults  int // percent of the calls at the directory that fail
	mu      sync.Mutex
	config  Config
	url     int // which form it has
	domains int // how many it serves
	key     int // which keys sign, 0 for none
	budget  int // octets of certificates that are held
	there   [simUsers]simUser

	// The model's memory.
	last      map[string]*simVersion            // by origin, with a word after it where it is signed
	versions  map[string]map[uint32]*simVersion // all of them
	seen      [simTorn]bool                     // who has been served by this process, or before a clean end
	faulty    bool                              // a call has failed since the process began: what could never be read may be denied
	observing bool

	simCounts
	told       bool
	log, wrong []string
}

// simUser is what a user's file is.
type simUser struct {
	folder int
	cert   int  // 0: no file
	torn   bool // in its midst
}

// simVersion is a zone as it was served once.
type simVersion struct {
	zone    *zone.Zone // nil for one that secondaries get signed
	signed  *zone.Transferable
	serial  uint32
	records map[string]bool // all but the SOA
}

func (s *simulation) note(format string, args ...any) {
	if s.told {
		s.log = append(s.log, s.m.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
	}
}

func (s *simulation) fail(format string, args ...any) {
	s.note("WRONG: "+format, args...)
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
}

func (s *simulation) must(err error) {
	if err != nil {
		panic(err)
	}
}

// simEpoch is when simulations begin: today, since *dnssec* dates the signatures of its
// keys by itself.
var simEpoch = time.Now().UTC().Truncate(24 * time.Hour).Add(3*time.Hour + 4*time.Minute + 5*time.Second)

// A simCert is a certificate of a user: each has two.
type simCert struct {
	data     []byte
	spki     string // digest
	notAfter time.Time
}

func simDomain(user int) string { return simDomains[user%len(simDomains)] }

// simCerts are the certificates of all simulations.
var simCerts = sync.OnceValue(func() (list [simUsers][3]simCert) {
	for user := range list {
		for n := 1; n < 3; n++ {
			end := simEpoch.AddDate(1, 0, 0)
			if user >= simTorn && user%5 == 0 && n == 1 {
				end = simEpoch.Add(2*time.Hour + time.Duration(user)*time.Minute)
			}
			der, err := testcert.Template{
				Addresses: []string{fmt.Sprintf("user%d@%s", user, simDomain(user))},
				NotBefore: simEpoch.Add(-24 * time.Hour), NotAfter: end,
			}.DER()
			if err != nil {
				panic(err)
			}
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				panic(err)
			}
			digest := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
			list[user][n] = simCert{testcert.PEM(der), hex.EncodeToString(digest[:]), end}
		}
	}
	return list
})

var simURLs = []string{"https://{domain}/.well-known/smime/{file}", "https://certs.example.net/{file}?of={domain}"}

// newSimulation returns one whose publisher has not looked yet.
func newSimulation(t *testing.T, seed uint64, told bool) *simulation {
	r := rand.New(rand.NewPCG(seed, 2))
	s := &simulation{
		Rand: r, t: t, told: told, m: fake.New(simEpoch), disk: newSimDisk(r), domains: 1 + r.IntN(2),
		last: map[string]*simVersion{}, versions: map[string]map[uint32]*simVersion{},
	}
	s.disk.before = s.observe
	s.m.Before = s.before
	served.Forget()
	s.config = aConfig(t, "/certs", simDomains[:s.domains]...)
	s.config.Unwatched, s.config.State = true, simState
	if s.IntN(4) == 0 {
		s.config.State = ""
	}
	s.config.MaxWithdraw = []int{100, 30}[s.IntN(2)]
	// With dice of its own: the stories that seeds tell are as they were before.
	host := rand.New(rand.NewPCG(seed, 3))
	s.config.Paths, s.budget = host.IntN(2) == 0, host.IntN(2)*octetsBudget
	if s.config.Signed = s.IntN(3) == 0; s.config.Signed {
		s.otherKey()
	}
	s.must(s.m.MkdirAll("/certs"))
	s.m.Mount("/certs", nil)
	s.must(s.m.MkdirAll("/certs/0"))
	s.must(s.m.MkdirAll("/certs/1"))
	for user := range s.there {
		if user < 20 {
			s.write(user, simUser{folder: s.IntN(2), cert: 1})
		}
	}
	s.m.Pass(time.Minute)
	s.start(nil)
	return s
}

func simulate(t *testing.T, seed uint64, told bool) *simulation {
	s := newSimulation(t, seed, told)
	defer s.end()
	s.look()
	for range 2 + s.IntN(3) {
		for range 4 + s.IntN(12) {
			s.Steps++
			s.step()
			s.observe()
			if len(s.wrong) > 0 {
				return s
			}
		}
		s.quiet()
		if len(s.wrong) > 0 {
			return s
		}
	}
	return s
}

// before lets calls at the directory fail.
func (s *simulation) before(call, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faults > 0 && s.IntN(100) < s.faults {
		s.faulty = true
		return syscall.EIO
	}
	return nil
}

func (s *simulation) path(user int) string {
	return fmt.Sprintf("/certs/%d/user%d.pem", s.there[user].folder, user)
}

// write makes a user's file what it is to be.
func (s *simulation) write(user int, f simUser) {
	if s.away != nil {
		return
	}
	was := s.there[user]
	from := s.path(user)
	s.there[user] = f
	switch {
	case f.cert == 0:
		if was.cert != 0 {
			s.must(s.m.RemoveAll(from))
		}
		return
	case was.cert != 0 && was.folder != f.folder:
		s.must(s.m.Rename(from, s.path(user)))
	}
	data := simCerts()[user][f.cert].data
	if f.torn {
		data = data[:len(data)/2]
	}
	if was.cert != f.cert || was.torn != f.torn {
		s.must(s.m.WriteFile(s.path(user), data))
	}
	s.note("user %d is %+v", user, f)
}

// world is the world of a process.
func (s *simulation) world() World {
	w := Real()
	w.System, w.Workers, w.Disk = s.m, 1, s.disk
	w.Timer = func() Timer { return new(simTimer) }
	return w
}

// start begins a publisher, with the one before if there is one.
func (s *simulation) start(before *predecessor) {
	s.p = s.newPublisher()
	s.p.setSigner(s.signer())
	s.group = s.newGroup(s.p)
	s.p.begin(context.Background(), before)
	s.note("begins in state %v", s.p.State())
	if s.p.State() == Restored {
		s.Restored++
	}
	s.observe()
}

func (s *simulation) newPublisher() *Publisher {
	p := newPublisher(s.config, s.world())
	if p.octets != nil {
		p.octets.budget = s.budget
	}
	return p
}

// newGroup makes the secondaries of a publisher.
func (s *simulation) newGroup(p *Publisher) *secondary.Group {
	g := secondary.NewGroup(p, s.config.Places, s.config.Signed)
	p.secondaries = g
	return g
}

// end ends what a publisher owns beside its goroutine.
func (s *simulation) end() {
	s.p.forget()
	stateFiles.Delete(simState)
}
