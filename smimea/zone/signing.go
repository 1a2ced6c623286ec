package zone

import (
	"fmt"
	"iter"
	"time"

	"github.com/miekg/dns"
)

// An RRset is the records of one owner, to be signed.
type RRset struct {
	Records []dns.RR

	tree Tree
	key  []byte
	node node
}

// Unsigned yields the RRsets of one page of a sub-tree, 0 <= page < Pages, that
// have no signatures by these keys, or such as expire within margin. For each
// name margin is longer by up to spread, so that signatures that were made
// together are not all made anew together.
func (z *Zone) Unsigned(t Tree, page int, k Keys, now time.Time, margin, spread time.Duration) iter.Seq[RRset] {
	return func(yield func(RRset) bool) {
		for key, value := range z.tables[t].Page(page) {
			n := node(value)
			if n.empty() {
				continue
			}
			early := time.Duration(n.sum(t, key)%1024) * spread / 1024
			if !fresh(n.signatures(), k, now, margin+early) && !yield(RRset{z.rrset(t, key, n), t, key, n}) {
				return
			}
		}
	}
}

// Changed returns the records of a difference as they are now, to be signed,
// unless there are none left.
func (z *Zone) Changed(d Difference) (s RRset, ok bool) {
	if d.new.empty() {
		return RRset{}, false
	}
	return RRset{z.rrset(d.Tree, d.key, d.new), d.Tree, d.key, d.new}, true
}

// Pages returns the number of pages of a sub-tree.
func (z *Zone) Pages(t Tree) int { return z.tables[t].Pages() }

// RRset returns the records of the owner that lies at a point, to be signed.
func (z *Zone) RRset(p Point, n Name) RRset {
	// A copy: the point is gone with the query that asks for it.
	var key []byte
	if p.Tree == Certs {
		for i := 1; i < len(p.Rel); i += 2 {
			key = append(key, unhex(p.Rel[i])<<4|unhex(p.Rel[i+1]))
		}
	} else {
		key = append(key, p.Rel...)
	}
	return RRset{z.rrset(n.Tree, key, n.node), n.Tree, key, n.node}
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c - 'a' + 10
}

// Sign keeps signatures with the records that they were made for, unless these
// have changed in the meantime. Signatures are no records: the serial does not
// change with them.
func (e *Edit) Sign(s RRset, k Keys, signatures []dns.RR) error {
	now := e.get(s.tree, s.key)
	if now.empty() || !now.same(s.node) {
		return nil
	}
	var stored []byte
	for _, rr := range signatures {
		sig, ok := rr.(*dns.RRSIG)
		if !ok {
			return fmt.Errorf("%T is no signature", rr)
		}
		var err error
		if stored, err = appendSignature(stored, k, sig); err != nil {
			return err
		}
	}
	e.put(s.tree, s.key, now.signed(stored))
	return nil
}
