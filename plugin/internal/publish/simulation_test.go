package publish

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/internal/disk/fake"
	"coredns-smimea/internal/testcert"
	"coredns-smimea/plugin/internal/served"
	"coredns-smimea/smimea"
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
// every quiet point what is served is what the files say.
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
type simCounts struct{ Versions, Steps, Kills, Stops, Reloads, Saves, Keys, Held, Restored int }

func (a *simCounts) add(b simCounts) {
	a.Versions += b.Versions
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

	faults  int // percent of the calls at the directory that fail
	mu      sync.Mutex
	config  Config
	url     int // which form it has
	domains int // how many it serves
	key     int // which keys sign, 0 for none
	there   [simUsers]simUser

	// The model's memory.
	last      map[string]*simVersion            // by origin
	versions  map[string]map[uint32]*simVersion // all of them
	seen      [simTorn]bool                     // who has been served by this process, or before a clean end
	set       bool                              // the clock was set
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
	zone    *zone.Zone
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

// simEpoch is when simulations begin.
var simEpoch = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

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
	s.p = newPublisher(s.config, s.world())
	s.p.signer.Store(simSigner(s.t, s.key, s.config.Places))
	s.p.begin(context.Background(), before)
	s.note("begins in state %v", s.p.State())
	if s.p.State() == Restored {
		s.Restored++
	}
	s.observe()
}

// end ends what a publisher owns beside its goroutine.
func (s *simulation) end() {
	s.p.forget()
	stateFiles.Delete(simState)
}

// step is what happens next.
func (s *simulation) step() {
	s.m.Pass(time.Duration(s.IntN(3000)) * time.Millisecond)
	user := simStay + s.IntN(simUsers-simStay)
	switch n := s.IntN(32); {
	case n < 10:
		f := s.there[user]
		switch {
		case user < simTorn:
			f.torn = !f.torn
		case f.cert == 0:
			f = simUser{s.IntN(2), 1 + s.IntN(2), s.IntN(8) == 0}
		default:
			switch s.IntN(5) {
			case 0:
				f.cert = 3 - f.cert
			case 1:
				f.folder = 1 - f.folder
			case 2:
				f.torn = !f.torn
			default:
				f = simUser{}
			}
		}
		s.write(user, f)
		if s.IntN(2) == 0 {
			s.m.Pass(settle(s.m.Now()))
			s.check(user)
		}
	case n < 15:
		s.look()
	case n < 16:
		s.note("expire")
		s.m.Pass(time.Duration(s.IntN(60)) * time.Minute)
		s.p.expire(context.Background())
		s.alive()
	case n < 19:
		s.save()
	case n < 21:
		s.stop()
	case n < 24:
		s.disk.left = s.IntN(14)
		s.note("to be killed after %d calls", s.disk.left)
		if s.IntN(3) == 0 {
			s.kill()
		}
	case n < 27:
		s.reload()
	case n < 28:
		s.faults = []int{0, 3, 20}[s.IntN(3)]
		s.note("%d percent of the calls fail", s.faults)
	case n < 29:
		s.rekey()
	case n < 30:
		s.unmount()
	case n < 31:
		for user := simTorn; user < 20; user++ {
			s.write(user, simUser{})
		}
	default:
		if s.IntN(3) == 0 {
			by := time.Duration(s.IntN(120)-60) * time.Minute
			s.note("the clock is set by %v", by)
			s.m.SetClock(by)
			if s.set = true; s.p.State() == Unread {
				s.forgetUntold()
			}
		}
	}
}

func (s *simulation) look() {
	s.m.Pass(settle(s.m.Now()))
	s.note("a look")
	s.p.look(context.Background())
	if s.p.State() == HeldBack {
		s.Held++
	}
	s.alive()
}

func (s *simulation) check(user int) {
	s.note("a check of user %d", user)
	s.p.check(context.Background(), []string{strings.TrimPrefix(s.path(user), "/certs/")})
	s.alive()
}

// alive restarts the process if it was killed.
func (s *simulation) alive() {
	if s.disk.killed {
		s.kill()
		return
	}
	s.observe()
	for len(s.p.tasks) > 0 {
		(<-s.p.tasks)()
		s.observe()
	}
	if s.p.saver != nil && s.p.saver.unsaved && !s.p.saver.running && !s.p.saver.timer.(*simTimer).set {
		s.fail("there is something to be saved, and nobody will")
	}
}

