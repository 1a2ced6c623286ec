// Package harness runs programs on loopback for tests, benchmarks and the demo:
// it finds ports, starts servers, waits until they answer, keeps what they say,
// and ends them. All waiting of tests goes through [Wait].
package harness

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
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

// claims are the open files by which a port is this process's until it ends: see
// claim. Nobody reads them; they must only stay open.
var (
	claimsMu sync.Mutex
	claims   []*os.File
)

// claim takes a port among the programs that use this package. That it can be
// listened on says little: CoreDNS sets SO_REUSEPORT, and two servers of two test
// programs on one port would each get half of all questions.
func claim(port int) (bool, error) {
	dir := filepath.Join(os.TempDir(), "coredns-smimea-ports")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return false, err
	}
	f, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(port)), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return false, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return false, nil
		}
		return false, err
	}
	claimsMu.Lock()
	defer claimsMu.Unlock()
	claims = append(claims, f)
	return true, nil
}

// FreePort returns a port of 127.0.0.1, picked by the kernel, that is free for UDP
// and TCP and that no program of this user has been given before that still runs.
func FreePort() (int, error) {
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
		if ours, err := claim(port); err != nil {
			return 0, err
		} else if ours {
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
