package zone

import (
	"bytes"
	"coredns-smimea/smimea"
	"encoding/binary"
	"time"

	"github.com/miekg/dns"
)

// A Packing is what a packed answer needs to know besides the records.
type Packing struct {
	// OPT is the request's, nil if it has none; its options are left out.
	OPT *dns.OPT
	// Keys are those whose signatures go with the records, if Signed; they must
	// have begun, and not expire within Margin of Now.
	Signed bool
	Keys   Keys
	Now    time.Time
	Margin time.Duration
	// Size is how many octets the client takes.
	Size int
}

// AppendAnswer appends the answer to r that [Reply.Answer] and [Reply.Sign] make,
// as it is on the wire; r asks for the owner n at p. The records stay what they
// are in the zone's table, bytes: to make text of them, only for miekg/dns to
// turn that into bytes again, costs more than all the rest of an answer.
//
// It reports false where that way does not do: for lack of signatures, for names
// with escapes, and for answers that do not fit.
func (n *Name) AppendAnswer(dst []byte, r *dns.Msg, p *Point, o *Packing) ([]byte, bool) {
	a := packer{b: dst, start: len(dst)}
	flags := uint16(1<<15 | 1<<10) // QR, AA
	if r.RecursionDesired {
		flags |= 1 << 8
	}
	if r.CheckingDisabled {
		flags |= 1 << 4
	}
	a.uint16(r.Id, flags, 1, 0, 0, 0) // counts of records: see below
	question := &r.Question[0]
	lower, ok := a.question(p.Name, question.Name)
	if !ok {
		return dst, false
	}
	a.uint16(question.Qtype, question.Qclass)

	// Owners are pointers: to the question, or, where that is not in the case
	// of the zone, to the first record's owner.
	a.name = p.Name
	if lower {
		a.owner = headerSize
	}
	rrtype, answers := n.Tree.rrtype(), uint16(0)
	data := n.node.cursor()
	for data.next() {
		at := a.record(rrtype, n.zone.TTL)
		if n.Tree == Certs {
			a.b = append(a.b, data.data...)
		} else {
			a.text(n.zone.prefix, data.data)
		}
		a.end(at)
		answers++
	}
	var signatures []byte
	if o.Signed {
		if signatures = data.rest(); !fresh(signatures, o.Keys, o.Now, o.Margin) {
			return dst, false
		}
	}
	for len(signatures) > signatureHeader {
		at := a.record(dns.TypeRRSIG, n.zone.TTL)
		// What is stored is the RRSIG but for what its RRset tells (RFC 4034
		// section 3.1): type covered, labels, and the signer, uncompressed.
		a.uint16(rrtype)
		a.b = append(a.b, signatures[1], labels(p.Name))
		a.b = append(a.b, signatures[4:signatureHeader]...)
		a.b = append(a.b, signatures[2:4]...)
		var err error
		if a.b, err = AppendWire(a.b, o.Keys.Signer); err != nil {
			return dst, false
		}
		length, size := binary.Uvarint(signatures[signatureHeader:])
		raw := signatures[signatureHeader+size:]
		a.b = append(a.b, raw[:length]...)
		signatures = raw[length:]
		a.end(at)
		answers++
	}
	binary.BigEndian.PutUint16(a.b[a.start+6:], answers)
	if o.OPT != nil {
		a.b = append(a.b, 0)
		a.uint16(dns.TypeOPT, o.OPT.UDPSize())
		// Of the TTL, DO and the flags after it stay, and the first octet of
		// flags only: extended rcode and version are 0.
		a.uint16(0, uint16(o.OPT.Hdr.Ttl)&0xff00, 0)
		a.b[a.start+11] = 1
	}
	return a.b, len(a.b)-a.start <= o.Size
}

// A cursor is node.data without functions, which would take their place on the
// stack.
type cursor struct {
	data []byte // the record's

	b     []byte // claims not yet seen, and the signatures
	count int    // of these claims
	begun bool
	last  claim
}

func (n node) cursor() cursor {
	_, b := n.below()
	count, size := binary.Uvarint(b)
	return cursor{b: b[size:], count: int(count)}
}

// next goes on to the next record, and reports whether there is one.
func (c *cursor) next() bool {
	for c.count > 0 {
		last := c.last
		c.claim()
		switch {
		case c.last.surplus || c.begun && c.last.variant != last.variant:
			c.rest()
			return false
		case !c.begun || !bytes.Equal(c.last.data, last.data):
			c.begun, c.data = true, c.last.data
			return true
		}
	}
	return false
}

// claim reads one claim.
func (c *cursor) claim() {
	c.last, c.b = nextClaim(c.b)
	c.count--
}

// rest returns what follows the claims.
func (c *cursor) rest() []byte {
	for c.count > 0 {
		c.claim()
	}
	return c.b
}

const headerSize = 12 // octets of a message before the question

// A packer appends the parts of a message.
type packer struct {
	b     []byte
	start int    // of the message
	name  []byte // owner of all records, in wire form
	owner int    // where it is in the message, 0 as long as it is nowhere
}

func (a *packer) uint16(vs ...uint16) {
	for _, v := range vs {
		a.b = binary.BigEndian.AppendUint16(a.b, v)
	}
}

// question appends a name, given in lower-case wire form and as it was asked
// for, in the case of the latter. It reports whether that is lower case, and
// whether it could be done.
func (a *packer) question(wire []byte, asked string) (lower, ok bool) {
	if len(asked)+1 != len(wire) {
		return false, false // has escapes
	}
	at := len(a.b) + 1 // each octet comes one later than in the text
	a.b = append(a.b, wire...)
	lower = true
	for i := range len(asked) {
		if c := asked[i]; 'A' <= c && c <= 'Z' {
			a.b[at+i] = c
			lower = false
		}
	}
	return lower, true
}

// record appends a record's header, and returns where its data begins.
func (a *packer) record(rrtype uint16, ttl uint32) int {
	if a.owner > 0 {
		a.uint16(0xc000 | uint16(a.owner))
	} else {
		a.owner = len(a.b) - a.start
		a.b = append(a.b, a.name...)
	}
	a.uint16(rrtype, dns.ClassINET)
	a.b = binary.BigEndian.AppendUint32(a.b, ttl)
	a.uint16(0)
	return len(a.b)
}

// end enters the length of a record's data.
func (a *packer) end(at int) { binary.BigEndian.PutUint16(a.b[at-2:], uint16(len(a.b)-at)) }

// text appends the data of a TXT record.
func (a *packer) text(prefix string, rest []byte) {
	if n := len(prefix) + len(rest); n <= smimea.MaxString {
		a.b = append(append(append(a.b, byte(n)), prefix...), rest...)
		return
	}
	a.b = smimea.AppendText(a.b, prefix+string(rest))
}

// labels counts the labels of a name in wire form.
func labels(wire []byte) (n byte) {
	for off := 0; wire[off] != 0; off += 1 + int(wire[off]) {
		n++
	}
	return n
}
