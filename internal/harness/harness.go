// Package harness runs programs on loopback for tests, benchmarks and the demo:
// it finds ports, starts servers, waits until they answer, keeps what they say,
// and ends them. All waiting of tests goes through [Wait].
package harness

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Wait asks cond every few milliseconds until it holds. It returns false if that
// takes longer than limit, or if done is closed before; a nil done never is.
func Wait(limit time.Duration, done <-chan struct{}, cond func() bool) bool {
	const pause = 10 * time.Millisecond
	for end := time.Now().Add(limit); !cond(); {
		if time.Now().After(end) {
			return false
		}
		select {
		case <-done:
			return false
		case <-time.After(pause):
		}
	}
	return true
}

var (
	portsMu sync.Mutex
	// ports are those that were given out: to listen again on one that nobody
	// has opened yet would succeed.
	ports = map[int]bool{}
)

// FreePort returns a port of 127.0.0.1, picked by the kernel, that is free for UDP
// and TCP and that it has not returned before.
func FreePort() (int, error) {
	portsMu.Lock()
	defer portsMu.Unlock()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		port := l.Addr().(*net.TCPAddr).Port
		u, err := net.ListenPacket("udp", Loopback(port))
		l.Close()
		if err != nil {
			continue
		}
		u.Close()
		if !ports[port] {
			ports[port] = true
			return port, nil
		}
	}
	return 0, errors.New("no port of 127.0.0.1 is free for both UDP and TCP")
}

// OnFreePort calls start with free ports until it does not fail because somebody
// else has taken the port meanwhile.
func OnFreePort(start func(port int) error) error {
	for try := 0; ; try++ {
		port, err := FreePort()
		if err != nil {
			return err
		}
		err = start(port)
		if err == nil || try == 5 || !strings.Contains(strings.ToLower(err.Error()), "in use") {
			return err
		}
	}
}

// Loopback returns the address of a port: "127.0.0.1:port".
func Loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// Answers reports whether a name server answers anything over UDP and over TCP.
func Answers(addr string) bool {
	m := new(dns.Msg)
	m.SetQuestion(".", dns.TypeSOA)
	m.RecursionDesired = false // a resolver would first look for a root that is not there
	for _, network := range []string{"udp", "tcp"} {
		c := dns.Client{Net: network, Timeout: 200 * time.Millisecond}
		if _, _, err := c.Exchange(m, addr); err != nil {
			return false
		}
	}
	return true
}
