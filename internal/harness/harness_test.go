package harness

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

// TestFreePort holds that no port is given out twice, that a server can have it, and that
// no client gets it before.
func TestFreePort(t *testing.T) {
	given := map[int]bool{}
	for range 100 {
		port, err := FreePort()
		if err != nil {
			t.Fatal(err)
		}
		if given[port] {
			t.Errorf("port %d was given out twice", port)
		}
		given[port] = true
		client := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}}
		if _, err := client.Dial("tcp", "127.0.0.1:1"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("a client can have port %d: %v", port, err)
		}
	}
	for port := range given {
		l, u, err := listen(port)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		defer u.Close()
	}
}
