package plugin

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"

	"coredns-smimea/plugin/internal/lane"
	"coredns-smimea/smimea/zone"
)

// A laneBlock answers in a fast lane for the zones of a block, as ServeDNS would.
type laneBlock struct {
	*SMIMEA
	size   int  // the largest of replies
	local  bool // *local* answers for some names
	routed [][3]bool
	stops  map[string]bool
	apexes []atomic.Pointer[laneApex] // by zone
}

// laneApex is what a version of a zone has at its apex, packed.
type laneApex struct {
	zone            *zone.Zone
	soa, ns, denial zone.Records
}

// route finds out which of the block's names the server of these sites gives to
// the block: a site of the longest zone that a name lies in gets the query.
func (b *laneBlock) route(all []site) string {
	b.routed, b.stops = make([][3]bool, len(b.places)), map[string]bool{}
	stop := func(name string) error {
		wire, err := zone.Wire(name)
		if err == nil {
			b.stops[string(wire)] = true
		}
		return err
	}
	for _, name := range append(b.life.challenged, b.config.catalog) {
		if name == "" {
			continue
		}
		if err := stop(name); err != nil {
			return err.Error()
		}
	}
	for i, p := range b.places {
		for tree, root := range [3]string{zone.Certs: "_smimecert." + p.Domain + ".", zone.Texts: "_smime." + p.Domain + ".", zone.Rest: p.Origin} {
			var longest *site
			for k := range all {
				t := &all[k]
				if plugin.Name(t.Zone).Matches(root) && (longest == nil || len(t.Zone) > len(longest.Zone)) {
					longest = t
				}
			}
			b.routed[i][tree] = longest != nil && longest.ours == b.SMIMEA
		}
		for k := range all {
			t := &all[k]
			switch {
			case t.ours == b.SMIMEA || !plugin.Name(p.Origin).Matches(t.Zone):
			case t.Zone == p.Origin && b.routed[i][zone.Rest]:
				return fmt.Sprintf("another block serves %s, too", t.Zone)
			case t.Zone != p.Origin:
				if err := stop(t.Zone); err != nil {
					return err.Error()
				}
			}
		}
	}
	return ""
}

// Answer implements lane.Block.
func (b *laneBlock) Answer(q *lane.Query, room []byte) ([]byte, bool) {
	point, ok := b.index.Find(q.Name)
	if !ok || !b.routed[point.Zone][point.Tree] || b.others(q.Name) {
		return nil, false
	}
	snap := b.publisher.current.Load()
	if snap == nil {
		return nil, false
	}
	z := snap.zones[point.Zone]
	n := z.Lookup(point)
	signed := q.DO() && b.signer.signs(point.Zone)
	if signed && b.signBelow {
		return nil, false
	}
	o := zone.Packing{
		ID: q.ID, Flags: q.Flags, Asked: q.Asked[1:], Type: q.Type,
		EDNS: q.EDNS, UDPSize: q.UDPSize, EDNSFlags: q.EDNSFlags,
		Signed: signed, Size: dns.MinMsgSize,
	}
	if q.EDNS {
		o.UDPSize = min(o.UDPSize, uint16(b.size))
		o.Size = max(o.Size, int(o.UDPSize))
	}
	var (
		reply  []byte
		result = answered
	)
	switch {
	case n.Kind == zone.HostName:
		return nil, false
	case n.Kind == zone.Owner && q.Type == n.Type():
		if b.config.tcpOnly && n.Tree == zone.Certs {
			reply, result, ok = b.truncate(q, room, &point, &o)
			break
		}
		if signed {
			o.Keys, o.Now, o.Margin = b.signer.keys[point.Zone], q.Now, notWithin
		}
		reply, ok = n.AppendAnswer(room, &point, &o)
	case n.Kind == zone.ApexName && !signed && (q.Type == dns.TypeSOA || q.Type == dns.TypeNS):
		apex := b.apex(point.Zone, z)
		records := &apex.soa
		if q.Type == dns.TypeNS {
			records = &apex.ns
		}
		reply, ok = b.message(q, room, &point, &o, dns.RcodeSuccess, records)
	default:
		reply, result, ok = b.deny(q, room, z, &n, &point, &o)
	}
	if !ok {
		return nil, false
	}
	b.publisher.queries.Add(1)
	b.counters[point.Zone][typeIndex(q.Type)][result].Inc()
	return reply, true
}

