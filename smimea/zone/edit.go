package zone

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"coredns-smimea/internal/table"
	"coredns-smimea/smimea"
)

// An Edit makes the next version of a zone. It is for one goroutine.
type Edit struct {
	zone   *Zone
	tables [2]*table.Edit
	owners [2]int
	sum    uint64
	before [2]map[string]node // what the changed names had; nil where there was nothing before
	crowds [2]map[string]*crowd
	room   int // octets that crowds can still take
	writes int // of nodes, for tests
}

// Edit begins a new version of the zone. It costs what is changed by it.
func (z *Zone) Edit() *Edit {
	e := &Edit{zone: z, owners: z.owners, sum: z.sum, crowds: [2]map[string]*crowd{{}, {}}, room: maxCrowds}
	for tree := range e.tables {
		e.tables[tree] = z.tables[tree].Edit()
		if z.owners[tree] > 0 {
			e.before[tree] = map[string]node{}
		}
	}
	return e
}

// A Publication is what one file publishes at the owners of one address.
type Publication struct {
	File  uint32   // a number for the file, by which Withdraw finds it
	Certs [][]byte // data of SMIMEA records
	URL   string   // of a TXT record, or none
	Lower bool     // publish at the lower-case form of the address as well
}

var errFull = errors.New("more certificates than fit one answer: remove those that are not used any more, or publish digests of them")

// Publish adds what p publishes for a, whose domain must be the zone's. An
// error says what is left out: the TXT record of an address that has no owner
// name for it, or what does not fit the answer.
func (e *Edit) Publish(a smimea.Address, p Publication) error {
	lower := a.Lower()
	variant := lower.Local != a.Local
	var errs []error
	if e.zone.Serves(Certs) {
		for _, data := range p.Certs {
			errs = append(errs, e.publishCert(a, claim{file: p.File, data: data}))
			if variant && p.Lower {
				errs = append(errs, e.publishCert(lower, claim{file: p.File, variant: true, data: data}))
			}
		}
	}
	if p.URL != "" && e.zone.Serves(Texts) {
		errs = append(errs, e.publishText(a, p, variant))
	}
	return errors.Join(errs...)
}

func (e *Edit) publishText(a smimea.Address, p Publication, variant bool) error {
	key, err := e.textKey(a)
	if err != nil {
		return err
	}
	url := []byte(strings.TrimPrefix(p.URL, e.zone.prefix))
	return e.publish(Texts, key, claim{file: p.File, variant: variant, data: url})
}

// Withdraw removes all that a file publishes for an address.
func (e *Edit) Withdraw(a smimea.Address, file uint32) {
	if e.zone.Serves(Certs) {
		hash := a.Hash()
		e.withdraw(Certs, hash[:], file)
		if lower := a.Lower(); lower.Local != a.Local {
			hash = lower.Hash()
			e.withdraw(Certs, hash[:], file)
		}
	}
	e.WithdrawText(a, file)
}

// Retain keeps the SMIMEA records that a file publishes for an address under another
// number, and removes the rest of what it publishes there.
func (e *Edit) Retain(a smimea.Address, file, as uint32) {
	if e.zone.Serves(Certs) {
		hash := a.Hash()
		e.renumber(Certs, hash[:], file, as)
		if lower := a.Lower(); lower.Local != a.Local {
			hash = lower.Hash()
			e.renumber(Certs, hash[:], file, as)
		}
	}
	e.WithdrawText(a, file)
}

func (e *Edit) renumber(tree Tree, key []byte, file, as uint32) {
	old := e.get(tree, key)
	claims := slices.Collect(old.claims(nil))
	found := false
	for i := range claims {
		if claims[i].file == file {
			claims[i].file, found = as, true
		}
	}
	if found {
		below, _ := old.below()
		e.set(tree, key, old, old.with(below, claims, e.fixed(tree)))
	}
}

// WithdrawText removes the TXT record that a file publishes for an address.
func (e *Edit) WithdrawText(a smimea.Address, file uint32) {
	if key, err := e.textKey(a); err == nil && e.zone.Serves(Texts) {
		e.withdraw(Texts, key, file)
	}
}

// textKey returns the key of an address in the Texts table.
func (e *Edit) textKey(a smimea.Address) ([]byte, error) {
	if _, err := a.TextOwner(); err != nil {
		return nil, err
	}
	return a.TextLabels()
}

func (e *Edit) publishCert(a smimea.Address, c claim) error {
	hash := a.Hash()
	return e.publish(Certs, hash[:], c)
}

