package plugin

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"

	"coredns-smimea/smimea/zone"
)

// A catalog is a zone that lists the zones of a block (RFC 9432), for secondaries
// that take up what is listed.
type catalog struct {
	origin  string // lower case, final dot
	members []string
	soa     dns.SOA
}

// catalogs are those that this process has served, by origin. A catalog's serial
// comes from the clock when its members change: nothing else dates a list.
var catalogs = struct {
	sync.Mutex
	served map[string]servedCatalog
}{served: map[string]servedCatalog{}}

type servedCatalog struct {
	sum    [sha256.Size]byte
	serial uint32
}

func newCatalog(origin string, c *config, members []string) *catalog {
	slices.Sort(members)
	k := &catalog{origin: origin, members: members}
	k.soa = dns.SOA{
		Hdr:     dns.RR_Header{Name: origin, Rrtype: dns.TypeSOA, Class: dns.ClassINET},
		Ns:      "invalid.",
		Mbox:    "invalid.",
		Refresh: seconds(c.refresh),
		Retry:   seconds(c.retry),
		Expire:  2147483646, // the zones' own say when they expire: RFC 9432 section 7
	}
	sum := sha256.Sum256(fmt.Append(nil, members, k.soa))
	catalogs.Lock()
	defer catalogs.Unlock()
	last := catalogs.served[origin]
	k.soa.Serial = serialAt(time.Now())
	switch {
	case last.sum == sum:
		k.soa.Serial = last.serial
	case last.serial != 0 && int32(k.soa.Serial-last.serial) <= 0:
		k.soa.Serial = max(1, last.serial+1)
	}
	catalogs.served[origin] = servedCatalog{sum, k.soa.Serial}
	return k
}

func (k *catalog) header(name string, rtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: name + k.origin, Rrtype: rtype, Class: dns.ClassINET}
}

// apex returns the records of a type at the apex.
func (k *catalog) apex(qtype uint16) []dns.RR {
	switch qtype {
	case dns.TypeSOA:
		soa := k.soa
		return []dns.RR{&soa}
	case dns.TypeNS:
		return []dns.RR{&dns.NS{Hdr: k.header("", dns.TypeNS), Ns: "invalid."}}
	}
	return nil
}

// records yields the zone, between its SOA records.
func (k *catalog) records() iter.Seq[[]dns.RR] {
	return func(yield func([]dns.RR) bool) {
		head := slices.Concat(k.apex(dns.TypeSOA), k.apex(dns.TypeNS), []dns.RR{
			&dns.TXT{Hdr: k.header("version.", dns.TypeTXT), Txt: []string{"2"}},
		})
		if !yield(head) {
			return
		}
		for _, member := range k.members {
			sum := sha256.Sum256([]byte(member))
			owner := hex.EncodeToString(sum[:16]) + ".zones."
			if !yield([]dns.RR{&dns.PTR{Hdr: k.header(owner, dns.TypePTR), Ptr: member}}) {
				return
			}
		}
		yield(k.apex(dns.TypeSOA))
	}
}

// holds reports whether a name is the catalog's.
func (k *catalog) holds(name string) bool {
	return k != nil && plugin.Name(k.origin).Matches(name)
}

// serve answers for the catalog: its SOA and NS records to everybody, all else
// in transfers only (RFC 9432 section 7: it is no public information).
func (q *query) serveCatalog() (int, error) {
	k := q.catalog
	if plugin.Name(q.r.Question[0].Name).Normalize() != k.origin || q.r.Question[0].Qclass != dns.ClassINET || q.r.Opcode != dns.OpcodeQuery {
		return dns.RcodeRefused, nil
	}
	switch q.qtype {
	case dns.TypeAXFR, dns.TypeIXFR:
		return q.transfer()
	case dns.TypeSOA, dns.TypeNS:
		reply := zone.NewReply(q.r)
		reply.Msg.Answer = k.apex(q.qtype)
		return q.write(reply, answered)
	}
	return dns.RcodeRefused, nil
}
