package certhost

import (
	"os"
	"testing"
	"time"
)

// The tests' clock runs faster, but for what is measured. It is set once, as
// goroutines that outlive their test read it.
func TestMain(m *testing.M) {
	if os.Getenv("CERTHOST_BENCH") != "" {
		os.Exit(m.Run())
	}
	lookInterval = 10 * time.Millisecond
	renewCheckInterval = 200 * time.Millisecond
	expiryInterval = 100 * time.Millisecond
	caRetryFirst, caRetryLast = 50*time.Millisecond, 200*time.Millisecond
	obtainRetryFirst = 200 * time.Millisecond
	shareInterval = 100 * time.Millisecond
	os.Exit(m.Run())
}

func (c *conns) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}
