package sign

import (
	"context"
	"slices"
	"strings"

	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"

	"coredns-smimea/plugin/internal/neighbour"
	"coredns-smimea/smimea/zone"
)

// dsLogged is up to how many zones of a block have their DS records logged.
const dsLogged = 10

// DNSKEY returns a zone's keys, and, if that is asked for, the signatures of them,
// which follow them. They are copies: *dnssec* shares its own with everybody.
func (s *Signer) DNSKEY(origin string, signed bool) []dns.RR {
	var h plugin.Handler = s.dnssec
	if signed {
		h = plugin.HandlerFunc(func(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
			r.SetEdns0(4096, true)
			return s.dnssec.ServeDNS(ctx, w, r)
		})
	}
	reply := neighbour.Ask(context.Background(), h, origin, dns.TypeDNSKEY)
	if reply == nil {
		return nil
	}
	return Copies(reply.Answer)
}

// Copies returns copies of records: plugins above us, and dns.PackRR, write to what
// they get, so that a record that is shared must not go out of our hands.
func Copies(rrs []dns.RR) []dns.RR {
	if len(rrs) == 0 {
		return nil
	}
	own := make([]dns.RR, len(rrs))
	for i, rr := range rrs {
		own[i] = dns.Copy(rr)
	}
	return own
}

// entryPoints returns the keys that a parent is to point to: those with the SEP
// bit, and where none has it, all.
func entryPoints(keys []dns.RR) []*dns.DNSKEY {
	var all, sep []*dns.DNSKEY
	for _, rr := range keys {
		if key, ok := rr.(*dns.DNSKEY); ok {
			if all = append(all, key); key.Flags&dns.SEP != 0 {
				sep = append(sep, key)
			}
		}
	}
	if len(sep) > 0 {
		return sep
	}
	return all
}

// cds returns the CDS and the CDNSKEY records by which a parent that looks for
// them gets its DS record (RFC 7344). They must have the signature of a key that
// they name (section 4.1): where *dnssec* has a KSK for the DNSKEY records and a
// ZSK for all others, there can be none.
func (s *Signer) cds(zone int, keys []dns.RR) []dns.RR {
	p := s.places[zone]
	var digests, whole []dns.RR
	for _, key := range entryPoints(keys) {
		if !slices.Contains(s.tags[zone], key.KeyTag()) {
			log.Infof("The zone %s has no CDS records: *dnssec* would sign them with a ZSK, and parents want a KSK's signature. With a single key that signs everything there are some", p.Origin)
			return nil
		}
	}
	header := dns.RR_Header{Name: p.Origin, Class: dns.ClassINET, Ttl: p.TTL}
	for _, key := range entryPoints(keys) {
		if ds := key.ToDS(dns.SHA256); ds != nil {
			c := ds.ToCDS()
			c.Hdr = header
			c.Hdr.Rrtype = dns.TypeCDS
			digests = append(digests, c)
			k := key.ToCDNSKEY()
			k.Hdr = header
			k.Hdr.Rrtype = dns.TypeCDNSKEY
			whole = append(whole, k)
		}
	}
	for _, key := range Copies(keys) { // a zone file with CDS records and no DNSKEY is refused
		key.Header().Ttl = p.TTL
		whole = append(whole, key)
	}
	return append(digests, whole...)
}

// Extra returns what a zone has at its apex beside SOA and NS: its DNSKEY, CDS and
// CDNSKEY records, if it has CDS records. They are copies.
func (s *Signer) Extra(zone int) []dns.RR {
	if s == nil {
		return nil
	}
	return Copies(s.extras[zone])
}

// ExtraTypes returns the types at a signed zone's apex beside SOA and NS.
func (s *Signer) ExtraTypes(zone int) []uint16 {
	types := []uint16{dns.TypeDNSKEY}
	for _, rr := range s.extras[zone] {
		if t := rr.Header().Rrtype; !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	return types
}

// ExtraOf returns those of Extra's records that have a type: copies.
func (s *Signer) ExtraOf(zone int, rrtype uint16) []dns.RR {
	if s == nil {
		return nil
	}
	return Copies(slices.DeleteFunc(slices.Clone(s.extras[zone]), func(rr dns.RR) bool { return rr.Header().Rrtype != rrtype }))
}

// LogDS tells the operator what to put into the zones above.
func (s *Signer) LogDS() {
	n := 0
	for i, p := range s.places {
		if !s.AtApex(i) || p.Layout == zone.Beside {
			continue
		}
		if n++; n > dsLogged {
			continue
		}
		for _, key := range entryPoints(s.DNSKEY(p.Origin, false)) {
			if ds := key.ToDS(dns.SHA256); ds != nil {
				ds.Hdr.Ttl = 3600
				log.Infof("The zone above %s is to have: %s", p.Origin, strings.ReplaceAll(ds.String(), "\t", " "))
			}
		}
	}
	if n > dsLogged {
		log.Infof("DS records of %d more zones: ask each for CDS", n-dsLogged)
	}
}
