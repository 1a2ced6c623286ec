// Package harness runs programs on loopback for tests, benchmarks and the demo:
// it finds ports, starts servers, waits until they answer, keeps what they say,
// and ends them. All waiting of tests goes through [Wait].
package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
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

// Patience is how long tests wait for what has to come. It is there so that no wait is
// without an end, and measures nothing: a machine may have much else to do.
const Patience = 5 * time.Minute

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

// FreePort returns a port of 127.0.0.1 that is free for UDP and TCP and that no program
// of this user has been given before that still runs. It is none of those that the
// kernel gives to whoever does not ask for a certain one: between this and the start of
// a server, a client could get it.
func FreePort() (int, error) {
	first, last := unasked()
	for range 1000 {
		port := first + rand.IntN(last-first+1)
		l, u, err := listen(port)
		if err != nil {
			continue
		}
		l.Close()
		u.Close()
		if ours, err := claim(port); err != nil {
			return 0, err
		} else if ours {
			return port, nil
		}
	}
	return 0, errors.New("no port of 127.0.0.1 is free for both UDP and TCP")
}

// unasked returns the first and the last of the ports that the kernel gives to nobody
// who does not ask for them, without the privileged ones and those that services like.
// Where these are hardly any, it returns those of most kernels.
func unasked() (first, last int) {
	const lowest = 10_000
	text, _ := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range") // Linux
	if _, err := fmt.Sscan(string(text), &last); err != nil || last < lowest+5000 {
		last = 32768
	}
	return lowest, last - 1
}

// Listen listens on a port of 127.0.0.1 that the kernel picks, over TCP and over UDP.
func Listen() (net.Listener, net.PacketConn, error) {
	var err error
	for range 100 { // the port may be taken for UDP
		var l net.Listener
		var u net.PacketConn
		if l, u, err = listen(0); err == nil {
			return l, u, nil
		}
	}
	return nil, nil, err
}

// listen listens on a port of 127.0.0.1, 0 for whichever, over TCP and over UDP.
func listen(port int) (net.Listener, net.PacketConn, error) {
	l, err := net.Listen("tcp", Loopback(port))
	if err != nil {
		return nil, nil, err
	}
	u, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		l.Close()
		return nil, nil, err
	}
	return l, u, nil
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
		c := dns.Client{Net: network, Timeout: 2 * time.Second}
		if _, _, err := c.Exchange(m, addr); err != nil {
			return false
		}
	}
	return true
}
