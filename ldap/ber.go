package ldap

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// The tags of BER that LDAP uses. All are of one octet (RFC 4511 section 5.1).
const (
	tagBoolean     = 0x01
	tagInteger     = 0x02
	tagOctetString = 0x04
	tagEnumerated  = 0x0a
	tagSequence    = 0x30
	tagSet         = 0x31
)

const (
	classApplication = 0x40
	classContext     = 0x80
	constructed      = 0x20
)

// errBER is of bytes that are no message of LDAP.
var errBER = errors.New("malformed BER")

// ber is BER that is still to be read: elements, one after the other, of
// definite lengths, which may be written with more octets than they need, as
// Windows does (RFC 4511 section 5.1).
type ber []byte

// next takes the first element off.
func (b *ber) next() (tag byte, body ber, err error) {
	size, header, err := parseHeader(*b)
	if err != nil || size > len(*b)-header {
		return 0, nil, errBER
	}
	tag, body = (*b)[0], (*b)[header:header+size]
	*b = (*b)[header+size:]
	return tag, body, nil
}

// expect takes the first element off, which must have a tag.
func (b *ber) expect(tag byte) (ber, error) {
	got, body, err := b.next()
	if err == nil && got != tag {
		return nil, errBER
	}
	return body, err
}

// octets reads an OCTET STRING.
func (b *ber) octets() (string, error) {
	body, err := b.expect(tagOctetString)
	return string(body), err
}

// integer reads an INTEGER or ENUMERATED from 0 to 2147483647, the range of all
// numbers in LDAP (RFC 4511 section 4.1.1).
func (b *ber) integer(tag byte) (int, error) {
	body, err := b.expect(tag)
	if err != nil {
		return 0, err
	}
	return body.number()
}

func (b ber) number() (int, error) {
	if len(b) == 0 || len(b) > 5 || b[0]&0x80 != 0 {
		return 0, errBER
	}
	n := 0
	for _, c := range b {
		n = n<<8 | int(c)
	}
	if n > 1<<31-1 {
		return 0, errBER
	}
	return n, nil
}

// boolean reads a BOOLEAN.
func (b *ber) boolean() (bool, error) {
	body, err := b.expect(tagBoolean)
	if err != nil || len(body) != 1 {
		return false, errBER
	}
	return body[0] != 0, nil
}

// parseHeader reads an element's tag and length. The error is io.ErrShortBuffer
// if more octets are needed to say.
func parseHeader(b []byte) (size, header int, err error) {
	if len(b) < 2 {
		return 0, 0, io.ErrShortBuffer
	}
	if b[0]&0x1f == 0x1f {
		return 0, 0, errBER
	}
	if b[1] < 0x80 {
		return int(b[1]), 2, nil
	}
	n := int(b[1] & 0x7f)
	if n == 0 || n > 8 { // 0: an indefinite length
		return 0, 0, errBER
	}
	if len(b) < 2+n {
		return 0, 0, io.ErrShortBuffer
	}
	for _, c := range b[2 : 2+n] {
		if size >= 1<<23 { // an int may have 32 bits
			return 0, 0, errBER
		}
		size = size<<8 | int(c)
	}
	return size, 2 + n, nil
}

// A tooLong is the error of a request that is not read.
type tooLong struct{ size, limit int }

func (e *tooLong) Error() string {
	return fmt.Sprintf("the request has %d octets, and at most %d are read", e.size, e.limit)
}

// readMessage reads one LDAPMessage, without its header, of at most limit
// octets with it. Nothing is set aside for what a length only promises.
func readMessage(r *bufio.Reader, limit int) (ber, error) {
	for n := 2; ; n++ {
		head, err := r.Peek(n)
		if err != nil {
			if len(head) > 0 && err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if head[0] != tagSequence {
			return nil, errBER
		}
		size, header, err := parseHeader(head)
		if err == io.ErrShortBuffer {
			continue
		}
		if err != nil {
			return nil, err
		}
		if size > limit-header {
			return nil, &tooLong{size + header, limit}
		}
		if _, err := r.Discard(header); err != nil {
			return nil, err
		}
		return readBody(r, size)
	}
}

// readBody reads size octets as they come.
func readBody(r io.Reader, size int) (ber, error) {
	const step = 4096
	body := make(ber, 0, min(size, step))
	for len(body) < size {
		at := len(body)
		n := min(size-at, step)
		body = append(body, make(ber, n)...)
		if _, err := io.ReadFull(r, body[at:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return body, nil
}
