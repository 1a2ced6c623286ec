package answer

import (
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/plugin/internal/sign"
	"coredns-smimea/smimea/zone"
)

// Signed denials are kept in sets of a few, by name: at the most 4096, some 2 KB each.
// Of some more names it is known that they have been signed for.
const (
	keptSets  = 1024
	keptInSet = 4
	keptOnce  = 1 << 14
)

// Kept are denials that have been signed and were asked for again. A flood of names,
// each asked for once, leaves no more than a number of each: it costs neither room nor
// the garbage collector's time, and displaces nothing. There is no lock: a slot of a
// set is read and written at once. A nil one keeps none.
type Kept struct {
	seed maphash.Seed
	sets [keptSets]keptSet
	once [keptOnce]atomic.Uint32 // hashes of names that have been signed for
}

type keptSet [keptInSet]atomic.Pointer[keptDenial]

// A keptDenial is the authority section of a denial at a name, the same for all
// types that it does not have, in one version of its zone.
type keptDenial struct {
	zone   int
	serial uint32
	name   string    // in wire form
	until  time.Time // from when on the signatures do not go out

	authority []dns.RR
	packed    zone.Records
	asked     atomic.Bool // since another wanted the slot
}

// NewKept returns room for denials.
func NewKept() *Kept { return &Kept{seed: maphash.MakeSeed()} }

func (k *Kept) set(name []byte) *keptSet { return k.setOf(maphash.Bytes(k.seed, name)) }

func (k *Kept) setOf(hash uint64) *keptSet { return &k.sets[hash%keptSets] }

// again reports whether a name has been signed for before, as far as is known.
func (k *Kept) again(hash uint64) bool {
	last, own := &k.once[hash>>16%keptOnce], uint32(hash>>32)
	if last.Load() == own {
		return true
	}
	last.Store(own)
	return false
}

// get returns the denial at a name in a version of a zone, nil if there is none.
func (k *Kept) get(zone int, serial uint32, name []byte, now time.Time) *keptDenial {
	if k == nil {
		return nil
	}
	set := k.set(name)
	for i := range set {
		d := set[i].Load()
		if d == nil || d.zone != zone || d.serial != serial || d.name != string(name) || !now.Before(d.until) {
			continue
		}
		if !d.asked.Load() {
			d.asked.Store(true)
		}
		return d
	}
	return nil
}

// put keeps a denial, if its name has been put before, in the place of one that is of
// no use any more, or that has not been asked for since the last put: what is asked for
// seldom does not displace what is asked for often. If there is none, the denial is not
// kept.
func (k *Kept) put(i int, serial uint32, name []byte, authority []dns.RR, now time.Time) {
	if k == nil {
		return
	}
	hash := maphash.Bytes(k.seed, name)
	if !k.again(hash) {
		return
	}
	set := k.setOf(hash)
	free := -1
	for j := range set {
		d := set[j].Load()
		switch {
		case d == nil || d.zone == i && (d.serial != serial || d.name == string(name)):
			free = j
		case !d.asked.Swap(false) && free < 0:
			free = j
		}
	}
	if free < 0 {
		return
	}
	d := &keptDenial{zone: i, serial: serial, name: string(name), authority: authority}
	var err error
	if d.packed, err = zone.PackRecords(zone.AuthoritySection, authority...); err != nil {
		return
	}
	for _, rr := range authority {
		if sig, ok := rr.(*dns.RRSIG); ok {
			if until := now.Add(zone.Left(sig.Expiration, now) - sign.Margin); d.until.IsZero() || until.Before(d.until) {
				d.until = until
			}
		}
	}
	set[free].Store(d)
}
