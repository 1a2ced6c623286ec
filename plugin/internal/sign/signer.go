// Package sign has *dnssec* sign what the zones hold: for a query, and ahead of
// queries.
//
// The word has one meaning a name here: a [Signer] makes signatures with the keys
// of a *dnssec*, and [Ahead] has it make them before they are asked for.
package sign

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/coredns/coredns/plugin/dnssec"
	"github.com/coredns/coredns/plugin/pkg/cache"
	clog "github.com/coredns/coredns/plugin/pkg/log"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"

	"coredns-smimea/plugin/internal/neighbour"
	"coredns-smimea/smimea/zone"
)

var log = clog.NewWithPlugin(neighbour.Self)

const (
	// Margin is how long before its expiration a signature goes out no more.
	Margin = 2 * 24 * time.Hour
	// Signatures are made anew when less than RenewBefore is left of their eight
	// days; earlier by up to RenewSpread, so that not all are due at once.
	RenewBefore = 3 * 24 * time.Hour
	RenewSpread = 3 * 24 * time.Hour
	// RenewEvery is how often they are looked through.
	RenewEvery = time.Hour
)

// A Signer has *dnssec* sign: its keys, its plugin, through what it exports. It is
// for all goroutines, and a nil one signs nothing.
type Signer struct {
	dnssec dnssec.Dnssec
	now    func() time.Time
	places []*zone.Place
	keys   []zone.Keys // by zone; no Signer: the zone is not signed
	tags   [][]uint16  // by zone: of the keys that sign its records
	extras [][]dns.RR  // by zone: DNSKEY, CDS and CDNSKEY records; shared, and never written
	// identity is a digest of all public keys: another one, other signatures.
	identity [32]byte
	soas     []atomic.Pointer[signedSOA] // by zone
}

// signedSOA is a zone's SOA record as it stands in denials, and its signatures.
type signedSOA struct {
	soa  dns.SOA
	sigs []dns.RR
}

// New asks *dnssec* for which of the zones it signs, and with which keys. Now tells
// the time.
func New(d dnssec.Dnssec, places []*zone.Place, withCDS bool, now func() time.Time) *Signer {
	s := &Signer{
		dnssec: d,
		now:    now,
		places: places,
		tags:   make([][]uint16, len(places)),
		extras: make([][]dns.RR, len(places)),
		keys:   make([]zone.Keys, len(places)),
		soas:   make([]atomic.Pointer[signedSOA], len(places)),
	}
	h := sha256.New()
	for i, p := range places {
		probe := &dns.TXT{Hdr: dns.RR_Header{Name: p.Origin, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 1}, Txt: []string{"probe"}}
		sigs, err := s.Sign([]dns.RR{probe})
		if err != nil {
			continue
		}
		s.keys[i].Signer = sigs[0].(*dns.RRSIG).SignerName
		for _, sig := range sigs {
			fmt.Fprintln(h, i, s.keys[i].Signer, sig.(*dns.RRSIG).KeyTag)
			s.tags[i] = append(s.tags[i], sig.(*dns.RRSIG).KeyTag)
		}
		if reply := neighbour.Ask(context.Background(), d, s.keys[i].Signer, dns.TypeDNSKEY); reply != nil {
			for _, key := range reply.Answer {
				fmt.Fprintln(h, key)
			}
			if withCDS && p.Layout == zone.SubZone && s.AtApex(i) {
				s.extras[i] = s.cds(i, reply.Answer)
			}
		}
	}
	h.Sum(s.identity[:0])
	return s
}

// ownCache is how many signatures our own *dnssec* keeps; ours are kept elsewhere.
const ownCache = 10_000

// DNSSEC returns a *dnssec* for zones that the Corefile does not name, which
// that in the block therefore knows nothing of.
func DNSSEC(keys []*dnssec.DNSKEY, zones []string) dnssec.Dnssec {
	ksk, zsk := false, false
	for _, key := range keys {
		if key.K.Flags&1 != 0 {
			ksk = true
		} else {
			zsk = true
		}
	}
	return dnssec.New(zones, keys, ksk && zsk, nil, cache.New[[]dns.RR](ownCache))
}

// Signs reports whether a zone is signed.
func (s *Signer) Signs(zone int) bool { return s != nil && s.keys[zone].Signer != "" }

// AtApex reports whether a zone has keys of its own: *dnssec* may also sign it
// as a part of a zone above.
func (s *Signer) AtApex(zone int) bool {
	return s.Signs(zone) && s.keys[zone].Signer == s.places[zone].Origin
}

// Keys returns the keys whose signatures of a zone are good; zero without any.
func (s *Signer) Keys(i int) zone.Keys {
	if s == nil {
		return zone.Keys{}
	}
	return s.keys[i]
}

// SameKeys reports whether two signers sign with the same keys; nil has none.
func (s *Signer) SameKeys(other *Signer) bool {
	if s == nil || other == nil {
		return s == other
	}
	return s.identity == other.identity
}

// Number gives the keys their generation, before the signer is used.
func (s *Signer) Number(generation uint8) {
	for i := range s.keys {
		s.keys[i].Generation = generation
	}
}

// Generation returns what Number has given.
func (s *Signer) Generation() uint8 {
	if s == nil || len(s.keys) == 0 {
		return 0
	}
	return s.keys[0].Generation
}

var errNotSigned = errors.New("dnssec has not signed")

// Sign returns the signatures of one RRset.
func (s *Signer) Sign(rrset []dns.RR) ([]dns.RR, error) {
	// *dnssec* signs every RRset of a positive answer with the keys of the
	// zone that its owner is in. (A denial it would sign in its own way.)
	m := &dns.Msg{Answer: slices.Clip(rrset)}
	m = s.dnssec.Sign(request.Request{Req: m}, s.now().UTC(), neighbour.Self)
	sigs := m.Answer[len(rrset):]
	if len(sigs) == 0 {
		return nil, errNotSigned
	}
	return sigs, nil
}

// SOA returns the signatures of a zone's SOA record, which every denial has.
func (s *Signer) SOA(zone int, soa *dns.SOA) ([]dns.RR, error) {
	if last := s.soas[zone].Load(); last != nil && last.soa == *soa && fresh(last.sigs, s.now().UTC()) {
		return Copies(last.sigs), nil
	}
	sigs, err := s.Sign([]dns.RR{soa})
	if err == nil {
		s.soas[zone].Store(&signedSOA{*soa, Copies(sigs)})
	}
	return sigs, err
}

func fresh(sigs []dns.RR, now time.Time) bool {
	for _, rr := range sigs {
		if sig := rr.(*dns.RRSIG); !sig.ValidityPeriod(now) || !sig.ValidityPeriod(now.Add(Margin)) {
			return false
		}
	}
	return true
}

// ServeKeys answers a question for the DNSKEY records of a zone.
func (s *Signer) ServeKeys(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	return s.dnssec.ServeDNS(ctx, w, r)
}
