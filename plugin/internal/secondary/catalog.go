package secondary

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"

	"coredns-smimea/plugin/internal/served"
)

// A Catalog is a zone that lists the zones of a block (RFC 9432), for secondaries
// that take up what is listed.
type Catalog struct {
	origin  string // lower case, final dot
	members []string
	soa     dns.SOA
}

// Timers are those of a SOA record, in seconds.
type Timers struct{ Refresh, Retry uint32 }

// NewCatalog returns the catalog of some zones. Its serial is that of now when its content
// has changed: nothing else dates a list.
func NewCatalog(origin string, t Timers, members []string, now time.Time) *Catalog {
	slices.Sort(members)
	k := &Catalog{origin: origin, members: members}
	k.soa = dns.SOA{
		Hdr:     dns.RR_Header{Name: origin, Rrtype: dns.TypeSOA, Class: dns.ClassINET},
		Ns:      "invalid.",
		Mbox:    "invalid.",
		Refresh: t.Refresh,
		Retry:   t.Retry,
		Expire:  2147483646, // the zones' own say when they expire: RFC 9432 section 7
	}
	k.soa.Serial = served.ListSerial(origin, sha256.Sum256(fmt.Append(nil, members, k.soa)), now)
	return k
}

func (k *Catalog) header(name string, rtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: name + k.origin, Rrtype: rtype, Class: dns.ClassINET}
}

// apex returns the records of a type at the apex.
func (k *Catalog) apex(qtype uint16) []dns.RR {
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
func (k *Catalog) records() iter.Seq[[]dns.RR] {
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

// Holds reports whether a name is the catalog's. A nil catalog holds none.
func (k *Catalog) Holds(name string) bool {
	return k != nil && plugin.Name(k.origin).Matches(name)
}

// Answer returns the answer to a question for a name of the catalog: its SOA and NS
// records to everybody, all else in transfers only (RFC 9432 section 7: it is no
// public information). It reports whether there is one; otherwise the question is
// refused.
func (k *Catalog) Answer(r *dns.Msg) ([]dns.RR, bool) {
	q := r.Question[0]
	if !k.asked(r) || q.Qtype != dns.TypeSOA && q.Qtype != dns.TypeNS {
		return nil, false
	}
	return k.apex(q.Qtype), true
}

// Transfer reports whether a question is for a transfer of the catalog.
func (k *Catalog) Transfer(r *dns.Msg) bool {
	qtype := r.Question[0].Qtype
	return k.asked(r) && (qtype == dns.TypeAXFR || qtype == dns.TypeIXFR)
}

// asked reports whether a question is one for the apex of the catalog.
func (k *Catalog) asked(r *dns.Msg) bool {
	return plugin.Name(r.Question[0].Name).Normalize() == k.origin && r.Question[0].Qclass == dns.ClassINET && r.Opcode == dns.OpcodeQuery
}
