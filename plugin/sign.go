package plugin

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/coredns/coredns/plugin/dnssec"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"

	"coredns-smimea/smimea/zone"
)

// notWithin is how long before its expiration a signature goes out no more.
const notWithin = 2 * 24 * time.Hour

// A signer has *dnssec* sign: its keys, its plugin, through what it exports.
type signer struct {
	dnssec dnssec.Dnssec
	places []*zone.Place
	keys   []zone.Keys // by zone; no Signer: the zone is not signed
	tags   [][]uint16  // by zone: of the keys that sign its records
	extras [][]dns.RR  // by zone: CDS and CDNSKEY records
	// identity is a digest of all public keys: another one, other signatures.
	identity [32]byte
	apex     []atomic.Pointer[signedSOA] // by zone
	denials  *bucket
	kept     *keptDenials
}

// signedSOA is a zone's SOA record as it stands in denials, and its signatures.
type signedSOA struct {
	soa  dns.SOA
	sigs []dns.RR
}

// newSigner asks *dnssec* for which of the zones it signs, and with which keys.
func newSigner(d dnssec.Dnssec, places []*zone.Place, denials int, withCDS bool) *signer {
	s := &signer{
		dnssec:  d,
		places:  places,
		tags:    make([][]uint16, len(places)),
		extras:  make([][]dns.RR, len(places)),
		keys:    make([]zone.Keys, len(places)),
		apex:    make([]atomic.Pointer[signedSOA], len(places)),
		denials: newBucket(denials),
		kept:    newKeptDenials(),
	}
	h := sha256.New()
	for i, p := range places {
		probe := &dns.TXT{Hdr: dns.RR_Header{Name: p.Origin, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 1}, Txt: []string{"probe"}}
		sigs, err := s.sign([]dns.RR{probe})
		if err != nil {
			continue
		}
		s.keys[i].Signer = sigs[0].(*dns.RRSIG).SignerName
		for _, sig := range sigs {
			fmt.Fprintln(h, i, s.keys[i].Signer, sig.(*dns.RRSIG).KeyTag)
			s.tags[i] = append(s.tags[i], sig.(*dns.RRSIG).KeyTag)
		}
		if reply := ask(context.Background(), d, s.keys[i].Signer, dns.TypeDNSKEY); reply != nil {
			for _, key := range reply.Answer {
				fmt.Fprintln(h, key)
			}
			if withCDS && p.Layout == zone.SubZone && s.atApex(i) {
				s.extras[i] = s.cds(i, reply.Answer)
			}
		}
	}
	h.Sum(s.identity[:0])
	return s
}

// signs reports whether a zone is signed.
func (s *signer) signs(zone int) bool { return s != nil && s.keys[zone].Signer != "" }

var errNotSigned = errors.New("dnssec has not signed")

// sign returns the signatures of one RRset.
func (s *signer) sign(rrset []dns.RR) ([]dns.RR, error) {
	// *dnssec* signs every RRset of a positive answer with the keys of the
	// zone that its owner is in. (A denial it would sign in its own way.)
	m := &dns.Msg{Answer: slices.Clip(rrset)}
	m = s.dnssec.Sign(request.Request{Req: m}, time.Now().UTC(), name)
	sigs := m.Answer[len(rrset):]
	if len(sigs) == 0 {
		return nil, errNotSigned
	}
	return sigs, nil
}

// soa returns the signatures of a zone's SOA record, which every denial has.
func (s *signer) soa(zone int, soa *dns.SOA) ([]dns.RR, error) {
	if last := s.apex[zone].Load(); last != nil && last.soa == *soa && fresh(last.sigs) {
		return last.sigs, nil
	}
	sigs, err := s.sign([]dns.RR{soa})
	if err == nil {
		s.apex[zone].Store(&signedSOA{*soa, slices.Clip(sigs)})
	}
	return sigs, err
}

func fresh(sigs []dns.RR) bool {
	now := time.Now().UTC()
	for _, rr := range sigs {
		if sig := rr.(*dns.RRSIG); !sig.ValidityPeriod(now) || !sig.ValidityPeriod(now.Add(notWithin)) {
			return false
		}
	}
	return true
}