func (e *Edit) publish(tree Tree, key []byte, c claim) error {
	fixed := e.fixed(tree)
	if e.crowds[tree][string(key)] == nil {
		old := e.get(tree, key)
		claims := slices.Collect(old.claims(nil))
		if len(claims) < crowded {
			if slices.ContainsFunc(claims, c.equal) {
				return nil
			}
			if fixed+len(c.data) > maxAnswer {
				return errFull
			}
			below, _ := old.below()
			claims = append(claims, c)
			e.set(tree, key, old, old.with(below, claims, fixed))
			return c.fits(claims)
		}
		e.crowd(tree, key, claims)
	}
	w := e.crowds[tree][string(key)]
	added, err := w.add(c, fixed)
	if added {
		e.took(c)
	}
	return err
}

// fixed is how many octets a record takes besides a claim's data: a pointer to the
// owner and ten of type, class, TTL and length (RFC 1035 section 4.1.3), and of a TXT
// what all URLs begin with and the lengths of its strings.
func (e *Edit) fixed(tree Tree) int {
	const header = 12
	if tree == Texts {
		return header + len(e.zone.prefix) + 8
	}
	return header
}

func (e *Edit) withdraw(tree Tree, key []byte, file uint32) {
	if w := e.crowds[tree][string(key)]; w != nil {
		w.withdraw(file)
		return
	}
	old := e.get(tree, key)
	claims := slices.Collect(old.claims(nil))
	if len(claims) >= crowded {
		e.crowd(tree, key, claims).withdraw(file)
		return
	}
	kept := slices.DeleteFunc(slices.Clone(claims), func(c claim) bool { return c.file == file })
	if len(kept) == len(claims) {
		return
	}
	below, _ := old.below()
	e.set(tree, key, old, old.with(below, kept, e.fixed(tree)))
}

// Keep keeps signatures with the records that they were made for, unless these
// have changed in the meantime. Signatures are no records: the serial does not
// change with them.
func (e *Edit) Keep(s RRset, k Keys, signatures []dns.RR) error {
	now := e.get(s.tree, s.key)
	if now.empty() || !now.same(s.node) {
		return nil
	}
	stored, err := storeSignatures(k, signatures)
	if err == nil {
		e.put(s.tree, s.key, now.signed(stored))
	}
	return err
}

// get returns a copy: what the table gives is overwritten by the next set.
func (e *Edit) get(tree Tree, key []byte) node {
	value, _ := e.tables[tree].Get(key)
	return bytes.Clone(value)
}

// set replaces the node of key, and counts the owners above and below.
func (e *Edit) set(tree Tree, key []byte, old, new node) {
	if before := e.before[tree]; before != nil {
		if _, ok := before[string(key)]; !ok {
			before[string(key)] = old
		}
	}
	e.put(tree, key, new)
	e.sum += new.sum(tree, key) - old.sum(tree, key)
	switch {
	case old.empty() && !new.empty():
		e.count(tree, key, +1)
	case !old.empty() && new.empty():
		e.count(tree, key, -1)
	}
}

func (e *Edit) put(tree Tree, key []byte, n node) {
	e.writes++
	if n == nil {
		e.tables[tree].Delete(key)
	} else {
		e.tables[tree].Set(key, n)
	}
}

// count adds an owner, or takes one away, and with it the empty non-terminals
// above: of a TXT owner every suffix of its labels exists.
func (e *Edit) count(tree Tree, key []byte, n int) {
	e.owners[tree] += n
	if tree == Certs {
		return
	}
	for key = key[1+key[0]:]; len(key) > 0; key = key[1+key[0]:] {
		old := e.get(tree, key)
		below, _ := old.below()
		e.put(tree, key, old.with(below+n, slices.Collect(old.claims(nil)), e.fixed(tree)))
	}
}

// A Difference is a name whose records have changed.
type Difference struct {
	Tree Tree

	key      []byte
	old, new node
}

// Zone returns the next version, with the serial that next gives for the last
// one if any record has changed, and all differences. If the zone was empty
// before there are too many to count: then they are nil.
func (e *Edit) Zone(next func(serial uint32) uint32) (*Zone, []Difference) {
	e.disperse()
	z := *e.zone
	var differences []Difference
	for tree := range e.tables {
		for key, old := range e.before[tree] {
			new, _ := e.tables[tree].Get([]byte(key))
			if !old.same(new) {
				differences = append(differences, Difference{Tree(tree), []byte(key), old, bytes.Clone(new)})
			} else if n := node(new); !n.empty() && len(n.signatures()) == 0 {
				// Withdrawn and published again: the signatures are still good.
				e.put(Tree(tree), []byte(key), bytes.Clone(node(n).signed(old.signatures())))
			}
		}
		z.tables[tree] = e.tables[tree].Table()
	}
	z.owners, z.sum = e.owners, e.sum
	if z.sum != e.zone.sum {
		z.Serial = next(z.Serial)
	}
	return &z, differences
}
