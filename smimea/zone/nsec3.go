package zone

import (
	"bytes"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"coredns-smimea/internal/table"
)

// A Chain is one version of a zone's NSEC3 records (RFC 5155), without salt and
// without further iterations (RFC 9276 section 3.1): for whoever walks it, names
// are digests. It is immutable.
type Chain struct {
	table *table.Table // from hashes to links
	zone  *Place
	apex  []uint16 // types at the apex
	ttl   uint32
}

const nameHash = sha1.Size

// A link is what the chain has for a name: the next hash, what exists at the
// name (1 octet), and the record's signatures.
type link []byte

func (l link) next() []byte       { return l[:nameHash] }
func (l link) types() linkTypes   { return linkTypes(l[nameHash]) }
func (l link) signatures() []byte { return l[nameHash+1:] }

func newLink(next []byte, types linkTypes, signatures []byte) link {
	return slices.Concat(next, []byte{byte(types)}, signatures)
}

// linkTypes are the types at a name. None is an empty non-terminal.
type linkTypes uint8

const (
	linkSMIMEA linkTypes = 1 << iota
	linkTXT
	linkA
	linkAAAA
	linkApex
)

// hashName returns the hash of a name in wire form.
func hashName(name []byte) []byte {
	sum := sha1.Sum(name)
	return sum[:]
}

// Size returns the octets that the chain takes.
func (c *Chain) Size() int {
	if c == nil {
		return 0
	}
	return c.table.Size()
}

var hashText = base32.HexEncoding.WithPadding(base32.NoPadding)

// record returns the NSEC3 record of a hash.
func (c *Chain) record(hash []byte, l link) *dns.NSEC3 {
	return &dns.NSEC3{
		Hdr: dns.RR_Header{
			Name:   strings.ToLower(hashText.EncodeToString(hash)) + "." + c.zone.Origin,
			Rrtype: dns.TypeNSEC3,
			Class:  dns.ClassINET,
			Ttl:    c.ttl,
		},
		Hash:       dns.SHA1,
		HashLength: nameHash,
		NextDomain: hashText.EncodeToString(l.next()),
		TypeBitMap: c.bitmap(l.types()),
	}
}

func (c *Chain) bitmap(types linkTypes) []uint16 {
	if types&linkApex != 0 {
		return c.apex
	}
	var bitmap []uint16
	for _, t := range []struct {
		bit   linkTypes
		rtype uint16
	}{{linkA, dns.TypeA}, {linkTXT, dns.TypeTXT}, {linkAAAA, dns.TypeAAAA}, {linkTypes(0), dns.TypeRRSIG}, {linkSMIMEA, dns.TypeSMIMEA}} {
		if types&t.bit != 0 || t.bit == 0 && types != 0 {
			bitmap = append(bitmap, t.rtype)
		}
	}
	slices.Sort(bitmap)
	return bitmap
}

// param returns the zone's NSEC3PARAM record.
func (c *Chain) param() *dns.NSEC3PARAM {
	return &dns.NSEC3PARAM{
		Hdr:  dns.RR_Header{Name: c.zone.Origin, Rrtype: dns.TypeNSEC3PARAM, Class: dns.ClassINET, Ttl: c.zone.TTL},
		Hash: dns.SHA1,
	}
}

// A chainEdit makes the next version of a chain.
type chainEdit struct {
	table *table.Edit
	order *order
	dirty [][nameHash]byte // links that have lost their signatures
}

func (e *chainEdit) get(hash []byte) link {
	value, _ := e.table.Get(hash)
	return bytes.Clone(value)
}

// set makes a link for what exists at a name, and has its neighbour point to it.
func (e *chainEdit) set(name []byte, types linkTypes) {
	hash := hashName(name)
	if l := e.get(hash); l != nil {
		if l.types() != types {
			e.put(hash, newLink(l.next(), types, nil))
		}
		return
	}
	before, after := e.order.insert(hash)
	e.put(hash, newLink(after, types, nil))
	if !bytes.Equal(before, hash) {
		e.put(before, newLink(hash, e.get(before).types(), nil))
	}
}

