package lane

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"github.com/coredns/coredns/plugin/pkg/reuseport"
	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

const (
	// batch is how many packets are read and written with one system call.
	batch = 64
	// queryRoom is the size of CoreDNS's own buffers: it does not see more of a
	// query than that.
	queryRoom = dns.MinMsgSize
	// replyRoom is more than nearly all replies take. A longer one is put
	// elsewhere.
	replyRoom = 1536
	// controlRoom is enough for the largest packet information.
	controlRoom = 64
	// readBuffer is how many octets of queries may wait, if the kernel lets them.
	readBuffer = 4 << 20
)

// message is the kernel's struct mmsghdr: one packet of several (recvmmsg(2)).
type message struct {
	header unix.Msghdr
	length uint32
}

// A socket is one UDP socket, read and written in batches, by one goroutine at a
// time.
type socket struct {
	conn     *net.UDPConn
	raw      syscall.RawConn
	wildcard bool // replies must say which address they come from

	in, out  [batch]message
	names    [batch]unix.RawSockaddrInet6 // of the clients; IPv4's fit in
	iovecs   [2][batch]unix.Iovec
	queries  [batch][queryRoom]byte
	replies  [batch][replyRoom]byte
	controls [batch][controlRoom]byte // packet information, of a query and then of its reply

	count  int // of the packets in
	used   int // of their messages, since they were made ready
	queued int // of the packets out

	wait    bool // for packets, or for room
	receive func(fd uintptr) bool
	send    func(fd uintptr) bool
	sent    int
	errno   syscall.Errno

	probes chan probe
	steers bool // has given its group a program
}

// listen opens a socket beside CoreDNS's own, in the way that CoreDNS does.
func listen(address string) (*socket, error) {
	p, err := reuseport.ListenPacket("udp", address)
	if err != nil {
		return nil, err
	}
	conn, ok := p.(*net.UDPConn)
	if !ok {
		p.Close()
		return nil, errors.New("not a UDP socket")
	}
	s := &socket{conn: conn, probes: make(chan probe, 16)}
	s.wildcard = conn.LocalAddr().(*net.UDPAddr).IP.IsUnspecified()
	if s.raw, err = conn.SyscallConn(); err != nil {
		conn.Close()
		return nil, err
	}
	if err := s.setOptions(); err != nil {
		conn.Close()
		return nil, err
	}
	s.prepare()
	return s, nil
}

func (s *socket) setOptions() error {
	_ = s.conn.SetReadBuffer(readBuffer) // less will do
	if !s.wildcard {
		return nil
	}
	return s.control(func(fd int) error {
		// An IPv6 socket tells IPv4 addresses in the same way, as mapped ones.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1); err == nil {
			return nil
		}
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	})
}

// control calls f with the socket's descriptor.
func (s *socket) control(f func(fd int) error) error {
	var err error
	if controlled := s.raw.Control(func(fd uintptr) { err = f(int(fd)) }); controlled != nil {
		return controlled
	}
	return err
}

// prepare connects the kernel's structures with the buffers.
func (s *socket) prepare() {
	s.used = batch
	for i := range batch {
		for m, iovec := range map[*message]*unix.Iovec{&s.in[i]: &s.iovecs[0][i], &s.out[i]: &s.iovecs[1][i]} {
			m.header.Iov = iovec
			m.header.SetIovlen(1)
		}
		in := &s.in[i].header
		in.Iov.Base = &s.queries[i][0]
		in.Iov.SetLen(queryRoom)
		in.Name = (*byte)(unsafe.Pointer(&s.names[i]))
		if s.wildcard {
			in.Control = &s.controls[i][0]
		}
	}
	s.receive = func(fd uintptr) bool {
		n, _, errno := syscall.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&s.in[0])), batch, unix.MSG_DONTWAIT, 0, 0)
		s.count, s.errno = int(n), errno
		if errno != 0 {
			s.count = 0
		}
		return errno != unix.EAGAIN || !s.wait
	}
	s.send = func(fd uintptr) bool {
		n, _, errno := syscall.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&s.out[s.sent])), uintptr(s.queued-s.sent), unix.MSG_DONTWAIT, 0, 0)
		s.errno = errno
		if errno == 0 {
			s.sent += int(n)
		}
		return errno != unix.EAGAIN
	}
}

