package zone

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/smimea"
)

// A Packing is what a packed answer needs to know besides the records.
type Packing struct {
	ID    uint16
	Flags uint16 // the request's: RD and CD are given back
	// Asked is the question's name in the case of the request, less the first
	// octet of its wire form; what stands between labels does not matter.
	Asked []byte
	Type  uint16
	// EDNS is set if the request has an OPT record, and these are its size and
	// flags, which are given back; its options are left out.
	EDNS      bool
	UDPSize   uint16
	EDNSFlags uint16
	// Keys are those whose signatures go with the records, if Signed; they must
	// have begun, and not expire within Margin of Now.
	Signed bool
	Keys   Keys
	Now    time.Time
	Margin time.Duration
	// Size is how many octets the client takes.
	Size int
}

// AppendAnswer appends the answer that [Reply.Answer] and [Reply.AddSignatures] make, as it
// is on the wire, to a question for the owner n at p. The records stay what they
// are in the zone's table, bytes: to make text of them, only for miekg/dns to
// turn that into bytes again, costs more than all the rest of an answer.
//
// It reports false where that way does not do: for lack of signatures, for names
// with escapes, and for answers that do not fit.
func (n *Name) AppendAnswer(dst []byte, p *Point, o *Packing) ([]byte, bool) {
	a := packer{b: dst, start: len(dst)}
	lower, ok := a.begin(p.Name, o, dns.RcodeSuccess)
	if !ok {
		return dst, false
	}

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
		var s signature
		s, signatures = nextSignature(signatures)
		at := a.record(dns.TypeRRSIG, n.zone.TTL)
		// What is not stored, since the RRset and the zone tell it, are the type covered,
		// the number of labels, and the signer, which is not compressed (RFC 4034 section 3.1).
		a.uint16(rrtype)
		a.b = append(a.b, s.algorithm(), labels(p.Name))
		a.b = append(a.b, s.times()...)
		a.uint16(s.keyTag())
		var err error
		if a.b, err = AppendWire(a.b, o.Keys.Signer); err != nil {
			return dst, false
		}
		a.b = append(a.b, s.raw...)
		a.end(at)
		answers++
	}
	binary.BigEndian.PutUint16(a.b[a.start+6:], answers)
	a.opt(o)
	return a.b, len(a.b)-a.start <= o.Size
}

// Records are the records of one section of a reply as they are on the wire, with
// whole names.
type Records struct {
	Octets  []byte
	Count   int
	Section Section
	// Length is what miekg/dns takes the octets to be, by which it truncates
	// messages: some more where there is base64.
	Length int
}

// A Section is where records stand in a reply.
type Section uint8

const (
	AuthoritySection Section = iota
	AnswerSection
)

// PackRecords packs the records of one section. They may be shared, with a cache of
// *dnssec* for example: to pack a record writes to it, and so a copy is packed.
func PackRecords(section Section, records ...dns.RR) (Records, error) {
	r := Records{Count: len(records), Section: section}
	for _, rr := range records {
		at, length := len(r.Octets), dns.Len(rr)
		r.Octets = append(r.Octets, make([]byte, length)...)
		end, err := dns.PackRR(dns.Copy(rr), r.Octets, at, nil, false)
		if err != nil {
			return Records{}, err
		}
		r.Octets, r.Length = r.Octets[:end], r.Length+length
	}
	return r, nil
}

// AppendReply appends a reply with these records to a question for a name, given
// in lower-case wire form, as miekg/dns packs it without compression. With
// truncated it says to ask again over TCP. Length is what miekg/dns takes it to be.
// It reports false for names with escapes, and for replies that do not fit.
func AppendReply(dst, name []byte, o *Packing, rcode int, truncated bool, records *Records) (reply []byte, length int, ok bool) {
	a := packer{b: dst, start: len(dst)}
	if _, ok := a.begin(name, o, rcode); !ok {
		return dst, 0, false
	}
	if truncated {
		a.b[a.start+2] |= 1 << 1
	}
	a.b = append(a.b, records.Octets...)
	count := a.b[a.start+8:]
	if records.Section == AnswerSection {
		count = a.b[a.start+6:]
	}
	binary.BigEndian.PutUint16(count, uint16(records.Count))
	a.opt(o)
	length = len(a.b) - a.start - len(records.Octets) + records.Length
	return a.b, length, length <= o.Size
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

// begin appends a reply's header and question. It reports whether the name was
// asked for in lower case, and whether it could be done.
func (a *packer) begin(name []byte, o *Packing, rcode int) (lower, ok bool) {
	const qr, aa, rd, cd = 1 << 15, 1 << 10, 1 << 8, 1 << 4
	a.uint16(o.ID, qr|aa|o.Flags&(rd|cd)|uint16(rcode), 1, 0, 0, 0) // counts of records: see below
	if lower, ok = a.question(name, o.Asked); ok {
		a.uint16(o.Type, dns.ClassINET)
	}
	return lower, ok
}

// opt appends the OPT record, if there is to be one.
func (a *packer) opt(o *Packing) {
	if !o.EDNS {
		return
	}
	a.b = append(a.b, 0)
	a.uint16(dns.TypeOPT, o.UDPSize)
	// Of the TTL, DO and the flags after it stay, and the first octet of
	// flags only: extended rcode and version are 0.
	a.uint16(0, o.EDNSFlags&0xff00, 0)
	a.b[a.start+11] = 1
}

// question appends a name, given in lower-case wire form and as it was asked
// for, in the case of the latter. It reports whether that is lower case, and
// whether it could be done.
func (a *packer) question(wire, asked []byte) (lower, ok bool) {
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
