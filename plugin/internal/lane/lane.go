// Package lane answers queries in batches, beside CoreDNS's own way of answering.
//
// CoreDNS reads one packet a system call, starts a goroutine for it, and sends
// one packet a system call. A [Lane] has sockets of its own on the same address,
// to which the kernel is told to give the queries. It reads and writes many packets
// at once, and its [Block]s answer into the buffers that are sent: no goroutine,
// no allocation, no lock a query.
//
// It is only a short way to the same answers. What no block answers it gives to
// CoreDNS, whole, and CoreDNS's answer goes out through the lane's socket. What needs
// a new signature waits until the batch that it came with is answered.
//
// Sockets belong to the process, as CoreDNS's own do: a reload has another Lane read
// them. When they close, or anything fails, CoreDNS's own sockets get the packets.
package lane

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/prometheus/client_golang/prometheus"
)

// A Block answers for the zones of one server block.
type Block interface {
	// Answer appends the reply to a query to room, octet for octet what the
	// block's chain would send. It reports false if the chain is to be asked. It
	// is called by several goroutines, must neither lock nor wait, and keeps nothing.
	// It sets q.Granted where Sign can answer.
	Answer(q *Query, room []byte) (reply []byte, ok bool)
	// Sign is Answer for a query whose answer has to be signed, which takes longer.
	Sign(q *Query, room []byte) (reply []byte, ok bool)
}

// A Counter counts what a block has answered, as *prometheus* would. It may be nil.
type Counter interface {
	Count(q *Query, request int, reply []byte)
}

// A Logger is what a lane logs to.
type Logger interface {
	Debugf(format string, v ...any)
	Infof(format string, v ...any)
	Warningf(format string, v ...any)
	Errorf(format string, v ...any)
}

// Options say what a lane is for.
type Options struct {
	Server  *dnsserver.Server // of the address
	Blocks  []Counted
	Cores   int // sockets that CoreDNS has on the address
	Sockets int // sockets that the lane is to have
	Log     Logger
	// Answered and Passed count the queries that the blocks answer, and those that
	// the chain gets.
	Answered, Passed prometheus.Counter
}

// A Counted is a block, and who counts what it answers.
type Counted struct {
	Block
	Counter
}
