// Package sender asks a server over UDP in batches, as many packets with one system
// call as there are, so that the server is what limits a measurement. It takes
// questions as dnsperf does.
package sender

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"time"
	"unsafe"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// A Load is how a server is asked.
type Load struct {
	Addr    string // of IPv4, with a port
	Queries string // file of questions, NAME TYPE a line
	DO      bool   // ask for signatures
	Time    time.Duration
	QPS     int // at most so many a second; 0: as many as there are answers for
	Window  int // questions in flight, by socket
	Sockets int
	// Processor is the one that the sender runs on, and Urgent has it run there
	// before all others, where that is permitted; -1: any.
	Processor int
	Urgent    bool
}

// A Result is what a load came to.
type Result struct {
	Took     time.Duration // until the last answer
	Sent     int
	Answered int
	TC       int // of the answered
	NXDOMAIN int
	Records  int // with an answer section
	Other    int // rcodes other than NOERROR and NXDOMAIN
}

const (
	// lostAfter is how long nothing comes before what is in flight counts as lost.
	lostAfter = 200 * time.Millisecond
	// tick is how long a sender with a rate waits between its batches, and leaves its
	// processor to the server.
	tick = 500 * time.Microsecond
)

// Run asks until the time is over and what can be answered is answered.
func (l Load) Run() (Result, error) {
	queries, err := read(l.Queries, l.DO)
	if err != nil {
		return Result{}, fmt.Errorf("reading questions: %w", err)
	}
	var clients []*client
	defer func() {
		for _, c := range clients {
			unix.Close(c.fd)
		}
	}()
	for range l.Sockets {
		c, err := dial(l.Addr, l.Window)
		if err != nil {
			return Result{}, fmt.Errorf("asking %s: %w", l.Addr, err)
		}
		clients = append(clients, c)
	}
	var r Result
	done := make(chan struct{})
	go func() {
		defer close(done)
		if l.Processor >= 0 {
			runtime.LockOSThread() // which ends with the goroutine
			l.settle()
		}
		r = l.send(clients, queries)
	}()
	<-done
	return r, nil
}

// settle gives the thread its processor, as far as that is permitted.
func (l Load) settle() {
	var set unix.CPUSet
	set.Set(l.Processor)
	_ = unix.SchedSetaffinity(0, &set)
	if l.Urgent {
		_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 10}, 0)
	}
}

func (l Load) send(clients []*client, queries [][]byte) Result {
	var r Result
	next := 0
	began := time.Now()
	for last, turn := began, 0; ; turn++ {
		now := time.Now()
		over := now.Sub(began) >= l.Time
		due := len(clients) * batch
		if l.QPS > 0 {
			time.Sleep(tick)
			due = int(float64(l.QPS)*now.Sub(began).Seconds()) - next
		}
		progress, flying := false, 0
		for i := range clients {
			c := clients[(i+turn)%len(clients)] // with a rate, some are enough for what is due
			for c.receive(&r) > 0 {
				progress = true
			}
			if !over {
				asked := c.send(queries, next, due, l.QPS == 0)
				next, due = next+asked, due-asked
			}
			flying += c.flying
		}
		switch {
		case progress:
			last = now
		case over && (flying == 0 || now.Sub(last) > lostAfter):
			r.Took = last.Sub(began)
			for _, c := range clients {
				r.Sent += c.sent
			}
			return r
		case now.Sub(last) > lostAfter:
			for _, c := range clients {
				c.flying = 0
			}
			last = now
		}
	}
}

// read reads questions and packs them.
func read(file string, do bool) ([][]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var queries [][]byte
	for s := bufio.NewScanner(f); s.Scan(); {
		name, rrtype, ok := strings.Cut(strings.TrimSpace(s.Text()), " ")
		if !ok {
			continue
		}
		t, ok := dns.StringToType[rrtype]
		if !ok {
			return nil, fmt.Errorf("%s is no type", rrtype)
		}
		m := new(dns.Msg)
		m.SetQuestion(dns.Fqdn(name), t)
		m.RecursionDesired = false
		if do {
			m.SetEdns0(1232, true)
		}
		b, err := m.Pack()
		if err != nil {
			return nil, err
		}
		queries = append(queries, b)
	}
	if len(queries) == 0 {
		return nil, errors.New("no questions")
	}
	return queries, nil
}

// batch is how many packets are sent or received with one system call.
const batch = 32

// message is the kernel's struct mmsghdr (recvmmsg(2)).
type message struct {
	header unix.Msghdr
	length uint32
}

// A client is one socket, which does not block.
type client struct {
	fd     int
	window int
	flying int
	sent   int
	in     [batch]message
	out    [batch]message
	iov    [2][batch]unix.Iovec
	room   [batch][1500]byte
}

func dial(addr string, window int) (*client, error) {
	to, err := net.ResolveUDPAddr("udp4", addr)
	if err != nil {
		return nil, err
	}
	c := &client{window: window}
	sa := &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}
	if c.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0); err != nil {
		return nil, err
	}
	_ = unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20) // less will do
	if err := unix.Connect(c.fd, sa); err != nil {
		unix.Close(c.fd)
		return nil, err
	}
	for i := range batch {
		c.in[i].header.Iov, c.out[i].header.Iov = &c.iov[0][i], &c.iov[1][i]
		c.in[i].header.SetIovlen(1)
		c.out[i].header.SetIovlen(1)
		c.iov[0][i].Base = &c.room[i][0]
		c.iov[0][i].SetLen(len(c.room[i]))
	}
	return c, nil
}

// send sends a batch of what is due, if there is room for it in flight, and returns
// how many that were. With full it waits until there is room for half of a batch.
func (c *client) send(queries [][]byte, next, due int, full bool) int {
	n := min(batch, c.window-c.flying, due)
	if n <= 0 || full && n < min(batch/2, c.window) {
		return 0
	}
	for i := range n {
		q := queries[(next+i)%len(queries)]
		c.iov[1][i].Base = &q[0]
		c.iov[1][i].SetLen(len(q))
	}
	sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(c.fd), uintptr(unsafe.Pointer(&c.out[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0
	}
	c.flying += int(sent)
	c.sent += int(sent)
	return int(sent)
}

// receive takes a batch of answers in, and returns how many there were.
func (c *client) receive(r *Result) int {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(c.fd), uintptr(unsafe.Pointer(&c.in[0])), batch, unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0
	}
	for i := range int(n) {
		b := c.room[i][:c.in[i].length]
		r.Answered++
		if b[2]&2 != 0 {
			r.TC++
		}
		switch b[3] & 15 {
		case dns.RcodeSuccess:
		case dns.RcodeNameError:
			r.NXDOMAIN++
		default:
			r.Other++
		}
		if b[6]|b[7] != 0 {
			r.Records++
		}
	}
	c.flying = max(0, c.flying-int(n))
	return int(n)
}
