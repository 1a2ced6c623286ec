package zone

import (
	"encoding/binary"
	"iter"
	"time"

	"github.com/miekg/dns"
)

// Ends returns when the first of a transferable zone's signatures ends, as of now (RFC 4034
// section 3.1.5: serial arithmetic); zero if it has none. It looks at all of them.
func (e *Transferable) Ends(now time.Time) time.Time {
	least, any := int32(0), false
	end := func(expiration uint32) {
		if left := int32(expiration - uint32(now.Unix())); !any || left < least {
			least, any = left, true
		}
	}
	stored := func(signatures []byte) {
		for expiration := range eachExpiration(signatures) {
			end(expiration)
		}
	}
	for _, rr := range e.Apex {
		if sig, ok := rr.(*dns.RRSIG); ok {
			end(sig.Expiration)
		}
	}
	for _, t := range e.Zone.tables {
		for _, value := range t.All() {
			if n := node(value); !n.empty() {
				stored(n.signatures())
			}
		}
	}
	if e.Chain != nil {
		for _, value := range e.Chain.table.All() {
			stored(link(value).signatures())
		}
	}
	if !any {
		return time.Time{}
	}
	return time.Unix(now.Unix()+int64(least), 0)
}

// eachExpiration yields when stored signatures end.
func eachExpiration(stored []byte) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for len(stored) > signatureHeader {
			if !yield(binary.BigEndian.Uint32(stored[8:])) {
				return
			}
			length, n := binary.Uvarint(stored[signatureHeader:])
			stored = stored[signatureHeader+n+int(length):]
		}
	}
}
