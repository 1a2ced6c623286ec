package dnssec

import (
	"context"
	"errors"
	"strings"

	"github.com/miekg/dns"
)

// Limits of one look-up, against answers that are made to keep us busy
// (CVE-2023-50387, CVE-2023-50868) or that go round in circles.
const (
	maxAliases   = 16
	maxQuestions = 100
	// maxMessage is the records of one message.
	maxMessage = 2000
	// maxRecords is of one record set, and of its signatures. BIND takes 100
	// (max-records-per-type).
	maxRecords = 500
	// maxDenials is how many NSEC or NSEC3 records of one message are looked at.
	// A denial needs four; there may be one of each alias on the way to it.
	maxDenials = 4 * (maxAliases + 1)
	// maxFailures is how many signatures and digests may be wrong: keys with
	// the same tag make some in honest zones, but very seldom.
	maxFailures = 16
	// maxSetFailures is how many of these may be of one record set.
	maxSetFailures = 4
	// maxVerified is how many signatures are looked at in all. An honest answer
	// needs one of each of its record sets.
	maxVerified = 200
	// maxHashed is how many blocks are hashed for NSEC3: 256 names of a zone
	// that hashes as often as is allowed.
	maxHashed = 256 * (maxIterations + 1)
)

var errTooMuch = errors.New("the answers ask for more work than a look-up is worth")

// Work is what a look-up has done for what strangers sent. Where the context or
// a limit ends it, nothing more is verified or hashed: what was to be shown by
// it counts as not shown, and so is Bogus.
type work struct {
	ctx      context.Context
	failures int // signatures and digests that were wrong
	verified int // signatures that were looked at
	hashed   int // blocks, for NSEC3
}

// over reports whether enough has been done, in all and for a record set that
// was begun with so many failures.
func (w *work) over(before int) bool {
	return w.failures >= maxFailures || w.failures-before >= maxSetFailures || w.verified >= maxVerified || w.ctx.Err() != nil
}

// verify checks one signature by one key.
func (w *work) verify(sig *dns.RRSIG, key *dns.DNSKEY, rrs []dns.RR) bool {
	w.verified++
	if sig.Verify(key, rrs) != nil {
		w.failures++
		return false
	}
	return true
}

// digest reports whether a DS record is of a key.
func (w *work) digest(ds *dns.DS, key *dns.DNSKEY) bool {
	made := key.ToDS(ds.DigestType)
	if made == nil || !strings.EqualFold(made.Digest, ds.Digest) {
		w.failures++
		return false
	}
	return true
}

// hash returns the hash of a name for NSEC3, in upper case; "" if there is no
// work left for it.
func (w *work) hash(name string, p hashing) string {
	// A block of SHA-1 takes 55 octets beside its padding.
	blocks := 1 + (20+len(p.salt)/2)/56
	blocks = len(name)/56 + (int(p.iterations)+1)*blocks
	if w.hashed+blocks > maxHashed || w.ctx.Err() != nil {
		return ""
	}
	w.hashed += blocks
	return dns.HashName(name, dns.SHA1, p.iterations, p.salt)
}