// remove takes a name out of the chain.
func (e *chainEdit) remove(name []byte) {
	hash := hashName(name)
	if e.get(hash) == nil {
		return
	}
	before, after := e.order.remove(hash)
	e.table.Delete(hash)
	if !bytes.Equal(before, hash) {
		e.put(before, newLink(after, e.get(before).types(), nil))
	}
}

// unsign takes the signatures from the link of a hash, if there is one.
func (e *chainEdit) unsign(hash []byte) {
	if l := e.get(hash); l != nil {
		e.put(hash, newLink(l.next(), l.types(), nil))
	}
}

func (e *chainEdit) put(hash []byte, l link) {
	e.table.Set(hash, l)
	e.dirty = append(e.dirty, [nameHash]byte(hash))
}

// An order keeps hashes in their order, in pieces by their first bits: these
// are as good as random, so that pieces are all of about the same size.
type order struct {
	pieces [][]byte
	bits   int // 1<<bits pieces
	n      int
}

// hashesPerPiece is above which mean the pieces are halved.
const hashesPerPiece = 32

func newOrder() *order { return &order{pieces: make([][]byte, 1)} }

func (o *order) piece(hash []byte) int {
	return int(uint64(binary.BigEndian.Uint32(hash)) >> (32 - o.bits))
}

// search returns where a hash is in a piece, or belongs.
func search(piece, hash []byte) (off int, found bool) {
	low, high := 0, len(piece)/nameHash
	for low < high {
		mid := (low + high) / 2
		if bytes.Compare(piece[mid*nameHash:(mid+1)*nameHash], hash) < 0 {
			low = mid + 1
		} else {
			high = mid
		}
	}
	off = low * nameHash
	return off, off < len(piece) && bytes.Equal(piece[off:off+nameHash], hash)
}

// insert adds a hash that is not there yet and returns its neighbours, which
// are itself where there is no other.
func (o *order) insert(hash []byte) (before, after []byte) {
	if o.n >= hashesPerPiece*len(o.pieces) && o.bits < 31 {
		o.split()
	}
	i := o.piece(hash)
	off, _ := search(o.pieces[i], hash)
	o.pieces[i] = slices.Insert(o.pieces[i], off, hash...)
	o.n++
	return o.neighbours(i, off)
}

// remove takes a hash out that is there and returns its neighbours.
func (o *order) remove(hash []byte) (before, after []byte) {
	i := o.piece(hash)
	off, _ := search(o.pieces[i], hash)
	before, after = o.neighbours(i, off)
	o.pieces[i] = slices.Delete(o.pieces[i], off, off+nameHash)
	o.n--
	return before, after
}

// neighbours returns copies of the hashes around the one at an offset of piece i.
func (o *order) neighbours(i, off int) (before, after []byte) {
	at := func(i, off int) []byte { return bytes.Clone(o.pieces[i][off : off+nameHash]) }
	if off > 0 {
		before = at(i, off-nameHash)
	} else {
		j := i
		for before == nil {
			j = (j - 1 + len(o.pieces)) % len(o.pieces)
			if n := len(o.pieces[j]); n > 0 {
				before = at(j, n-nameHash)
			}
		}
	}
	if off+nameHash < len(o.pieces[i]) {
		after = at(i, off+nameHash)
	} else {
		j := i
		for after == nil {
			j = (j + 1) % len(o.pieces)
			if len(o.pieces[j]) > 0 {
				after = at(j, 0)
			}
		}
	}
	return before, after
}

// split makes two pieces of each.
func (o *order) split() {
	old := o.pieces
	o.bits++
	o.pieces = make([][]byte, 2*len(old))
	for _, piece := range old {
		for off := 0; off < len(piece); {
			i, start := o.piece(piece[off:]), off
			for off < len(piece) && o.piece(piece[off:]) == i {
				off += nameHash
			}
			o.pieces[i] = bytes.Clone(piece[start:off])
		}
	}
}