// save saves, while something else may happen before its end is taken in.
func (s *simulation) save() {
	if s.p.saver == nil || s.p.saver.running {
		return
	}
	if s.p.saver.save(); !s.p.saver.running {
		return
	}
	s.Saves++
	r := <-s.p.saver.done
	s.note("saved: %v", r.err)
	if s.IntN(2) == 0 && !s.disk.killed {
		user := simTorn + s.IntN(simUsers-simTorn)
		s.write(user, simUser{cert: 3 - max(1, s.there[user].cert)})
		s.m.Pass(settle(s.m.Now()))
		s.note("a look during the save")
		s.p.look(context.Background())
	}
	s.p.saver.end(r)
	s.alive()
}

// stop ends the process as an operator does, and starts it again.
func (s *simulation) stop() {
	s.note("stopped")
	s.p.enter(Leaving)
	s.p.saver.finish()
	if s.disk.killed {
		s.kill()
		return
	}
	s.Stops++
	if s.p.saver == nil || s.p.saver.unsaved {
		s.forget()
	}
	s.restart(false)
}

// kill ends the process at once.
func (s *simulation) kill() {
	s.Kills++
	power := s.IntN(2) == 0
	s.note("killed, power failure: %v", power)
	s.disk.restart(power)
	s.forgetUntold()
	if s.IntN(6) == 0 {
		s.damage()
	}
	s.restart(true)
}

// damage has something happen to the state.
func (s *simulation) damage() {
	f := s.disk.files[simState]
	if f == nil || len(f.data) == 0 {
		return
	}
	s.note("the state is damaged")
	s.mount()
	f.data = slices.Clone(f.data)
	if s.IntN(2) == 0 {
		f.data = f.data[:s.IntN(len(f.data))]
	} else {
		f.data[s.IntN(len(f.data))] ^= 1 << s.IntN(8)
	}
	f.synced = slices.Clone(f.data)
	s.forget()
}

func (s *simulation) restart(killed bool) {
	if s.config.State == "" {
		clear(s.seen[:])
	}
	if s.IntN(6) == 0 {
		s.another()
	}
	if s.config.State == "" || s.disk.files[simState] == nil {
		s.mount() // nobody knows that the empty directory is not the one
	}
	if s.IntN(6) == 0 {
		s.key = s.IntN(3)
	}
	s.restartAs(killed)
}

// restartAs starts the process again with the configuration as it is.
func (s *simulation) restartAs(killed bool) {
	s.end()
	served.Forget()
	if killed {
		clear(s.seen[:])
	}
	s.m.Pass(2 * time.Second)
	s.start(nil)
	s.alive()
}

// forget has the model forget what has been served: a process follows that does not
// know of it, and times of files are all there is.
func (s *simulation) forget() {
	clear(s.last)
	clear(s.versions)
	clear(s.seen[:])
}

// forgetUntold is for a process that is killed. What its state tells of, and then the
// clock, keep serials from falling, unless there is no state or the clock was set.
func (s *simulation) forgetUntold() {
	for origin, v := range s.last {
		if s.set || s.config.State == "" || s.disk.files[simState] == nil || int32(v.serial-served.SerialAt(s.m.Now())) > 0 {
			delete(s.last, origin)
			delete(s.versions, origin)
		}
	}
}

// reload makes a publisher of another configuration the successor of this one.
func (s *simulation) reload() {
	s.Reloads++
	old := s.p
	before := s.served()
	s.another()
	if s.config.Key() == old.config.Key() {
		return
	}
	if old.Snapshot() == nil {
		s.config = old.config
		s.domainsOf()
		return
	}
	next := newPublisher(s.config, s.world())
	s.note("a reload in state %v, %d domains, ttl %v, url %d", old.State(), s.domains, s.config.TTL, s.url)
	fails := s.IntN(4) == 0
	if !fails && s.IntN(6) == 0 {
		s.key = s.IntN(3)
	}
	if !fails {
		s.p = next
	}
	next.signer.Store(simSigner(s.t, s.key, s.config.Places))
	next.generation = old.generation
	next.begin(context.Background(), &predecessor{old.config, old.Snapshot(), old.octets})
	if fails { // nobody has asked the new one
		s.note("the reload fails")
		next.enter(Leaving)
		next.saver.finish()
		next.forget()
		s.config = old.config
		s.domainsOf()
		if !s.disk.killed {
			old.saver.reclaim()
		}
		s.alive()
		return
	}
	old.enter(Leaving)
	old.saver.finish()
	old.forget()
	after := s.served()
	for user := range before {
		c := simCerts()[user][max(1, s.there[user].cert)]
		if after[user] != before[user] && user%len(simDomains) < s.domains && c.notAfter.Year() > simEpoch.Year() {
			s.fail("user %d was served before the reload, and is not after it", user)
		}
	}
	s.alive()
}

func (s *simulation) domainsOf() {
	s.domains = len(s.config.Places) / 2
	s.url = 0
	if s.config.URL == simURL(1) {
		s.url = 1
	}
}