// others reports whether a name among ours is that of somebody else.
func (b *laneBlock) others(name []byte) bool {
	if b.local && strings.HasPrefix(string(name), "\x09localhost") {
		return true
	}
	if len(b.stops) == 0 {
		return false
	}
	for off := 0; name[off] != 0; off += 1 + int(name[off]) {
		if b.stops[string(name[off:])] {
			return true
		}
	}
	return false
}

// deny is query.deny for what needs no signature, or has one already, or gets none.
func (b *laneBlock) deny(q *lane.Query, room []byte, z *zone.Zone, n *zone.Name, point *zone.Point, o *zone.Packing) ([]byte, result, bool) {
	switch {
	case z.Layout == zone.Beside: // whose SOA is another's
		return nil, failed, false
	case b.acme && point.Tree == zone.Rest && strings.HasPrefix(string(point.Rel), "\x0f_acme-challenge"):
		return nil, failed, false
	case n.Kind == zone.ApexName && (q.Type == dns.TypeSOA || q.Type == dns.TypeNS):
		return nil, failed, false
	}
	switch q.Type {
	case dns.TypeNone, dns.TypeOPT, dns.TypeTSIG, dns.TypeTKEY, dns.TypeNXNAME, dns.TypeMAILA, dns.TypeMAILB,
		dns.TypeAXFR, dns.TypeIXFR, dns.TypeANY, dns.TypeDS, dns.TypeDNSKEY, dns.TypeCDS, dns.TypeCDNSKEY, dns.TypeNSEC, dns.TypeRRSIG:
		return nil, failed, false
	}
	rcode, result := dns.RcodeSuccess, noData
	if n.Kind == zone.Absent {
		rcode, result = dns.RcodeNameError, nameError
	}
	if !o.Signed {
		reply, ok := b.message(q, room, point, o, rcode, &b.apex(point.Zone, z).denial)
		return reply, result, ok
	}
	if d := b.signer.kept.get(point.Zone, z.Serial, point.Name, q.Now); d != nil {
		if o.EDNSFlags&flagCO == 0 { // see query.compact
			rcode = dns.RcodeSuccess
		}
		reply, ok := b.message(q, room, point, o, rcode, &d.packed)
		return reply, result, ok
	}
	if !b.signer.denials.take(q.Now) {
		return b.truncate(q, room, point, o)
	}
	q.Granted = true
	return nil, failed, false
}

// message appends a reply that the chain would write as a message. *prometheus* sees
// its size before CoreDNS adds the OPT record.
func (b *laneBlock) message(q *lane.Query, room []byte, point *zone.Point, o *zone.Packing, rcode int, records *zone.Records) ([]byte, bool) {
	reply, length, ok := zone.AppendReply(room, point.Name, o, rcode, false, records)
	q.Size = withoutOPT(length, o)
	return reply, ok && length <= fragmented
}

// truncate appends a reply that says to ask again over TCP.
func (b *laneBlock) truncate(q *lane.Query, room []byte, point *zone.Point, o *zone.Packing) ([]byte, result, bool) {
	reply, length, ok := zone.AppendReply(room, point.Name, o, dns.RcodeSuccess, true, &zone.Records{})
	q.Size = withoutOPT(length, o)
	return reply, truncated, ok
}

func withoutOPT(length int, o *zone.Packing) int {
	if o.EDNS {
		length -= 11
	}
	return length
}

// flagCO is Compact Answers OK among the flags of OPT (RFC 9824 section 5).
const flagCO = 1 << 14

// fragmented is the size from which CoreDNS compresses messages that would do
// without (request.Request.Scrub), the lesser of IPv4's and IPv6's.
const fragmented = 1220

// apex returns a zone's own records, packed once for each of its versions.
func (b *laneBlock) apex(i int, z *zone.Zone) *laneApex {
	if a := b.apexes[i].Load(); a != nil && a.zone == z {
		return a
	}
	a := &laneApex{zone: z}
	soa := z.SOA()
	var err error
	if a.soa, err = zone.PackRecords(zone.AnswerSection, soa); err == nil {
		soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl)
		a.denial, err = zone.PackRecords(zone.AuthoritySection, soa)
	}
	if err == nil {
		a.ns, err = zone.PackRecords(zone.AnswerSection, z.NS()...)
	}
	if err != nil {
		log.Errorf("Packing the apex of %s: %v", z.Origin, err) // not reached: it has been packed in messages
	}
	b.apexes[i].Store(a)
	return a
}
