package zone

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"iter"
	"time"

	"github.com/miekg/dns"
)

// Keys say whose signatures are good.
type Keys struct {
	Signer string // the zone that the keys belong to, in presentation form
	// Generation numbers the sets of keys there have been: signatures of
	// another one are not good any more.
	Generation uint8
}

// Left returns how long it is from now until a signature expires, in whole seconds; it is
// negative if that has expired. The times of an RRSIG record are serial numbers (RFC 4034
// section 3.1.5).
func Left(expiration uint32, now time.Time) time.Duration {
	return time.Duration(int32(expiration-uint32(now.Unix()))) * time.Second
}

// signatureHeader is how many octets of a stored signature come before its length.
const signatureHeader = 1 + 1 + 2 + 3*4

// A signature is one as it is stored: what an RRSIG record has (RFC 4034 section 3.1) that
// its RRset's owner and zone do not tell. In octets:
//
//	0   generation of the keys
//	1   algorithm
//	2   key tag
//	4   original TTL, expiration, inception, 4 octets each
//	16  uvarint length, and as many octets of signature
//
// The signatures of an RRset stand one after the other.
type signature struct {
	header *[signatureHeader]byte
	raw    []byte // the signature itself
}

// nextSignature reads the first of some stored signatures, of which there is one, and
// returns the others.
func nextSignature(stored []byte) (s signature, rest []byte) {
	length, n := uint64(stored[signatureHeader]), 1
	if length >= 0x80 { // of RSA
		length, n = binary.Uvarint(stored[signatureHeader:])
	}
	end := signatureHeader + n + int(length)
	return signature{(*[signatureHeader]byte)(stored), stored[signatureHeader+n : end]}, stored[end:]
}

func (s signature) generation() uint8   { return s.header[0] }
func (s signature) algorithm() uint8    { return s.header[1] }
func (s signature) keyTag() uint16      { return binary.BigEndian.Uint16(s.header[2:]) }
func (s signature) originalTTL() uint32 { return binary.BigEndian.Uint32(s.header[4:]) }
func (s signature) expiration() uint32  { return binary.BigEndian.Uint32(s.header[8:]) }
func (s signature) inception() uint32   { return binary.BigEndian.Uint32(s.header[12:]) }

// times are the original TTL, the expiration and the inception, as in an RRSIG record.
func (s signature) times() []byte { return s.header[4:] }

// storeSignatures returns RRSIG records of these keys as they are stored.
func storeSignatures(k Keys, rrsigs []dns.RR) (stored []byte, err error) {
	for _, rr := range rrsigs {
		sig, ok := rr.(*dns.RRSIG)
		if !ok {
			return nil, fmt.Errorf("%T is no signature", rr)
		}
		raw, err := base64.StdEncoding.DecodeString(sig.Signature)
		if err != nil {
			return nil, err
		}
		stored = append(stored, k.Generation, sig.Algorithm)
		stored = binary.BigEndian.AppendUint16(stored, sig.KeyTag)
		stored = binary.BigEndian.AppendUint32(stored, sig.OrigTtl)
		stored = binary.BigEndian.AppendUint32(stored, sig.Expiration)
		stored = binary.BigEndian.AppendUint32(stored, sig.Inception)
		stored = binary.AppendUvarint(stored, uint64(len(raw)))
		stored = append(stored, raw...)
	}
	return stored, nil
}

// eachSignature yields stored signatures.
func eachSignature(stored []byte) iter.Seq[signature] {
	return func(yield func(signature) bool) {
		for len(stored) > signatureHeader {
			var s signature
			if s, stored = nextSignature(stored); !yield(s) {
				return
			}
		}
	}
}

// eachRRSIG yields the stored signatures of an RRset as RRSIG records, each in a record
// that new gives. Covered is the header of the RRset's records, signer whose keys they are.
func eachRRSIG(stored []byte, covered *dns.RR_Header, signer string, new func() *dns.RRSIG) iter.Seq[*dns.RRSIG] {
	return func(yield func(*dns.RRSIG) bool) {
		for len(stored) > signatureHeader { // and not by eachSignature, which would cost an allocation
			var s signature
			s, stored = nextSignature(stored)
			sig := new()
			sig.Hdr = dns.RR_Header{Name: covered.Name, Rrtype: dns.TypeRRSIG, Class: dns.ClassINET, Ttl: covered.Ttl}
			sig.TypeCovered = covered.Rrtype
			sig.Algorithm = s.algorithm()
			sig.Labels = uint8(dns.CountLabel(covered.Name))
			sig.OrigTtl = s.originalTTL()
			sig.Expiration = s.expiration()
			sig.Inception = s.inception()
			sig.KeyTag = s.keyTag()
			sig.SignerName = signer
			sig.Signature = base64.StdEncoding.EncodeToString(s.raw)
			if !yield(sig) {
				return
			}
		}
	}
}

// fresh reports whether stored signatures can go out at now: there are some, they are of
// the keys' generation, have begun, and do not expire within margin (RFC 4034 section
// 3.1.5: serial arithmetic, as Left has it).
func fresh(stored []byte, k Keys, now time.Time, margin time.Duration) bool {
	if len(stored) <= signatureHeader {
		return false
	}
	t, least := uint32(now.Unix()), int32(margin/time.Second)
	for len(stored) > signatureHeader {
		var s signature
		s, stored = nextSignature(stored)
		if s.generation() != k.Generation || int32(s.expiration()-t) < least || int32(t-s.inception()) < 0 {
			return false
		}
	}
	return true
}
