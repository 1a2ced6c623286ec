package zone

import (
	"iter"
	"slices"

	"github.com/miekg/dns"

	"coredns-smimea/internal/table"
)

const (
	// journalSteps is how many versions back a journal goes.
	journalSteps = 4096
	// A journal is not worth more than half of what it saves the transfer of,
	// but for a small zone, whose transfer takes a few messages anyway.
	journalLeast = 64 << 10
	journalMost  = 32 << 20
)

// A Journal remembers what has changed in the last transferable zones of a zone, so that
// a secondary that has one of them is sent no more than that (RFC 1995). It is
// immutable; the zero Journal, and a nil one, remember nothing.
type Journal struct {
	steps []*step // oldest first
	size  int     // of all steps, in octets
}

// A step is the way from one transferable zone to the next.
type step struct {
	serial  uint32 // of the transferable zone that it leads away from
	apex    []dns.RR
	entries []entry
	size    int
}

// An entry of a step is what a table had for a key before the step.
type entry struct {
	section section
	key     string
	old     []byte // nil: nothing
}

// overhead is what an entry takes beside its key and its value.
const overhead = 64

// Append returns the journal with the step from one transferable zone to the next.
func (j *Journal) Append(from, to *Transferable) *Journal {
	limit := min(max(to.Size()/2, journalLeast), journalMost)
	s := &step{serial: from.Zone.Serial, size: overhead}
	if !sameRecords(from.Apex, to.Apex) {
		s.apex = from.Apex
		s.size += 256 * len(s.apex)
	}
	for section, change := range changes(from, to) {
		if section != chainSection && from.Chain == nil {
			if node(change.Old).same(change.New) {
				continue // signatures and files are of no concern to an unsigned transferable zone
			}
			if len(change.Old) > 0 {
				change.Old = node(change.Old).signed(nil)
			}
		}
		s.entries = append(s.entries, entry{section, string(change.Key), slices.Clone(change.Old)})
		if s.size += len(change.Key) + len(change.Old) + overhead; s.size > limit {
			return new(Journal)
		}
	}
	next := &Journal{steps: []*step{s}, size: s.size}
	if j != nil {
		keep := len(j.steps)
		for keep > 0 && len(j.steps)-keep < journalSteps && next.size+j.steps[keep-1].size <= limit {
			keep--
			next.size += j.steps[keep].size
		}
		next.steps = append(slices.Clone(j.steps[keep:]), s)
	}
	return next
}

// changes yields the entries in which two transferable zones differ.
func changes(from, to *Transferable) iter.Seq2[section, table.Change] {
	return func(yield func(section, table.Change) bool) {
		old, new := from.tables(), to.tables()
		for i := range old {
			for change := range table.Diff(old[i], new[i]) {
				if !yield(section(i), change) {
					return
				}
			}
		}
	}
}

// Since yields the incremental transfer to a transferable zone from the one with a
// serial: the new SOA, the old one, what has gone, the new SOA, what has come,
// the new SOA (RFC 1995 section 4), all steps made one. It reports whether the
// journal goes back to that serial without sending more than the whole zone.
//
// The transferable zone must be the one that the journal's last step leads to.
func (j *Journal) Since(serial uint32, to *Transferable) (records iter.Seq[[]dns.RR], ok bool) {
	if j == nil {
		return nil, false
	}
	at := slices.IndexFunc(j.steps, func(s *step) bool { return s.serial == serial })
	if at < 0 {
		return nil, false
	}
	type key struct {
		section section
		key     string
	}
	var apex []dns.RR
	seen := map[key]bool{}
	var first []entry // what each key had at the serial
	for _, s := range j.steps[at:] {
		if apex == nil {
			apex = s.apex
		}
		for _, e := range s.entries {
			if k := (key{e.section, e.key}); !seen[k] {
				seen[k] = true
				first = append(first, e)
			}
		}
	}
	tables := to.tables()
	soa, old := to.Zone.SOA(), to.Zone.SOA()
	old.Serial = serial
	pass := func(yield func([]dns.RR) bool, added bool) bool {
		if apex != nil && !yieldSome(yield, lacking(apex, to.Apex, added)) {
			return false
		}
		for _, e := range first {
			before := to.records(e.section, []byte(e.key), e.old)
			value, _ := tables[e.section].Get([]byte(e.key))
			now := to.records(e.section, []byte(e.key), value)
			if !yieldSome(yield, lacking(before, now, added)) {
				return false
			}
		}
		return true
	}
	return func(yield func([]dns.RR) bool) {
		_ = yield([]dns.RR{soa, old}) && pass(yield, false) && yield([]dns.RR{soa}) && pass(yield, true) && yield([]dns.RR{soa})
	}, true
}

func yieldSome(yield func([]dns.RR) bool, rrs []dns.RR) bool {
	return len(rrs) == 0 || yield(rrs)
}

// lacking returns the records of before that are not in now, or, if added is
// set, the records of now that are not in before.
func lacking(before, now []dns.RR, added bool) []dns.RR {
	if added {
		before, now = now, before
	}
	if len(now) == 0 {
		return before
	}
	has := map[string]bool{}
	for _, rr := range now {
		has[packed(rr)] = true
	}
	var rrs []dns.RR
	for _, rr := range before {
		if !has[packed(rr)] {
			rrs = append(rrs, rr)
		}
	}
	return rrs
}

// packed returns a record in wire form. To pack a record writes to it, and those at
// an apex are shared.
func packed(rr dns.RR) string {
	rr = dns.Copy(rr)
	buf := make([]byte, dns.Len(rr))
	n, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		return rr.String() // not reached: it goes out
	}
	return string(buf[:n])
}

func sameRecords(a, b []dns.RR) bool {
	return slices.EqualFunc(a, b, func(a, b dns.RR) bool { return packed(a) == packed(b) })
}