func simURL(n int) smimea.URLTemplate {
	url, err := smimea.ParseURLTemplate(simURLs[n])
	if err != nil {
		panic(err)
	}
	return url
}

// another makes the configuration another one.
func (s *simulation) another() {
	was := s.config
	switch s.IntN(4) {
	case 0:
		s.url = 1 - s.url
	case 1:
		s.domains = 1 + s.IntN(3)
	}
	ttl := was.TTL
	if s.IntN(3) == 0 {
		ttl = time.Duration(1+s.IntN(3)) * 20 * time.Minute
	}
	c := aConfig(s.t, "/certs", simDomains[:s.domains]...)
	c.Unwatched, c.State, c.MaxWithdraw, c.TTL, c.URL = true, was.State, was.MaxWithdraw, ttl, simURL(s.url)
	for i, at := range c.Places {
		copied := *at
		copied.TTL = uint32(ttl / time.Second)
		place, err := zone.NewPlace(copied)
		s.must(err)
		c.Places[i] = place
	}
	s.config = c
	for user := range s.seen { // who cannot be read now is not in a zone that is new
		s.seen[user] = s.seen[user] && user%len(simDomains) < min(s.domains, len(was.Places)/2)
	}
}

// rekey has other keys sign.
func (s *simulation) rekey() {
	s.Keys++
	s.key = s.IntN(3)
	s.note("key %d signs", s.key)
	s.p.setSigner(simSigner(s.t, s.key, s.config.Places))
	s.alive()
}

func (s *simulation) unmount() {
	if s.away == nil {
		if s.p.State() == Unread && s.p.seed == nil {
			return // as above
		}
		s.note("DIR is unmounted")
		s.away = s.m.Unmount("/certs")
		return
	}
	s.mount()
}

func (s *simulation) mount() {
	if s.away != nil {
		s.note("DIR is mounted")
		s.m.Mount("/certs", s.away)
		s.away = nil
	}
}

// quiet lets all come to rest, and compares.
func (s *simulation) quiet() {
	s.faults, s.disk.fail, s.disk.left = 0, 0, -1
	s.mount()
	s.note("quiet")
	if s.IntN(2) == 0 {
		for user := range s.there {
			if f := s.there[user]; f.torn {
				f.torn = false
				s.write(user, f)
			}
		}
	}
	for range 6 {
		s.m.Pass(time.Minute)
		s.look()
	}
	if s.p.State() != Serving {
		s.fail("it comes to rest in state %v", s.p.State())
	}
	s.compare()
	s.faulty = false
}

// served returns which certificate of which user the first zone of the domain serves.
func (s *simulation) served() map[int]string {
	have := map[int]string{}
	snap := s.p.Snapshot()
	if snap == nil {
		return have
	}
	for i := 0; i < len(snap.Zones); i += 2 {
		if snap.Zones[i] == nil {
			continue
		}
		for rrs := range snap.Zones[i].Records() {
			for _, rr := range rrs {
				if c, ok := rr.(*dns.SMIMEA); ok {
					if user, ok := simOwners()[c.Hdr.Name]; ok {
						have[user] += c.Certificate
					}
				}
			}
		}
	}
	return have
}

// simOwner is RFC 8162 section 3, in plain code.
func simOwner(user int) string {
	digest := sha256.Sum256(fmt.Appendf(nil, "user%d", user))
	return hex.EncodeToString(digest[:28]) + "._smimecert." + simDomain(user) + "."
}

var simOwners = sync.OnceValue(func() map[string]int {
	owners := map[string]int{}
	for user := range simUsers {
		owners[simOwner(user)] = user
	}
	return owners
})

// observe holds what must be so at all times.
func (s *simulation) observe() {
	if s.p == nil || s.disk.killed || s.observing {
		return
	}
	s.observing = true
	defer func() { s.observing = false }()
	snap := s.p.Snapshot()
	if snap == nil {
		return
	}
	new := false
	for i, z := range snap.Zones {
		if z != nil && (s.last[z.Origin] == nil || s.last[z.Origin].zone != z) {
			s.version(snap, i)
			new = true
		}
	}
	if !new {
		return
	}
	have := s.served()
	for user := range simTorn {
		domain := user % len(simDomains)
		if 2*domain >= len(snap.Zones) || snap.Zones[2*domain] == nil {
			continue
		}
		switch {
		case have[user] != "":
			s.seen[user] = true
		case user < simStay && !s.faulty || s.seen[user]:
			s.fail("user %d is denied in state %v, and is there", user, s.p.State())
		}
	}
}

