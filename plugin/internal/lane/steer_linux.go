package lane

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Sockets of one address form a group (SO_REUSEPORT, socket(7)), and a program of
// classic BPF tells the kernel which of them gets a packet, by its number in the
// group. Numbers are given in the order in which sockets join; when one is closed,
// the last one gets its number. Nobody tells them: each is found out by sending a
// packet to it. A number that there is not is as if there were no program.

// program returns the program that gives the sockets with these numbers all
// ordinary queries, each as many, and to core what has another form: other
// opcodes, replies, records besides the question and one more.
func program(numbers []int, core int) []unix.SockFilter {
	const (
		loadWord = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		loadHalf = unix.BPF_LD | unix.BPF_H | unix.BPF_ABS
		equal    = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		greater  = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
		and      = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
		modulo   = unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K
		ret      = unix.BPF_RET | unix.BPF_K
	)
	f := func(code uint16, k int, jt, jf uint8) unix.SockFilter {
		return unix.SockFilter{Code: code, K: uint32(k), Jt: jt, Jf: jf}
	}
	// A packet begins with the DNS header. One that ends before what is loaded
	// goes to number 0.
	p := []unix.SockFilter{
		f(loadWord, 2, 0, 0), // flags and number of questions
		f(and, (flagQR|opcodeMask)<<16|0xffff, 0, 0),
		f(equal, 1, 0, 4),
		f(loadWord, 6, 0, 0), // numbers of answers and of authorities
		f(equal, 0, 0, 2),
		f(loadHalf, 10, 0, 0), // number of additional records
		f(greater, 1, 0, 1),
		f(ret, core, 0, 0),
		f(loadWord, -0x1000+56, 0, 0), // SKF_AD_OFF + SKF_AD_RANDOM
		f(modulo, len(numbers), 0, 0),
	}
	for i, number := range numbers {
		p = append(p, f(equal, i, 0, 1), f(ret, number, 0, 0))
	}
	return append(p, f(ret, numbers[0], 0, 0))
}

// only returns the program that gives all packets to one socket.
func only(number uint32) []unix.SockFilter {
	return []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: number}}
}

// anybody is the program that leaves it to the kernel, which spreads packets by their
// addresses and ports.
var anybody = only(math.MaxUint32)

// steer gives the program to the group that the socket is in.
func (s *socket) steer(p []unix.SockFilter) error {
	err := s.control(func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]})
	})
	s.steers = s.steers || err == nil
	return err
}

// A probe is a packet to ourselves. It has the form of a reply, which CoreDNS's
// own sockets ignore.
type probe [headerSize + 16]byte

func newProbe() probe {
	var p probe
	rand.Read(p[:])
	p[2] |= 1 << 7
	return p
}

// probed reports whether a packet is a probe, and tells who waits for it.
func (s *socket) probed(packet []byte) bool {
	if len(packet) != len(probe{}) || packet[2]&(1<<7) == 0 {
		return false
	}
	select {
	case s.probes <- probe(packet):
		return true
	default:
		return false // nobody waits: a reply
	}
}

const (
	probeWait   = 200 * time.Millisecond
	probeTries  = 3
	probes      = 20
	scanWait    = 20 * time.Millisecond
	mostSockets = 256 // that a group is searched for ours
)

// reaches reports whether packets come to s now, all of some from different ports: where
// there is no socket of a number, the kernel picks one by the port, and half of them may
// be picked for s.
func (s *socket) reaches(wait time.Duration) (bool, error) {
	for range probes {
		p := newProbe()
		if err := s.sendProbe(p); err != nil {
			return false, err
		}
		if !s.awaitProbe(p, wait) {
			return false, nil
		}
	}
	return true, nil
}

func (s *socket) awaitProbe(p probe, wait time.Duration) bool {
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	for {
		select {
		case got := <-s.probes:
			if bytes.Equal(got[:], p[:]) {
				return true
			}
		case <-timeout.C:
			return false
		}
	}
}

// sendProbe sends a probe to the socket's address.
func (s *socket) sendProbe(p probe) error {
	to := *s.conn.LocalAddr().(*net.UDPAddr)
	hosts := []net.IP{to.IP}
	if s.wildcard {
		hosts = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	}
	var errs []error
	for _, to.IP = range hosts {
		conn, err := net.DialUDP("udp", nil, &to)
		if err == nil {
			_, err = conn.Write(p[:])
			conn.Close()
		}
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// number finds out the socket's number in its group, with guess to try first. On
// the way each packet goes to some socket of the group.
func (s *socket) number(guess int) (int, error) {
	for range probeTries {
		if err := s.steer(only(uint32(guess))); err != nil {
			return 0, fmt.Errorf("steering: %w", err)
		}
		if ok, err := s.reaches(probeWait); err != nil {
			return 0, err
		} else if ok {
			return guess, nil
		}
	}
	for n := range mostSockets {
		if err := s.steer(only(uint32(n))); err != nil {
			return 0, fmt.Errorf("steering: %w", err)
		}
		if ok, err := s.reaches(scanWait); err != nil || ok {
			return n, err
		}
	}
	return 0, errSteering
}

// steer finds the sockets of a group and gives them the queries.
func (g *group) steer() error {
	var numbers []int
	for i, s := range g.sockets {
		guess := g.cores + i
		if i < len(g.numbers) {
			guess = g.numbers[i]
		}
		n, err := s.number(guess)
		if err != nil {
			return err
		}
		numbers = append(numbers, n)
	}
	g.numbers = numbers
	return g.sockets[0].steer(program(numbers, g.core()))
}

// core returns the number of a socket that is not ours. There is one: the lane
// stands beside CoreDNS's own.
func (g *group) core() int {
	for n := 0; ; n++ {
		if !slices.Contains(g.numbers, n) {
			return n
		}
	}
}

// leave gives all packets back to CoreDNS's own sockets, of which others may come and go
// as long as there is a group. Ours get no more, though what has come in can still be
// read, and answered.
func (g *group) leave() error {
	steered := slices.ContainsFunc(g.sockets, func(s *socket) bool { return s.steers })
	var errs []error
	for _, s := range g.sockets {
		var err error
		if steered {
			err = s.steer(anybody)
		}
		if err = errors.Join(err, s.leave()); !errors.Is(err, net.ErrClosed) { // it has failed, and gets nothing
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// leave has the kernel give no more packets to the socket: one that is connected gets
// those of its peer only, and that is the socket itself.
func (s *socket) leave() error {
	return s.control(func(fd int) error {
		own, err := unix.Getsockname(fd)
		if err != nil {
			return os.NewSyscallError("getsockname", err)
		}
		return os.NewSyscallError("connect", unix.Connect(fd, own))
	})
}
