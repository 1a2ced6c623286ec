package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/bench/internal/measure"
)

// latency is how long answers took.
type latency struct {
	sent, lost     int
	p50, p99, most time.Duration
}

func (l latency) String() string {
	return fmt.Sprintf("%.2f (median %.2f, most %.1f)", ms(l.p99), ms(l.p50), ms(l.most))
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }

// measureLatency asks a server for certificates at a steady rate, whatever it
// answers. Answers are timed by the kernel when they come, so that it does not
// matter when this program gets to read them.
func measureLatency(port, users, qps int, length time.Duration) (latency, error) {
	const sockets = 4
	var l latency
	var all [sockets][]time.Duration
	var sent [sockets]int
	errs := make([]error, sockets)
	var running sync.WaitGroup
	for i := range sockets {
		running.Go(func() {
			all[i], sent[i], errs[i] = askSteadily(port, users, qps/sockets, length, uint64(i))
		})
	}
	running.Wait()
	var times []time.Duration
	for i := range sockets {
		if errs[i] != nil {
			return l, errs[i]
		}
		times = append(times, all[i]...)
		l.sent += sent[i]
	}
	l.lost = l.sent - len(times)
	if len(times) == 0 {
		return l, fmt.Errorf("no answer to %d queries", l.sent)
	}
	slices.Sort(times)
	l.p50, l.p99, l.most = times[len(times)/2], times[len(times)*99/100], times[len(times)-1]
	return l, nil
}

// askSteadily asks from one socket.
func askSteadily(port, users, qps int, length time.Duration, seed uint64) (times []time.Duration, sent int, err error) {
	conn, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		return nil, 0, err
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, 0, err
	}
	control := raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_TIMESTAMPNS, 1)
		// Room for answers while this program is kept waiting; only root gets
		// all of it.
		if syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, 8<<20) != nil {
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 8<<20)
		}
	})
	if err == nil {
		err = control
	}
	if err != nil {
		return nil, 0, fmt.Errorf("asking for timestamps: %w", err)
	}

	queries, err := packedQueries(users, 20_000, seed)
	if err != nil {
		return nil, 0, err
	}
	// When the query of each ID went out. An ID is used again after 13 seconds.
	var began [1 << 16]atomic.Int64
	received := make(chan []time.Duration, 1)
	conn.SetReadDeadline(time.Now().Add(length + 2*time.Second))
	go func() { received <- receive(conn, &began) }()

	// What this program was kept from sending is not made up for: the server
	// would see a burst that nobody has asked for.
	behind, start := 0, time.Now()
	for time.Since(start) < length {
		due := int(time.Since(start).Seconds()*float64(qps)) - behind
		if late := due - sent - qps/500; late > 0 {
			behind, due = behind+late, due-late
		}
		for ; sent < due; sent++ {
			q := queries[sent%len(queries)]
			id := uint16(sent)
			binary.BigEndian.PutUint16(q, id)
			began[id].Store(time.Now().UnixNano())
			if _, err := conn.Write(q); err != nil {
				return nil, sent, err
			}
		}
		time.Sleep(500 * time.Microsecond)
	}
	return <-received, sent, nil
}

// receive takes answers until the deadline of the socket.
func receive(conn *net.UDPConn, began *[1 << 16]atomic.Int64) (times []time.Duration) {
	buf, oob := make([]byte, 4096), make([]byte, 128)
	for {
		n, oobn, _, _, err := conn.ReadMsgUDP(buf, oob)
		if err != nil {
			return times
		}
		at := time.Now().UnixNano()
		messages, err := syscall.ParseSocketControlMessage(oob[:oobn])
		if err == nil && len(messages) > 0 && len(messages[0].Data) >= 16 {
			at = int64(binary.NativeEndian.Uint64(messages[0].Data))*1e9 + int64(binary.NativeEndian.Uint64(messages[0].Data[8:]))
		}
		if n < 12 {
			continue
		}
		if sent := began[binary.BigEndian.Uint16(buf)].Swap(0); sent != 0 {
			times = append(times, time.Duration(at-sent))
		}
	}
}

// packedQueries returns n queries for users at random, as they go out.
func packedQueries(users, n int, seed uint64) ([][]byte, error) {
	r := rand.New(rand.NewPCG(8162, seed))
	queries := make([][]byte, n)
	for i := range queries {
		m := new(dns.Msg)
		m.SetQuestion(measure.Address(r.IntN(users)).Owner(), dns.TypeSMIMEA)
		var err error
		if queries[i], err = m.Pack(); err != nil {
			return nil, err
		}
	}
	return queries, nil
}
