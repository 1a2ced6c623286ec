package publish

import (
	"context"
	"slices"
	"strings"
	"time"

	"coredns-smimea/plugin/internal/served"
	"coredns-smimea/smimea"
	"coredns-smimea/smimea/zone"
)

// step is what happens next.
func (s *simulation) step() {
	s.m.Pass(time.Duration(s.IntN(3000)) * time.Millisecond)
	if s.config.Signed && s.IntN(2) == 0 {
		s.sign(s.IntN(4) == 0)
	}
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

// sign makes signatures ahead, and the signed zones that can be made then.
func (s *simulation) sign(late bool) {
	s.p.ahead.Round(context.Background())
	if s.IntN(2) == 0 {
		s.alive()
	}
	s.group.Round(context.Background(), late)
	s.alive()
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
		was := s.domains
		s.another()
		for user := range s.seen { // who cannot be read now is not in a zone that is new
			s.seen[user] = s.seen[user] && user%len(simDomains) < min(s.domains, was)
		}
	}
	if f := s.disk.files[simState]; s.config.State == "" || f == nil || !strings.HasPrefix(string(f.data), "coredns-smimea state ") {
		s.mount() // nobody knows that the empty directory is not the one
	}
	if s.IntN(6) == 0 {
		s.otherKey()
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
	s.m.Pass(time.Duration(s.IntN(2000)) * time.Millisecond)
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

// forgetUntold is for a process that is killed. Its state tells up to where serials have
// risen, if there is one.
func (s *simulation) forgetUntold() {
	if f := s.disk.files[simState]; s.config.State == "" || f == nil || !strings.HasPrefix(string(f.data), "coredns-smimea state ") {
		clear(s.last)
		clear(s.versions)
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
	next := s.newPublisher()
	if next.octets != nil && old.octets != nil {
		next.octets = old.octets // as acquire does
	}
	s.note("a reload in state %v, %d domains, ttl %v, url %d", old.State(), s.domains, s.config.TTL, s.url)
	fails := s.IntN(4) == 0
	if !fails && s.IntN(6) == 0 {
		s.otherKey()
	}
	next.signer.Store(old.Signer())
	next.generation = old.generation
	next.setSigner(s.signer())
	if group := s.newGroup(next); !fails {
		s.p, s.group = next, group
	}
	next.begin(context.Background(), &predecessor{old.config, old.Snapshot(), old.octets})
	if fails { // nobody has asked the new one
		s.note("the reload fails")
		next.enter(Leaving)
		next.saver.finish()
		next.forget()
		s.config = old.config
		s.domainsOf()
		if !s.disk.killed {
			old.takeBack()
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
		// A bridge that was due may end with the old publisher.
		same := after[user] == before[user] || after[user] != "" && strings.HasSuffix(before[user], after[user]) || after[user] != "" && strings.HasPrefix(before[user], after[user])
		if !same && user%len(simDomains) < s.domains && c.notAfter.Year() > simEpoch.Year() {
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
	c.Unwatched, c.State, c.MaxWithdraw, c.TTL, c.URL, c.Signed, c.Paths = true, was.State, was.MaxWithdraw, ttl, simURL(s.url), was.Signed, was.Paths
	for i, at := range c.Places {
		copied := *at
		copied.TTL = uint32(ttl / time.Second)
		place, err := zone.NewPlace(copied)
		s.must(err)
		c.Places[i] = place
	}
	s.config = c
}

// rekey has other keys sign.
func (s *simulation) rekey() {
	s.Keys++
	s.otherKey()
	s.note("key %d signs", s.key)
	s.p.setSigner(s.signer())
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