// version holds a zone's version against those before.
func (s *simulation) version(snap *Snapshot, i int) {
	s.Versions++
	e, journal := snap.Transferable(i)
	origin := e.Zone.Origin
	v := &simVersion{e.Zone, e.Zone.Serial, map[string]bool{}}
	for rrs := range e.Records() {
		for _, rr := range rrs {
			if rr.Header().Rrtype != dns.TypeSOA {
				v.records[rr.String()] = true
			}
		}
	}
	last := s.last[origin]
	s.note("  %s has serial %d, %d records", origin, v.serial, len(v.records))
	switch {
	case last == nil:
	case v.serial == last.serial:
		if !maps.Equal(v.records, last.records) {
			s.fail("%s has other records with serial %d than before: %s", origin, v.serial, differing(last.records, v.records))
		}
	case int32(v.serial-last.serial) < 0:
		s.fail("%s had serial %d, and has %d", origin, last.serial, v.serial)
	}
	s.last[origin] = v
	if s.versions[origin] == nil {
		s.versions[origin] = map[uint32]*simVersion{}
	}
	for _, serial := range slices.Sorted(maps.Keys(s.versions[origin])) {
		old := s.versions[origin][serial]
		if serial == v.serial {
			continue
		}
		diff, ok := journal.Since(serial, e)
		if !ok {
			continue
		}
		if got, why := patched(old.records, diff); why != "" || !maps.Equal(got, v.records) {
			s.fail("the journal of %s does not lead from %d to %d: %s %s", origin, serial, v.serial, why, differing(v.records, got))
		}
	}
	s.versions[origin][v.serial] = v
}

// differing says how two sets of records differ.
func differing(a, b map[string]bool) string {
	text := ""
	for _, r := range slices.Sorted(maps.Keys(a)) {
		if !b[r] {
			text += "\n  - " + r
		}
	}
	for _, r := range slices.Sorted(maps.Keys(b)) {
		if !a[r] {
			text += "\n  + " + r
		}
	}
	return text
}

// patched does to a version what an incremental transfer says (RFC 1995 section 4).
func patched(old map[string]bool, transfer func(func([]dns.RR) bool)) (got map[string]bool, why string) {
	got = maps.Clone(old)
	soas := 0
	for rrs := range transfer {
		for _, rr := range rrs {
			text := rr.String()
			switch {
			case rr.Header().Rrtype == dns.TypeSOA:
				soas++
			case soas == 2:
				if !got[text] {
					why = "it takes away what is not there: " + text
				}
				delete(got, text)
			case soas == 3:
				if got[text] {
					why = "it brings what is there: " + text
				}
				got[text] = true
			}
		}
	}
	if soas != 4 {
		why = fmt.Sprintf("it has %d SOA records", soas)
	}
	return got, why
}

// simRecord is what a zone has of a user's certificate.
func simRecord(text bool, user int, spki, url string, folder int, ttl uint32) string {
	if !text {
		return fmt.Sprintf("%s\t%d\tIN\tSMIMEA\t3 1 1 %s", simOwner(user), ttl, spki)
	}
	url = strings.ReplaceAll(url, "{domain}", simDomain(user))
	url = strings.ReplaceAll(url, "{file}", fmt.Sprintf("%d/user%d.pem", folder, user))
	return fmt.Sprintf("user%d._smime.%s.\t%d\tIN\tTXT\t%q", user, simDomain(user), ttl, url)
}

// compare holds that what is served is what the files say.
func (s *simulation) compare() {
	snap := s.p.Snapshot()
	for i, at := range s.config.Places {
		want, maybe := map[string]bool{}, map[string]bool{}
		ttl := uint32(s.config.TTL / time.Second)
		for user, f := range s.there {
			if simDomain(user) != at.Domain || f.cert == 0 {
				continue
			}
			for n := 1; n < 3; n++ {
				c := simCerts()[user][n]
				good := n == f.cert && c.notAfter.Add(-s.config.TTL).After(s.m.Now())
				for url := range simURLs {
					text := simRecord(i%2 == 1, user, c.spki, simURLs[url], f.folder, ttl)
					switch {
					case f.torn: // what it had, if anybody has read it, and in the form of then
						maybe[text] = true
					case i%2 == 0 && n != f.cert: // a renewal that is bridged
						maybe[text] = true
					case good && url == s.url:
						want[text] = true
					}
				}
			}
		}
		have := map[string]bool{}
		for rrs := range snap.Zones[i].Records() {
			for _, rr := range rrs {
				if rr.Header().Rrtype == dns.TypeSMIMEA || rr.Header().Rrtype == dns.TypeTXT {
					have[rr.String()] = true
				}
			}
		}
		for text := range maybe {
			delete(have, text)
		}
		if !maps.Equal(have, want) {
			s.fail("%s is not what the files say:%s", at.Origin, differing(want, have))
		}
	}
}
