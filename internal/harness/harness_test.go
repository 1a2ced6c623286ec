package harness

import (
	"fmt"
	"os"
	"testing"
)

// TestFreePort holds that no port is given out twice, and none that the kernel could give
// to a client.
func TestFreePort(t *testing.T) {
	var first, last int
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err == nil {
		_, err = fmt.Sscan(string(text), &first, &last)
	}
	if err != nil {
		t.Fatal(err)
	}
	given := map[int]bool{}
	for range 100 {
		port, err := FreePort()
		if err != nil {
			t.Fatal(err)
		}
		if given[port] || first > 20_000 && port >= first && port <= last {
			t.Errorf("port %d was given out: %v; the kernel's are those from %d to %d", port, given[port], first, last)
		}
		given[port] = true
	}
}
