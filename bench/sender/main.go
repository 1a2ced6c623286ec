// Command sender asks a server over UDP in batches, so that it is not what limits
// a measurement. It takes questions as dnsperf does, and prints what came back.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
	"unsafe"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// A Result is what a run came to.
type Result struct {
	Seconds  float64
	Sent     int
	Answered int
	TC       int // of the answered
	NXDOMAIN int
	Records  int // with an answer section
	Other    int // rcodes other than these two
}

func main() {
	addr := flag.String("addr", "", "`ADDRESS` of the server")
	file := flag.String("queries", "", "`FILE` of questions, NAME TYPE a line")
	do := flag.Bool("do", false, "ask for signatures")
	run := flag.Duration("time", 5*time.Second, "`DURATION`")
	window := flag.Int("window", 64, "`N` questions in flight a socket")
	sockets := flag.Int("sockets", 8, "`N` sockets")
	flag.Parse()
	r, err := send(*addr, *file, *do, *run, *window, *sockets)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(r)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sender:", err)
		os.Exit(1)
	}
}

func send(addr, file string, do bool, run time.Duration, window, sockets int) (Result, error) {
	queries, err := read(file, do)
	if err != nil {
		return Result{}, err
	}
	var clients []*client
	for range sockets {
		c, err := dial(addr, window)
		if err != nil {
			return Result{}, err
		}
		clients = append(clients, c)
	}
	var r Result
	next := 0
	began := time.Now()
	for last := began; ; {
		now := time.Now()
		progress := false
		for _, c := range clients {
			if n := c.receive(&r); n > 0 {
				progress = true
			}
			if now.Sub(began) < run {
				next = c.send(queries, next)
			}
		}
		if progress {
			last = now
		}
		if now.Sub(last) > 200*time.Millisecond {
			if now.Sub(began) >= run {
				break
			}
			for _, c := range clients {
				c.flying = 0 // lost
			}
			last = now
		}
		if now.Sub(began) >= run && !progress {
			flying := 0
			for _, c := range clients {
				flying += c.flying
			}
			if flying == 0 {
				break
			}
		}
	}
	r.Seconds = run.Seconds()
	for _, c := range clients {
		r.Sent += c.sent
	}
	return r, nil
}

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

const batch = 32

type message struct {
	header unix.Msghdr
	length uint32
}

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
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, err
	}
	c := &client{window: window}
	sa := &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}
	if c.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0); err != nil {
		return nil, err
	}
	unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20)
	if err := unix.Connect(c.fd, sa); err != nil {
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

func (c *client) send(queries [][]byte, next int) int {
	n := min(batch, c.window-c.flying)
	if n < min(batch/2, c.window) {
		return next
	}
	for i := range n {
		q := queries[next%len(queries)]
		next++
		c.iov[1][i].Base = &q[0]
		c.iov[1][i].SetLen(len(q))
	}
	sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(c.fd), uintptr(unsafe.Pointer(&c.out[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	if errno == 0 {
		c.flying += int(sent)
		c.sent += int(sent)
	}
	return next
}

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
