package answer

import (
	"strings"
	"sync/atomic"

	clog "github.com/coredns/coredns/plugin/pkg/log"
	"github.com/miekg/dns"

	"coredns-smimea/plugin/internal/lane"
	"coredns-smimea/plugin/internal/neighbour"
	"coredns-smimea/plugin/internal/sign"
	"coredns-smimea/smimea/zone"
)

var log = clog.NewWithPlugin(neighbour.Self)

// A Direct answers questions of a block straight from their packets, octet for octet
// as [Block.Query] and the plugins above it would, where it can. It is for packets
// that have come over UDP.
type Direct struct {
	*Block
	// Size is the largest of replies in octets, where plugins above us bound them, too.
	Size int
	// Localhost: *local* stands above us and answers for names that begin so.
	Localhost bool
	// Ours says of each zone, and of each of its trees, whether the server gives
	// its names to this block.
	Ours [][3]bool
	// Others are names, in wire form and lower case, that others answer for, with
	// all below them.
	Others map[string]bool

	apexes []atomic.Pointer[packedApex] // by zone
}

// NewDirect returns a Direct for a block of as many zones as ours has.
func NewDirect(b *Block, size int, ours [][3]bool, others map[string]bool) *Direct {
	return &Direct{Block: b, Size: size, Ours: ours, Others: others, apexes: make([]atomic.Pointer[packedApex], len(ours))}
}

// packedApex is what a version of a zone has at its apex, packed.
type packedApex struct {
	zone            *zone.Zone
	soa, ns, denial zone.Records
}

// A packet is a question on its short way to a reply.
type packet struct {
	*lane.Query
	zone    *zone.Zone
	point   zone.Point
	name    zone.Name
	packing zone.Packing
	room    []byte // that the reply is appended to
	signs   bool   // a denial without a signature gets one
}

// Answer appends the reply to q to room, and returns which zone it is of. It reports
// false, for others to answer, if the question is none of ours, or needs another
// plugin or a new signature; with q.Granted if it is that of a denial, which [Direct.Sign]
// makes.
func (d *Direct) Answer(q *lane.Query, room []byte) (reply []byte, i int, result Result, ok bool) {
	return d.reply(&packet{Query: q, room: room})
}

// Sign is Answer that signs a denial, for which q has been granted leave.
func (d *Direct) Sign(q *lane.Query, room []byte) (reply []byte, i int, result Result, ok bool) {
	return d.reply(&packet{Query: q, room: room, signs: true})
}

func (d *Direct) reply(p *packet) (reply []byte, i int, result Result, ok bool) {
	q := p.Query
	p.point, ok = d.Index.Find(q.Name)
	if i = p.point.Zone; !ok || !d.Ours[i][p.point.Tree] || d.isOthers(q.Name) {
		return nil, 0, Failed, false
	}
	snap := d.Snapshot.Load()
	if snap == nil || snap.Zones[i] == nil {
		return nil, 0, Failed, false
	}
	p.zone = snap.Zones[i]
	p.name = p.zone.Lookup(p.point)
	signed := q.DO() && d.Signer.Signs(i)
	if signed && d.SignBelow {
		return nil, 0, Failed, false
	}
	p.packing = zone.Packing{
		ID: q.ID, Flags: q.Flags, Asked: q.Asked[1:], Type: q.Type,
		EDNS: q.EDNS, UDPSize: q.UDPSize, EDNSFlags: q.EDNSFlags,
		Signed: signed, Size: dns.MinMsgSize,
	}
	if q.EDNS {
		p.packing.UDPSize = min(q.UDPSize, uint16(d.Size))
		p.packing.Size = max(dns.MinMsgSize, int(p.packing.UDPSize))
	}
	reply, result, ok = d.answer(p)
	return reply, i, result, ok
}

func (d *Direct) answer(p *packet) (reply []byte, result Result, ok bool) {
	switch n := &p.name; {
	case n.Kind == zone.ServerName:
		return nil, Failed, false
	case n.Kind == zone.Owner && p.Type == n.Type():
		if d.TCPOnly && n.Tree == zone.Certs {
			return p.truncate()
		}
		if p.packing.Signed {
			p.packing.Keys, p.packing.Now, p.packing.Margin = d.Signer.Keys(p.point.Zone), p.Now, sign.Margin
		}
		reply, ok = n.AppendAnswer(p.room, &p.point, &p.packing)
		return reply, Answered, ok
	case n.Kind == zone.ApexName && !p.packing.Signed && p.Type == dns.TypeSOA:
		reply, ok = p.message(dns.RcodeSuccess, &d.apex(p).soa)
		return reply, Answered, ok
	case n.Kind == zone.ApexName && !p.packing.Signed && p.Type == dns.TypeNS:
		reply, ok = p.message(dns.RcodeSuccess, &d.apex(p).ns)
		return reply, Answered, ok
	default:
		return d.deny(p)
	}
}

