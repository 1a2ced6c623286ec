package zone

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// ErrUnsigned is what [SignedZone.Next] says of a zone that does not yet have
// all the signatures of its records.
var ErrUnsigned = errors.New("the zone is not signed yet")

// A SignedZone makes the versions of one zone for secondaries that cannot sign, each from
// the last one: transferable zones with signatures and a chain. It signs the denials of
// names that come and go, and of their neighbours. It is for one goroutine.
type SignedZone struct {
	// Sign returns the signatures of an RRset.
	Sign func(rrset []dns.RR) ([]dns.RR, error)
	// Pause is called now and then, and ends the work with its error.
	Pause func() error
	// Margin is how long signatures have to be good for at least, and Renew how
	// long at most when they are made anew; Renew is longer by up to Spread, by
	// chance, so that signatures made together are not renewed together.
	Margin, Renew, Spread time.Duration

	last   *Transferable
	order  *order    // of last's chain
	looked time.Time // at all signatures of the chain
}

// lookEvery is how often all signatures of a chain are looked at.
const lookEvery = time.Hour

func (s *SignedZone) due(k Keys, now time.Time) bool {
	return s.last.Keys != k || now.Sub(s.looked) >= lookEvery
}

// Last returns the last transferable zone, nil if there is none.
func (s *SignedZone) Last() *Transferable { return s.last }

// Changed reports whether a zone has other records or other signatures than the
// last transferable zone, or whether that has signatures that are to be renewed at now.
func (s *SignedZone) Changed(z *Zone, k Keys, now time.Time) bool {
	if s.last == nil || s.last.Keys != k {
		return true
	}
	for range changes(&Transferable{Zone: s.last.Zone}, &Transferable{Zone: z}) {
		return true
	}
	for _, rr := range s.last.Apex {
		if sig, ok := rr.(*dns.RRSIG); ok && Left(sig.Expiration, now) < s.Renew {
			return true
		}
	}
	if s.due(k, now) {
		for hash, value := range s.last.Chain.table.All() {
			if s.stale(hash, value, k, now) {
				return true
			}
		}
		s.looked = now
	}
	return false
}

// Next makes the transferable zone of a zone's next version. Every record of the zone
// must have its signature, or the error is ErrUnsigned. Apex are further RRsets
// at the zone's apex, dnskey the one of its keys together with its signatures.
func (s *SignedZone) Next(z *Zone, k Keys, dnskey []dns.RR, apex [][]dns.RR, now time.Time) (*Transferable, error) {
	if !s.Ready(z, k, now) {
		return nil, ErrUnsigned
	}
	t := &Transferable{Zone: z, Keys: k}
	sets := slices.Concat([][]dns.RR{{z.SOA()}}, z.apexSets(), apex)
	types := []uint16{dns.TypeDNSKEY, dns.TypeRRSIG, dns.TypeNSEC3PARAM}
	for _, set := range sets {
		if h := set[0].Header(); h.Name == z.Origin {
			types = append(types, h.Rrtype)
		}
	}
	slices.Sort(types)
	// Not the SOA's minimum, which RFC 9077 section 3 wants: *dnssec* signs with an
	// original TTL of an hour, and dnssec-verify refuses a record with another TTL.
	// Resolvers that keep to RFC 9077 believe the denial for the minimum all the same.
	t.Chain = &Chain{zone: z.Place, apex: types, ttl: z.TTL}
	sets = append(sets, []dns.RR{t.Chain.param()})
	var err error
	if t.Apex, err = s.apex(sets, k, now); err != nil {
		return nil, err
	}
	for _, rr := range dnskey {
		rr = dns.Copy(rr)
		rr.Header().Ttl = z.TTL
		t.Apex = append(t.Apex, rr)
	}
	if err := s.chain(t, now); err != nil {
		s.last, s.order = nil, nil // what the order has got is in no transferable zone
		return nil, err
	}
	s.last = t
	return t, nil
}

// Ready reports whether every record that is new in a zone is signed, so that Next can
// make a version of it.
func (s *SignedZone) Ready(z *Zone, k Keys, now time.Time) bool {
	from := &Zone{}
	if s.last != nil && s.last.Keys == k {
		from = s.last.Zone
	}
	for _, change := range changes(&Transferable{Zone: from}, &Transferable{Zone: z}) {
		if n := node(change.New); !n.empty() && !fresh(n.signatures(), k, now, s.Margin) {
			return false
		}
	}
	return true
}

// apex signs RRsets, or keeps the signatures that the last transferable zone has of them,
// and returns all but the SOA itself.
func (s *SignedZone) apex(sets [][]dns.RR, k Keys, now time.Time) ([]dns.RR, error) {
	var all []dns.RR
	for _, set := range sets {
		sigs := s.kept(set, k, now)
		if sigs == nil {
			var err error
			if sigs, err = s.Sign(set); err != nil {
				return nil, fmt.Errorf("signing %s %s: %w", set[0].Header().Name, dns.Type(set[0].Header().Rrtype), err)
			}
		}
		if set[0].Header().Rrtype != dns.TypeSOA {
			all = append(all, set...)
		}
		all = append(all, sigs...)
	}
	return all, nil
}

