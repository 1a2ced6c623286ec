package secondary

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"coredns-smimea/internal/harness"
)

// secondaries counts what a notifier sends, and holds it up.
type secondaries struct {
	mu      sync.Mutex
	sent    map[string]int
	running map[string]int
	most    int // at once, of one zone
	gate    chan struct{}
	err     error
}

func (s *secondaries) send(zone string) error {
	s.mu.Lock()
	s.sent[zone]++
	s.running[zone]++
	s.most = max(s.most, s.running[zone])
	s.mu.Unlock()
	<-s.gate
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[zone]--
	return s.err
}

func (s *secondaries) count(zone string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent[zone]
}

func newSecondaries() (*secondaries, *Notifier) {
	s := &secondaries{sent: map[string]int{}, running: map[string]int{}, gate: make(chan struct{})}
	n := newNotifier(nil)
	n.send = s.send
	return s, n
}

func waitUntil(t *testing.T, what string, cond func() bool) {
	t.Helper()
	if !harness.Wait(20*time.Second, nil, cond) {
		t.Fatalf("waited for %s", what)
	}
}

// TestNotifyCoalesces holds that of many changes of a zone the last one is
// announced, one announcement runs at a time, and that other zones do not wait.
func TestNotifyCoalesces(t *testing.T) { synctest.Test(t, notifyCoalesces) }

func notifyCoalesces(t *testing.T) {
	s, n := newSecondaries()
	n.announce("a.")
	if synctest.Wait(); s.count("a.") != 0 {
		t.Error("announced before the server listens")
	}
	close(n.begun)
	waitUntil(t, "the first announcement", func() bool { return s.count("a.") == 1 })
	for range 1000 {
		n.announce("a.")
	}
	n.announce("b.")
	waitUntil(t, "the other zone", func() bool { return s.count("b.") == 1 })
	close(s.gate)
	waitUntil(t, "the last change", func() bool { return s.count("a.") == 2 })
	waitUntil(t, "the end", func() bool { n.mu.Lock(); defer n.mu.Unlock(); return len(n.zones) == 0 })
	if s.most != 1 || s.count("a.") != 2 || s.count("b.") != 1 {
		t.Errorf("sent %v, %d at once", s.sent, s.most)
	}
	n.announce("a.")
	waitUntil(t, "an announcement after the end", func() bool { return s.count("a.") == 3 })
	n.stop()
	n.announce("a.")
	if synctest.Wait(); s.count("a.") != 3 {
		t.Error("announced after the end")
	}
}

// TestNotifyFails holds that a new change is announced while a secondary is being
// waited for that does not answer, and that the wait ends with the server.
func TestNotifyFails(t *testing.T) { synctest.Test(t, notifyFails) }

func notifyFails(t *testing.T) {
	s, n := newSecondaries()
	s.err = errors.New("nobody is there")
	close(s.gate)
	close(n.begun)
	n.announce("a.")
	waitUntil(t, "the first announcement", func() bool { return s.count("a.") == 1 })
	began := time.Now()
	n.announce("a.")
	waitUntil(t, "the second announcement", func() bool { return s.count("a.") >= 2 })
	if took := time.Since(began); took > notifyAgain/2 {
		t.Errorf("the second announcement took %v", took)
	}
	n.stop()
}
