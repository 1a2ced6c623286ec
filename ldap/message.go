package ldap

import (
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// The protocolOps (RFC 4511 section 4.2 and further), by their tags.
const (
	opBind       = classApplication | constructed
	opBound      = classApplication | constructed | 1
	opUnbind     = classApplication | 2
	opSearch     = classApplication | constructed | 3
	opEntry      = classApplication | constructed | 4
	opDone       = classApplication | constructed | 5
	opModify     = classApplication | constructed | 6
	opAdd        = classApplication | constructed | 8
	opDelete     = classApplication | 10
	opModifyDN   = classApplication | constructed | 12
	opCompare    = classApplication | constructed | 14
	opAbandon    = classApplication | 16
	opExtended   = classApplication | constructed | 23
	opExtendedOK = classApplication | constructed | 24
)

// responses are the operations that are answered once, by the tags of the
// answers.
var responses = map[byte]byte{
	opBind: opBound, opSearch: opDone, opModify: opModify + 1, opAdd: opAdd + 1, opDelete: (opDelete | constructed) + 1,
	opModifyDN: opModifyDN + 1, opCompare: opCompare + 1, opExtended: opExtendedOK,
}

// A code is a resultCode (RFC 4511 appendix A).
type code int

// The result codes that are used.
const (
	success                code = 0
	operationsError        code = 1
	protocolError          code = 2
	timeLimitExceeded      code = 3
	sizeLimitExceeded      code = 4
	authMethodNotSupported code = 7
	adminLimitExceeded     code = 11
	unavailableCritical    code = 12
	noSuchObject           code = 32
	invalidCredentials     code = 49
	busy                   code = 51
	unavailable            code = 52
	unwillingToPerform     code = 53
)

// A result is the outcome of an operation, and words on it.
type result struct {
	code code
	text string
}

// A request is an LDAPMessage from a client (RFC 4511 section 4.1.1).
type request struct {
	id       int
	op       byte
	body     ber
	controls []control
}

// A control is one of a request (RFC 4511 section 4.1.11).
type control struct {
	oid      string
	critical bool
	value    ber
}

func parseRequest(b ber) (r request, err error) {
	if r.id, err = b.integer(tagInteger); err != nil {
		return r, err
	}
	if r.op, r.body, err = b.next(); err != nil {
		return r, err
	}
	for len(b) > 0 {
		tag, list, err := b.next()
		if err != nil {
			return r, err
		}
		if tag != classContext|constructed {
			continue // RFC 4511 section 4: what is unknown is ignored at the end
		}
		for len(list) > 0 {
			c, err := parseControl(&list)
			if err != nil {
				return r, err
			}
			r.controls = append(r.controls, c)
		}
	}
	return r, nil
}

func parseControl(list *ber) (c control, err error) {
	body, err := list.expect(tagSequence)
	if err != nil {
		return c, err
	}
	if c.oid, err = body.octets(); err != nil {
		return c, err
	}
	for len(body) > 0 {
		switch body[0] {
		case tagBoolean:
			if c.critical, err = body.boolean(); err != nil {
				return c, err
			}
		default:
			if c.value, err = body.expect(tagOctetString); err != nil {
				return c, err
			}
		}
	}
	return c, nil
}

// unsupported returns the control that keeps a request from being done: a critical one
// that is not known, or not of use with the request (RFC 4511 section 4.1.11).
func (r *request) unsupported() (oid string, critical bool) {
	for _, c := range r.controls {
		known := c.oid == oidPaged && r.op == opSearch ||
			c.oid == oidManageDsaIT && r.op != opBind && r.op != opExtended && r.op != opAbandon // RFC 3296 section 3
		if c.critical && !known {
			return c.oid, true
		}
	}
	return "", false
}

// paged returns whether a request wants pages (RFC 2696), and of what size, with
// which cookie.
func (r *request) paged() (wanted bool, size int, cookie string, err error) {
	for _, c := range r.controls {
		if c.oid != oidPaged {
			continue
		}
		value := c.value
		body, err := value.expect(tagSequence)
		if err != nil {
			return true, 0, "", err
		}
		if size, err = body.integer(tagInteger); err != nil {
			return true, 0, "", err
		}
		cookie, err = body.octets()
		return true, size, cookie, err
	}
	return false, 0, "", nil
}

// message encodes an LDAPMessage. What is written is DER, which is BER.
func message(id int, op byte, body func(*cryptobyte.Builder), more ...func(*cryptobyte.Builder)) []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(int64(id))
		b.AddASN1(asn1.Tag(op), body)
		for _, add := range more {
			add(b)
		}
	})
	return b.BytesOrPanic()
}

func addString(b *cryptobyte.Builder, s string) { b.AddASN1OctetString([]byte(s)) }

// resultMessage encodes an LDAPResult. name is the responseName of an extended
// response, "" in others.
func resultMessage(id int, op byte, r result, name string, more ...func(*cryptobyte.Builder)) []byte {
	return message(id, op, func(b *cryptobyte.Builder) {
		b.AddASN1Enum(int64(r.code))
		addString(b, "") // matchedDN
		addString(b, r.text)
		if name != "" {
			b.AddASN1(asn1.Tag(classContext|10), func(b *cryptobyte.Builder) { b.AddBytes([]byte(name)) })
		}
	}, more...)
}

// pageControl says that this was the last page.
func pageControl(b *cryptobyte.Builder) {
	b.AddASN1(asn1.Tag(classContext|constructed), func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addString(b, oidPaged)
			b.AddASN1(asn1.OCTET_STRING, func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1Int64(0)
					addString(b, "")
				})
			})
		})
	})
}

// entryMessage encodes a SearchResultEntry.
func entryMessage(id int, e *entry, s *selection) []byte {
	return message(id, opEntry, func(b *cryptobyte.Builder) {
		addString(b, e.dn)
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			s.of(e, func(name string, values []string) {
				b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
					addString(b, name)
					b.AddASN1(asn1.SET, func(b *cryptobyte.Builder) {
						for _, value := range values {
							addString(b, value)
						}
					})
				})
			})
		})
	})
}