// read reads as many packets as there are, and waits for the first if it may.
func (s *socket) read(wait bool) error {
	for i := range s.used {
		// The kernel has told how much of the room it took.
		s.in[i].header.Namelen = unix.SizeofSockaddrInet6
		if s.wildcard {
			s.in[i].header.SetControllen(controlRoom)
		}
	}
	s.used, s.wait = 0, wait
	if err := s.raw.Read(s.receive); err != nil {
		s.count = 0
		return err
	}
	s.used = s.count
	if s.errno == 0 || s.errno == unix.EAGAIN || s.errno == unix.EINTR {
		return nil
	}
	return os.NewSyscallError("recvmmsg", s.errno)
}

// query returns a packet that has come in.
func (s *socket) query(i int) []byte { return s.queries[i][:min(s.in[i].length, queryRoom)] }

// queue has a reply to packet i sent with the next flush.
func (s *socket) queue(i int, reply []byte) {
	in := &s.in[i].header
	var control []byte
	if s.wildcard {
		control = s.source(i)
	}
	s.queueTo(in.Name, in.Namelen, control, reply)
}

// queueTo has a reply sent with the next flush, to a client's address of some octets.
func (s *socket) queueTo(name *byte, size uint32, control, reply []byte) {
	out := &s.out[s.queued].header
	out.Name, out.Namelen = name, size
	out.Iov.Base = &reply[0]
	out.Iov.SetLen(len(reply))
	if s.wildcard {
		if len(control) > 0 {
			out.Control = &control[0]
			out.SetControllen(len(control))
		} else {
			out.Control = nil
			out.SetControllen(0)
		}
	}
	s.queued++
}

// source turns the information with which packet i came into that with which its
// reply goes: from the same address, by whatever way leads to the client.
func (s *socket) source(i int) []byte {
	b := s.controls[i][:min(s.in[i].header.Controllen, controlRoom)]
	for len(b) >= unix.SizeofCmsghdr {
		header := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		end := int(header.Len)
		if end < unix.SizeofCmsghdr || end > len(b) {
			return nil
		}
		data := b[unix.CmsgLen(0):end]
		switch {
		case header.Level == unix.IPPROTO_IPV6 && header.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			(*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0])).Ifindex = 0
			return b[:end]
		case header.Level == unix.IPPROTO_IP && header.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			(*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0])).Ifindex = 0
			return b[:end]
		}
		b = b[min(unix.CmsgSpace(end-unix.CmsgLen(0)), len(b)):]
	}
	return nil
}

// flush sends what is queued. A reply that cannot be sent is lost, as it is with
// sendto: the others are not.
func (s *socket) flush() error {
	for s.sent = 0; s.sent < s.queued; {
		if err := s.raw.Write(s.send); err != nil {
			s.queued = 0
			return err
		}
		if s.errno != 0 && s.errno != unix.EINTR {
			s.sent++
		}
	}
	s.queued = 0
	return nil
}

// ipv6 reports whether packet i came by IPv6.
func (s *socket) ipv6(i int) bool {
	mapped := [12]byte{10: 0xff, 11: 0xff}
	return s.names[i].Family == unix.AF_INET6 && [12]byte(s.names[i].Addr[:12]) != mapped
}

// client returns who has sent packet i.
func (s *socket) client(i int) *client {
	if !s.wildcard {
		return newClient(&s.names[i], nil)
	}
	return newClient(&s.names[i], s.source(i))
}

func newClient(name *unix.RawSockaddrInet6, control []byte) *client {
	c := &client{control: append([]byte(nil), control...)}
	port := (*[2]byte)(unsafe.Pointer(&name.Port))
	c.udp.Port = int(binary.BigEndian.Uint16(port[:]))
	if name.Family == unix.AF_INET {
		four := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		c.udp.IP = append(net.IP(nil), four.Addr[:]...)
	} else {
		c.udp.IP = append(net.IP(nil), name.Addr[:]...)
		if name.Scope_id != 0 {
			c.udp.Zone = strconv.Itoa(int(name.Scope_id))
			if link, err := net.InterfaceByIndex(int(name.Scope_id)); err == nil {
				c.udp.Zone = link.Name
			}
		}
	}
	return c
}

// writeTo sends one reply, from any goroutine.
func (s *socket) writeTo(b []byte, c *client) (int, error) {
	n, _, err := s.conn.WriteMsgUDP(b, c.control, &c.udp)
	return n, err
}
