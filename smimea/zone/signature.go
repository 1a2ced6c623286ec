package zone

import (
	"encoding/base64"
	"encoding/binary"
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

// Signatures are stored as what an RRSIG has that its RRset's owner and zone do
// not tell: generation of the keys, algorithm (1 octet each), key tag (2),
// original TTL, expiration, inception (4 each), uvarint length, signature.
const signatureHeader = 1 + 1 + 2 + 3*4

func appendSignature(dst []byte, k Keys, sig *dns.RRSIG) ([]byte, error) {
	raw, err := base64.StdEncoding.DecodeString(sig.Signature)
	if err != nil {
		return dst, err
	}
	dst = append(dst, k.Generation, sig.Algorithm)
	dst = binary.BigEndian.AppendUint16(dst, sig.KeyTag)
	dst = binary.BigEndian.AppendUint32(dst, sig.OrigTtl)
	dst = binary.BigEndian.AppendUint32(dst, sig.Expiration)
	dst = binary.BigEndian.AppendUint32(dst, sig.Inception)
	dst = binary.AppendUvarint(dst, uint64(len(raw)))
	return append(dst, raw...), nil
}

// eachSignature yields what is stored as RRSIG records without header, labels
// and signer, each in a record that new gives.
func eachSignature(stored []byte, new func() *dns.RRSIG) iter.Seq[*dns.RRSIG] {
	return func(yield func(*dns.RRSIG) bool) {
		for len(stored) > signatureHeader {
			length, n := binary.Uvarint(stored[signatureHeader:])
			raw := stored[signatureHeader+n:]
			sig := new()
			sig.Algorithm = stored[1]
			sig.KeyTag = binary.BigEndian.Uint16(stored[2:])
			sig.OrigTtl = binary.BigEndian.Uint32(stored[4:])
			sig.Expiration = binary.BigEndian.Uint32(stored[8:])
			sig.Inception = binary.BigEndian.Uint32(stored[12:])
			sig.Signature = base64.StdEncoding.EncodeToString(raw[:length])
			if !yield(sig) {
				return
			}
			stored = raw[length:]
		}
	}
}

// fresh reports whether stored signatures can go out at now: they are of the
// keys' generation, have begun, and do not expire within margin (RFC 4034
// section 3.1.5: serial arithmetic).
func fresh(stored []byte, k Keys, now time.Time, margin time.Duration) bool {
	if len(stored) <= signatureHeader {
		return false
	}
	t := uint32(now.Unix())
	for len(stored) > signatureHeader {
		expiration := binary.BigEndian.Uint32(stored[8:])
		inception := binary.BigEndian.Uint32(stored[12:])
		if stored[0] != k.Generation || int32(expiration-t) < int32(margin/time.Second) || int32(t-inception) < 0 {
			return false
		}
		length, n := binary.Uvarint(stored[signatureHeader:])
		stored = stored[signatureHeader+n+int(length):]
	}
	return true
}
