package certhost

import (
	"net"
	"net/http"
	"testing"
	"time"
)

// Who makes room when the listener is full.
func TestConnectionLimit(t *testing.T) {
	told := 0
	c := &conns{limit: 3, open: map[*conn]struct{}{}, notify: func(n int) { told = n }}
	add := func(age time.Duration, state http.ConnState) *conn {
		t.Helper()
		ours, theirs := net.Pipe()
		t.Cleanup(func() { ours.Close(); theirs.Close() })
		added := c.add(ours)
		if added != nil {
			track(added, state)
			at := time.Now().Add(-age).UnixNano()
			if state == http.StateActive {
				at = -at
			}
			added.since.Store(at)
		}
		return added
	}
	open := func(one *conn) bool { _, ok := c.open[one]; return ok }

	newest := add(0, http.StateNew)
	oldest := add(time.Minute, http.StateIdle)
	busy := add(time.Hour, http.StateActive)
	fourth := add(0, http.StateActive)
	if open(oldest) || !open(newest) || !open(busy) || !open(fourth) || told != 3 {
		t.Errorf("not the longest waiting made room; %d open", told)
	}
	fifth := add(0, http.StateActive)
	if open(newest) || !open(fifth) {
		t.Error("not the one waiting made room")
	}
	sixth := add(0, http.StateActive)
	if open(busy) || !open(sixth) {
		t.Error("none waits: not the one that has stalled made room")
	}
	if add(0, http.StateNew) != nil || told != 3 {
		t.Errorf("all are busy, and one more was let in; %d open", told)
	}
	sixth.Close()
	sixth.Close()
	if told != 2 || add(0, http.StateNew) == nil {
		t.Errorf("%d open after a close", told)
	}
	if c.closeAll(); told != 0 || add(0, http.StateNew) != nil || told != 0 {
		t.Errorf("%d open after the end", told)
	}
}
