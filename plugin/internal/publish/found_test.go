package publish

import (
	"testing"
	"time"
)

// found is a simulation that follows a story that one has found.
func found(t *testing.T, story func(s *simulation)) {
	s := newSimulation(t, 1, true)
	defer s.end()
	s.config.State = simState
	s.p = newPublisher(s.config, s.world())
	s.p.begin(t.Context(), nil)
	s.look()
	s.save()
	story(s)
	s.quiet()
	for _, wrong := range s.wrong {
		t.Error(wrong)
	}
}

// again ends the process, and starts it again.
func again(s *simulation, killed bool) {
	if !killed {
		s.p.enter(Leaving)
		s.p.saver.finish()
	}
	s.restartAs(killed)
}

// TestKilledAfterChangeTakenBack holds that the serial does not fall when a server is
// killed that has served a change and taken it back since it saved.
func TestKilledAfterChangeTakenBack(t *testing.T) {
	found(t, func(s *simulation) {
		was := s.there[0]
		for _, f := range []simUser{{was.folder, 2, false}, was} {
			s.write(0, f)
			s.m.Pass(2 * time.Second)
			s.look()
		}
		again(s, true)
		s.look()
	})
}

// TestOtherKeysAtStart holds that a zone with other CDS records has another serial, and
// that no journal leads past them, when the keys change while nothing runs.
func TestOtherKeysAtStart(t *testing.T) {
	found(t, func(s *simulation) {
		for _, key := range []int{1, 2, 0} {
			s.key = key
			again(s, false)
			s.look()
		}
	})
}

// reloadWithOtherURLs reloads, and does not look yet.
func (s *simulation) reloadWithOtherURLs() {
	s.url = 1 - s.url
	s.config.URL = simURL(s.url)
	old := s.p
	s.p = newPublisher(s.config, s.world())
	s.p.begin(s.t.Context(), &predecessor{old.config, old.Snapshot(), old.octets})
	old.forget()
}

// TestSavedInOtherForm holds that records which a reload has taken over in the form
// that they had are made anew, also when the server ends before it has looked.
func TestSavedInOtherForm(t *testing.T) {
	found(t, func(s *simulation) {
		s.unmount()
		s.reloadWithOtherURLs()
		again(s, false)
	})
}

// TestJournalOfOtherURLs holds that no journal leads past a reload with other URLs, also
// where no URL is left that tells them apart.
func TestJournalOfOtherURLs(t *testing.T) {
	found(t, func(s *simulation) {
		for user := range s.there {
			s.write(user, simUser{})
		}
		s.faulty = true // users go who are there always otherwise
		for range 6 {
			clear(s.seen[:])
			s.m.Pass(time.Minute)
			s.look()
		}
		s.reloadWithOtherURLs()
		s.observe()
	})
}
