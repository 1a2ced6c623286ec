package certsource

// pkcs7 takes in the certificates of a PKCS#7 bundle at the start of data: a ContentInfo with a
// certs-only SignedData (RFC 5652 sections 3 and 5.1, RFC 8551 section 3.8), in
// DER or, since BouncyCastle and others write it so, in BER with indefinite
// lengths. The certificates in it are DER, as they always are: that is what is
// signed.
func (r *reading) pkcs7(line int, data []byte) (rest []byte) {
	in := berReader{rest: data}
	info := in.enter(0x30)
	if in.failed {
		r.end(line, damaged("the PKCS#7 is cut off"))
		return nil
	}
	id := info.next()
	if id.tag != 0x06 || string(id.content) != oidSignedData {
		r.refuse(line, Refuse(NoCertificate, "PKCS#7 that is no SignedData"))
		return in.rest
	}
	explicit := info.enter(0xa0)
	signed := explicit.enter(0x30)

	signed.next()      // version
	signed.enter(0x31) // digestAlgorithms
	signed.enter(0x30) // encapContentInfo
	bundle := signed.next()
	if signed.failed {
		r.refuse(line, damaged("the PKCS#7 is no SignedData"))
		return in.rest
	}
	if bundle.tag != 0xa0 {
		r.refuse(line, Refuse(NoCertificate, "PKCS#7 without certificates"))
		return in.rest
	}
	last := signed.next()
	if last.tag == 0xa1 { // revocation lists
		last = signed.next()
	}
	if signed.failed || last.tag != 0x31 {
		r.refuse(line, damaged("the PKCS#7 is no SignedData"))
		return in.rest
	}
	if len(last.content) > 0 { // signerInfos
		r.refuse(line, Refuse(NoCertificate, "a signed message, not a certs-only PKCS#7"))
		return in.rest
	}

	choices := berReader{rest: bundle.content}
	for len(choices.rest) > 0 {
		choice := choices.next()
		if choices.failed {
			r.refuse(line, damaged("the PKCS#7 holds something else than certificates"))
			return in.rest
		}
		if choice.tag != 0x30 {
			continue // an attribute certificate, or another kind
		}
		r.add(line, choice.raw)
	}
	return in.rest
}

// A berElement is one BER value with a tag of one octet.
type berElement struct {
	tag     byte
	raw     []byte // with tag and length
	content []byte // without them, and without the end-of-contents octets
}

// A berReader reads the BER values in rest one after the other. Once it has
// failed it reads nothing any more.
type berReader struct {
	rest   []byte
	failed bool
}

// enter reads a value that must have the tag, and returns a reader of what is
// in it, which has failed if there is no such value.
func (r *berReader) enter(tag byte) berReader {
	e := r.next()
	if e.tag != tag {
		r.failed = true
	}
	return berReader{rest: e.content, failed: r.failed}
}

// next reads a value. Where there is none it returns an element of tag 0, and
// has failed.
func (r *berReader) next() berElement {
	if r.failed {
		return berElement{}
	}
	tag, header, size, ok := berHeader(r.rest)
	if !ok || tag == 0 {
		r.failed = true
		return berElement{}
	}
	end, trailer := header+size, 0
	if size == indefinite {
		if end = endOfContents(r.rest, header); end < 0 {
			r.failed = true
			return berElement{}
		}
		trailer = 2
	}
	if end > len(r.rest)-trailer {
		r.failed = true
		return berElement{}
	}
	e := berElement{tag, r.rest[:end+trailer], r.rest[header:end]}
	r.rest = r.rest[end+trailer:]
	return e
}

// indefinite is the size of a value that goes on until an end-of-contents.
const indefinite = -1

// berHeader reads the tag and the length at the start of data: of how many
// octets they are, and the size of the content, which data need not have.
func berHeader(data []byte) (tag byte, header, size int, ok bool) {
	if len(data) < 2 || data[0]&0x1f == 0x1f {
		return 0, 0, 0, false
	}
	tag, size = data[0], int(data[1])
	if size < 0x80 {
		return tag, 2, size, true
	}
	if size == 0x80 {
		return tag, 2, indefinite, tag&0x20 != 0
	}
	octets := size & 0x7f
	if octets > 4 || len(data) < 2+octets {
		return 0, 0, 0, false
	}
	var long uint32
	for _, c := range data[2 : 2+octets] {
		long = long<<8 | uint32(c)
	}
	return tag, 2 + octets, int(long), long <= MaxFileSize
}

// endOfContents returns where the content that starts at from, of indefinite
// length, ends, or -1. It goes over data once, without recursion, however deep
// indefinite lengths are nested.
func endOfContents(data []byte, from int) int {
	for depth, at := 1, from; at <= len(data)-2; {
		tag, header, size, ok := berHeader(data[at:])
		switch {
		case !ok:
			return -1
		case tag == 0:
			if size != 0 || header != 2 {
				return -1
			}
			if depth--; depth == 0 {
				return at
			}
			at += header
		case size == indefinite:
			depth++
			at += header
		default:
			at += header + size
		}
	}
	return -1
}

// firstTag returns the tag of the first value in the value that data starts
// with, 0 if there is none.
func firstTag(data []byte) byte {
	_, header, _, ok := berHeader(data)
	if !ok || header >= len(data) {
		return 0
	}
	return data[header]
}

// announced returns how many octets the value at the start of data says that
// it has, header and all; 0 if it does not say.
func announced(data []byte) int {
	if len(data) < 2 || len(data) < 2+int(data[1]&0x7f) && data[1] > 0x80 {
		return len(data) + 1
	}
	_, header, size, ok := berHeader(data)
	if !ok || size == indefinite {
		return 0
	}
	return header + size
}