// kept returns the signatures of an RRset in the last transferable zone, if they are the
// same records and the signatures are good for long enough.
func (s *SignedZone) kept(set []dns.RR, k Keys, now time.Time) []dns.RR {
	h := set[0].Header()
	if s.last == nil || s.last.Keys != k || h.Rrtype == dns.TypeSOA {
		return nil
	}
	var records, sigs []dns.RR
	for _, rr := range s.last.Apex {
		if rr.Header().Name != h.Name {
			continue
		}
		if sig, ok := rr.(*dns.RRSIG); !ok {
			if rr.Header().Rrtype == h.Rrtype {
				records = append(records, rr)
			}
		} else if sig.TypeCovered == h.Rrtype {
			if Left(sig.Expiration, now) < s.Renew {
				return nil
			}
			sigs = append(sigs, sig)
		}
	}
	if !sameRecords(records, set) {
		return nil
	}
	return sigs
}

// stale reports whether a link's signatures are to be made anew.
func (s *SignedZone) stale(hash, value []byte, k Keys, now time.Time) bool {
	early := time.Duration(hash[0]) * s.Spread / 256
	return !fresh(link(value).signatures(), k, now, s.Renew+early)
}

// chain makes the chain of a transferable zone from the last one's.
func (s *SignedZone) chain(t *Transferable, now time.Time) error {
	var last *Chain
	from := &Transferable{Zone: &Zone{}}
	if s.last != nil {
		last, from = s.last.Chain, &Transferable{Zone: s.last.Zone}
	} else {
		last, s.order = &Chain{}, newOrder()
	}
	edit := &chainEdit{table: last.table.Edit(), order: s.order}
	s.fixed(edit, t.Zone)
	if err := s.follow(edit, from, t.Zone); err != nil {
		return err
	}
	s.renew(edit, t, now)
	if err := s.signLinks(edit, t); err != nil {
		return err
	}
	t.Chain.table = edit.table.Table()
	return nil
}

// follow takes into the chain what has changed in the sub-trees between two versions.
func (s *SignedZone) follow(edit *chainEdit, from *Transferable, z *Zone) error {
	n := 0
	for section, change := range changes(from, &Transferable{Zone: z}) {
		if n++; n%1024 == 0 {
			if err := s.Pause(); err != nil {
				return err
			}
		}
		name := z.ownerWire(Tree(section), change.Key)
		switch now := node(change.New); {
		case change.New == nil:
			edit.remove(name)
		case now.empty():
			edit.set(name, 0)
		case section == certsSection:
			edit.set(name, linkSMIMEA)
		default:
			edit.set(name, linkTXT)
		}
	}
	return nil
}

// renew takes the signatures from those links of the last chain that need others: those
// that expire soon, and that of the apex, if there are other types there.
func (s *SignedZone) renew(edit *chainEdit, t *Transferable, now time.Time) {
	if s.last == nil {
		s.looked = now
		return
	}
	if apex := hashName(t.Zone.origin); !slices.Equal(t.Chain.apex, s.last.Chain.apex) {
		edit.unsign(apex)
	}
	if !s.due(t.Keys, now) {
		return
	}
	for hash, value := range s.last.Chain.table.All() {
		if s.stale(hash, value, t.Keys, now) {
			edit.unsign(hash)
		}
	}
	s.looked = now
}

// signLinks signs the links of a chain that have no signatures.
func (s *SignedZone) signLinks(edit *chainEdit, t *Transferable) error {
	for i, hash := range edit.dirty {
		if i%64 == 63 {
			if err := s.Pause(); err != nil {
				return err
			}
		}
		l := edit.get(hash[:])
		if l == nil || len(l.signatures()) > 0 {
			continue // gone again, or signed already
		}
		sigs, err := s.Sign([]dns.RR{t.Chain.record(hash[:], l)})
		if err != nil {
			return fmt.Errorf("signing a denial: %w", err)
		}
		stored, err := storeSignatures(t.Keys, sigs)
		if err != nil {
			return err
		}
		edit.table.Set(hash[:], newLink(l.next(), l.types(), stored))
	}
	return nil
}

// fixed puts the names into the chain that do not come and go with users, or
// only with the first and the last of them.
func (s *SignedZone) fixed(edit *chainEdit, z *Zone) {
	edit.set(z.origin, linkApex)
	for name, h := range z.servers {
		var types linkTypes
		if len(h.rrs[dns.TypeA]) > 0 {
			types |= linkA
		}
		if len(h.rrs[dns.TypeAAAA]) > 0 {
			types |= linkAAAA
		}
		edit.set([]byte(name), types)
	}
	for root, tree := range z.trees {
		switch {
		case root == string(z.origin):
		case z.owners[tree] > 0:
			edit.set([]byte(root), 0)
		case z.servers[root] == nil:
			edit.remove([]byte(root))
		}
	}
}
