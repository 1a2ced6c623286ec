package lane

import (
	"context"
	"encoding/binary"
	"time"
)

// A Query is a question that a block may answer by itself: an ordinary query of
// class IN, with nothing beside it but an OPT record without options (RFC 6891).
// Its name is plain, see [plain].
type Query struct {
	Name  []byte // in wire form, lower case
	Asked []byte // the same in the case of the request
	Type  uint16
	ID    uint16
	Flags uint16 // of the header

	EDNS      bool
	UDPSize   uint16 // what OPT says
	EDNSFlags uint16

	IPv6 bool // that it came by, and not mapped IPv4
	Now  time.Time

	// Size is what a block sets to the octets of the reply that *prometheus*
	// counts, where that is not its length.
	Size int

	// Granted is what a block sets if it has counted a query that it does not answer
	// against a limit already, and will sign for it. The chain asks for it, too: see
	// [Granted].
	Granted bool

	lower [maxName]byte
}

const (
	headerSize = 12
	maxName    = 255
	maxLabel   = 63
	flagQR     = 1 << 15
	flagDO     = 1 << 15 // of OPT
	opcodeMask = 0xf << 11
	typeOPT    = 41
	classIN    = 1
)

// DO reports whether the request wants signatures (RFC 3225).
func (q *Query) DO() bool { return q.EDNS && q.EDNSFlags&flagDO != 0 }

type grantedKey struct{}

// Granted reports whether the query of a chain's context is one that its block has
// counted in the lane.
func Granted(ctx context.Context) bool { return ctx.Value(grantedKey{}) != nil }

// Parse reads a packet, which q refers to from then on. It reports false for all that is not a Query, and leaves
// it to CoreDNS to say what is wrong with it, if anything is.
func (q *Query) Parse(packet []byte) bool {
	if len(packet) < headerSize {
		return false
	}
	q.ID, q.Flags = binary.BigEndian.Uint16(packet), binary.BigEndian.Uint16(packet[2:])
	// One question, no answer, no authority.
	if q.Flags&(flagQR|opcodeMask) != 0 || binary.BigEndian.Uint16(packet[4:]) != 1 || binary.BigEndian.Uint32(packet[6:]) != 0 {
		return false
	}
	rest := packet[headerSize:]
	size := q.name(rest)
	if size == 0 || len(rest) < size+4 {
		return false
	}
	q.Asked = rest[:size]
	q.Type = binary.BigEndian.Uint16(rest[size:])
	if binary.BigEndian.Uint16(rest[size+2:]) != classIN {
		return false
	}
	rest = rest[size+4:]
	q.EDNS, q.UDPSize, q.EDNSFlags, q.Size = false, 0, 0, 0
	switch binary.BigEndian.Uint16(packet[10:]) {
	case 0:
		return len(rest) == 0
	case 1:
		// Root, OPT, size, extended rcode, version 0, flags, no data.
		if len(rest) != 11 || rest[0] != 0 || binary.BigEndian.Uint16(rest[1:]) != typeOPT || rest[6] != 0 || binary.BigEndian.Uint16(rest[9:]) != 0 {
			return false
		}
		q.EDNS, q.UDPSize, q.EDNSFlags = true, binary.BigEndian.Uint16(rest[3:]), binary.BigEndian.Uint16(rest[7:])
		return true
	}
	return false
}

// name reads a name, and returns how many octets it has, 0 if it is not plain.
func (q *Query) name(b []byte) int {
	for off := 0; off < len(b) && off < maxName; {
		length := int(b[off])
		q.lower[off] = b[off]
		off++
		if length == 0 {
			q.Name = q.lower[:off]
			return off
		}
		end := off + length
		if length > maxLabel || end >= len(b) || end >= maxName {
			return 0
		}
		for ; off < end; off++ {
			c := plain[b[off]]
			if c == 0 {
				return 0
			}
			q.lower[off] = c
		}
	}
	return 0
}

// plain maps octets to their lower case, and to 0 those that have to be escaped in
// names' presentation form (RFC 1035 section 5.1), for which there is the long way.
var plain = func() (table [256]byte) {
	for c := byte('!'); c <= '~'; c++ {
		table[c] = c
	}
	for c := byte('A'); c <= 'Z'; c++ {
		table[c] = c + 'a' - 'A'
	}
	for _, c := range []byte(`.'@;()"\`) {
		table[c] = 0
	}
	return table
}()
