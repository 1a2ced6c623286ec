package zone

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/internal/table"
	"coredns-smimea/smimea"
)

// ErrUnsigned is what [Presigner.Next] says of a zone that does not yet have
// all the signatures of its records.
var ErrUnsigned = errors.New("the zone is not signed yet")

// A Presigner makes signed transferable zones of one zone, each from the last one: it
// signs the denials of names that come and go, and of their neighbours. It is
// for one goroutine.
type Presigner struct {
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

func (p *Presigner) due(k Keys, now time.Time) bool {
	return p.last.Keys != k || now.Sub(p.looked) >= lookEvery
}

// Last returns the last transferable zone, nil if there is none.
func (p *Presigner) Last() *Transferable { return p.last }

// Changed reports whether a zone has other records or other signatures than the
// last transferable zone, or whether that has signatures that are to be renewed at now.
func (p *Presigner) Changed(z *Zone, k Keys, now time.Time) bool {
	if p.last == nil || p.last.Keys != k {
		return true
	}
	for range changes(&Transferable{Zone: p.last.Zone}, &Transferable{Zone: z}) {
		return true
	}
	for _, rr := range p.last.Apex {
		if sig, ok := rr.(*dns.RRSIG); ok && !p.lasts(sig, now, p.Renew) {
			return true
		}
	}
	if p.due(k, now) {
		for hash, value := range p.last.Chain.table.All() {
			if p.stale(hash, value, k, now) {
				return true
			}
		}
		p.looked = now
	}
	return false
}

// Next makes the transferable zone of a zone's next version. Every record of the zone
// must have its signature, or the error is ErrUnsigned. Apex are further RRsets
// at the zone's apex, dnskey the one of its keys together with its signatures.
func (p *Presigner) Next(z *Zone, k Keys, dnskey []dns.RR, apex [][]dns.RR, now time.Time) (*Transferable, error) {
	if err := p.check(z, k, now); err != nil {
		return nil, err
	}
	e := &Transferable{Zone: z, Keys: k}
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
	e.Chain = &Chain{zone: z.Place, apex: types, ttl: z.TTL}
	sets = append(sets, []dns.RR{e.Chain.param()})
	var err error
	if e.Apex, err = p.apex(sets, k, now); err != nil {
		return nil, err
	}
	for _, rr := range dnskey {
		rr = dns.Copy(rr)
		rr.Header().Ttl = z.TTL
		e.Apex = append(e.Apex, rr)
	}
	if err := p.chain(e, now); err != nil {
		p.last, p.order = nil, nil // what the order has got is in no transferable zone
		return nil, err
	}
	p.last = e
	return e, nil
}

// Signed reports whether every record that is new in a zone is signed.
func (p *Presigner) Signed(z *Zone, k Keys, now time.Time) bool { return p.check(z, k, now) == nil }

// check looks whether every record that is new in a zone is signed.
func (p *Presigner) check(z *Zone, k Keys, now time.Time) error {
	from := &Transferable{Zone: &Zone{}}
	if p.last != nil && p.last.Keys == k {
		from = p.last
	}
	for _, change := range changes(&Transferable{Zone: from.Zone}, &Transferable{Zone: z}) {
		if n := node(change.New); !n.empty() && !fresh(n.signatures(), k, now, p.Margin) {
			return ErrUnsigned
		}
	}
	return nil
}

// apex signs RRsets, or keeps the signatures that the last transferable zone has of them,
// and returns all but the SOA itself.
func (p *Presigner) apex(sets [][]dns.RR, k Keys, now time.Time) ([]dns.RR, error) {
	var all []dns.RR
	for _, set := range sets {
		sigs := p.kept(set, k, now)
		if sigs == nil {
			var err error
			if sigs, err = p.Sign(set); err != nil {
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
func (p *Presigner) kept(set []dns.RR, k Keys, now time.Time) []dns.RR {
	h := set[0].Header()
	if p.last == nil || p.last.Keys != k || h.Rrtype == dns.TypeSOA {
		return nil
	}
	var records, sigs []dns.RR
	for _, rr := range p.last.Apex {
		if rr.Header().Name != h.Name {
			continue
		}
		if sig, ok := rr.(*dns.RRSIG); !ok {
			if rr.Header().Rrtype == h.Rrtype {
				records = append(records, rr)
			}
		} else if sig.TypeCovered == h.Rrtype {
			if !p.lasts(sig, now, p.Renew) {
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

func (p *Presigner) lasts(sig *dns.RRSIG, now time.Time, margin time.Duration) bool {
	return int32(sig.Expiration-uint32(now.Unix())) >= int32(margin/time.Second)
}

// stale reports whether a link's signatures are to be made anew.
func (p *Presigner) stale(hash, value []byte, k Keys, now time.Time) bool {
	early := time.Duration(hash[0]) * p.Spread / 256
	return !fresh(link(value).signatures(), k, now, p.Renew+early)
}

// chain makes a transferable zone's chain of the last one's.
func (p *Presigner) chain(e *Transferable, now time.Time) error {
	var old *table.Table
	from := &Transferable{Zone: &Zone{}}
	if p.last != nil {
		old, from = p.last.Chain.table, &Transferable{Zone: p.last.Zone}
	} else {
		p.order = newOrder()
	}
	edit := &chainEdit{table: old.Edit(), order: p.order}
	z := e.Zone
	p.fixed(edit, z)
	n := 0
	for tree, change := range changes(from, &Transferable{Zone: z}) {
		if n++; n%1024 == 0 {
			if err := p.Pause(); err != nil {
				return err
			}
		}
		name := z.ownerWire(tree, change.Key)
		switch now := node(change.New); {
		case change.New == nil:
			edit.remove(name)
		case now.empty():
			edit.set(name, 0)
		case tree == Certs:
			edit.set(name, linkSMIMEA)
		default:
			edit.set(name, linkTXT)
		}
	}
	if p.last != nil {
		// Signatures that end, or whose types at the apex have changed.
		if apex := hashName(z.origin); !slices.Equal(e.Chain.apex, p.last.Chain.apex) {
			l := edit.get(apex)
			edit.put(apex, newLink(l.next(), l.types(), nil))
		}
		if p.due(e.Keys, now) {
			for hash, value := range old.All() {
				if p.stale(hash, value, e.Keys, now) {
					if l := edit.get(hash); l != nil {
						edit.put(hash, newLink(l.next(), l.types(), nil))
					}
				}
			}
			p.looked = now
		}
	} else {
		p.looked = now
	}
	for i, hash := range edit.dirty {
		if i%64 == 63 {
			if err := p.Pause(); err != nil {
				return err
			}
		}
		l := edit.get(hash[:])
		if l == nil || len(l.signatures()) > 0 {
			continue // gone again, or signed already
		}
		sigs, err := p.Sign([]dns.RR{e.Chain.record(hash[:], l)})
		if err != nil {
			return fmt.Errorf("signing a denial: %w", err)
		}
		var stored []byte
		for _, rr := range sigs {
			if stored, err = appendSignature(stored, e.Keys, rr.(*dns.RRSIG)); err != nil {
				return err
			}
		}
		edit.table.Set(hash[:], newLink(l.next(), l.types(), stored))
	}
	e.Chain.table = edit.table.Table()
	return nil
}

// fixed puts the names into the chain that do not come and go with users, or
// only with the first and the last of them.
func (p *Presigner) fixed(edit *chainEdit, z *Zone) {
	edit.set(z.origin, linkApex)
	for name, h := range z.hosts {
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
		case z.hosts[root] == nil:
			edit.remove([]byte(root))
		}
	}
}

// ownerWire returns the owner of a table's key in wire form.
func (z *Zone) ownerWire(tree Tree, key []byte) []byte {
	if tree == Certs {
		return appendName(make([]byte, 0, smimea.MaxName), z.owner(tree, key))
	}
	root, _ := Wire(z.suffix[tree])
	return append(bytes.Clone(key), root...)
}

func appendName(dst []byte, name string) []byte {
	wire, err := AppendWire(dst, name)
	if err != nil {
		return dst // not reached: it has been a name before
	}
	return wire
}
