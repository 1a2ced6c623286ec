// Package harness runs programs on loopback for tests, benchmarks and the demo:
// it finds ports, starts servers, waits until they answer, keeps what they say,
// and ends them. All waiting of tests goes through [Wait].
package harness

import (
	"errors"
	"fmt"
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
	keptMu sync.Mutex
	kept   []*os.File
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
	keep(f)
	return true, nil
}

// keep keeps a file open until the process ends.
func keep(f *os.File) {
	keptMu.Lock()
	defer keptMu.Unlock()
	kept = append(kept, f)
}

// FreePort returns a port of 127.0.0.1, picked by the kernel, that is free for UDP and
// TCP and that no program of this user has been given before that still runs.
func FreePort() (int, error) {
	for range 100 {
		reserved, port, err := reserve()
		if err != nil {
			return 0, err
		}
		u, err := net.ListenPacket("udp", Loopback(port))
		if err != nil {
			reserved.Close()
			continue
		}
		u.Close()
		if ours, err := claim(port); err != nil || ours {
			keep(reserved)
			return port, err
		}
		reserved.Close()
	}
	return 0, errors.New("no port of 127.0.0.1 is free for both UDP and TCP")
}

// reserve binds a socket to a port that the kernel picks, and does not listen. Until it
// is closed the kernel gives that port to no client, which otherwise could get it before
// the server has started that it is for. That can listen all the same, as servers set
// SO_REUSEADDR.
func reserve() (*os.File, int, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("a socket to reserve a port by: %w", err)
	}
	f := os.NewFile(uintptr(fd), "a reserved port")
	if err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	var at syscall.Sockaddr
	if err == nil {
		at, err = syscall.Getsockname(fd)
	}
	if err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("reserving a port of 127.0.0.1: %w", err)
	}
	return f, at.(*syscall.SockaddrInet4).Port, nil
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