// isOthers reports whether a name among ours is that of somebody else.
func (d *Direct) isOthers(name []byte) bool {
	if d.Localhost && strings.HasPrefix(string(name), "\x09localhost") {
		return true
	}
	if len(d.Others) == 0 {
		return false
	}
	for off := 0; name[off] != 0; off += 1 + int(name[off]) {
		if d.Others[string(name[off:])] {
			return true
		}
	}
	return false
}

// deny is [Query.deny] for what needs no signature, or has one already, or gets none.
func (d *Direct) deny(p *packet) (reply []byte, result Result, ok bool) {
	switch {
	case p.zone.Layout == zone.Beside: // whose SOA is another's
		return nil, Failed, false
	case d.Challenges != nil && p.point.Tree == zone.Rest && strings.HasPrefix(string(p.point.Rel), challengeLabel):
		return nil, Failed, false
	case p.name.Kind == zone.ApexName && (p.Type == dns.TypeSOA || p.Type == dns.TypeNS):
		return nil, Failed, false
	}
	switch p.Type {
	case dns.TypeNone, dns.TypeOPT, dns.TypeTSIG, dns.TypeTKEY, dns.TypeNXNAME, dns.TypeMAILA, dns.TypeMAILB, // see Query.improper
		dns.TypeAXFR, dns.TypeIXFR, dns.TypeANY, dns.TypeDS, dns.TypeDNSKEY, dns.TypeCDS, dns.TypeCDNSKEY, dns.TypeNSEC, dns.TypeRRSIG:
		return nil, Failed, false
	}
	rcode, result := dns.RcodeSuccess, NoData
	if p.name.Kind == zone.Absent {
		rcode, result = dns.RcodeNameError, NameError
	}
	if !p.packing.Signed {
		reply, ok = p.message(rcode, &d.apex(p).denial)
		return reply, result, ok
	}
	if p.EDNSFlags&flagCO == 0 {
		rcode = dns.RcodeSuccess // see Query.compact
	}
	switch k := d.Kept.get(p.point.Zone, p.zone.Serial, p.point.Name, p.Now); {
	case k != nil:
		reply, ok = p.message(rcode, &k.packed)
		return reply, result, ok
	case p.signs:
		records, err := d.signed(p)
		if err != nil {
			return nil, Failed, false // and the chain will say so
		}
		reply, ok = p.message(rcode, &records)
		return reply, result, ok
	case d.Denials.Take(p.Now):
		p.Granted = true
		return nil, Failed, false
	}
	return p.truncate()
}

// signed signs what denies a name, or its type.
func (d *Direct) signed(p *packet) (zone.Records, error) {
	soa := p.zone.SOA()
	soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl)
	nsec, proof, err := d.nsec(p.zone, &p.point, p.name, soa)
	if err != nil {
		return zone.Records{}, err
	}
	denial, err := d.authority(p.point.Zone, soa, nsec, proof)
	if err != nil {
		return zone.Records{}, err
	}
	d.Kept.put(p.point.Zone, p.zone.Serial, p.point.Name, denial, p.Now)
	return zone.PackRecords(zone.AuthoritySection, denial...)
}

// message appends a reply that the chain would write as a message. *prometheus* sees
// its size before CoreDNS adds the OPT record.
func (p *packet) message(rcode int, records *zone.Records) ([]byte, bool) {
	reply, length, ok := zone.AppendReply(p.room, p.point.Name, &p.packing, rcode, false, records)
	p.Size = withoutOPT(length, p.EDNS)
	return reply, ok && length <= fragmented
}

// truncate appends a reply that says to ask again over TCP.
func (p *packet) truncate() ([]byte, Result, bool) {
	reply, length, ok := zone.AppendReply(p.room, p.point.Name, &p.packing, dns.RcodeSuccess, true, &zone.Records{})
	p.Size = withoutOPT(length, p.EDNS)
	return reply, Truncated, ok
}

func withoutOPT(length int, isEDNS bool) int {
	if isEDNS {
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
func (d *Direct) apex(p *packet) *packedApex {
	of := &d.apexes[p.point.Zone]
	if a := of.Load(); a != nil && a.zone == p.zone {
		return a
	}
	a := &packedApex{zone: p.zone}
	soa := p.zone.SOA()
	var err error
	if a.soa, err = zone.PackRecords(zone.AnswerSection, soa); err == nil {
		soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl)
		a.denial, err = zone.PackRecords(zone.AuthoritySection, soa)
	}
	if err == nil {
		a.ns, err = zone.PackRecords(zone.AnswerSection, p.zone.NS()...)
	}
	if err != nil {
		log.Errorf("Packing the apex of %s: %v", p.zone.Origin, err) // not reached: it has been packed in messages
	}
	of.Store(a)
	return a
}
