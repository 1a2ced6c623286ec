package crl

import (
	"iter"
	"maps"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"coredns-smimea/certsource/revocation"
)

// Kept is what a Follower knows at one moment: the places of lists, the lists that
// count with their issuers, and the other issuers. It does not change, and is for all. nil is of none.
type Kept struct{ entries []keptEntry }

type keptEntry struct {
	name  string // of a source, or "" for all issuers
	value []byte // for each list the DER of its issuer's certificate and its own; of "", issuers' only
}

// Kept returns what is known now.
func (f *Follower) Kept() *Kept {
	if f == nil {
		return nil
	}
	if f.kept == nil {
		f.kept = new(Kept)
		all := keptEntry{}
		for _, der := range slices.Sorted(maps.Keys(f.known)) {
			all.value = append(all.value, der...)
		}
		f.kept.entries = append(f.kept.entries, all)
		for _, name := range slices.Sorted(maps.Keys(f.sources)) {
			e := keptEntry{name: name}
			for _, l := range f.sources[name].counts {
				e.value = append(append(e.value, l.Issuer.Raw...), l.Raw...)
			}
			f.kept.entries = append(f.kept.entries, e)
		}
	}
	return f.kept
}

// Entries yields what is known in a form that [Kept.Add] takes.
func (k *Kept) Entries() iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		if k == nil {
			return
		}
		for _, e := range k.entries {
			if !yield([]byte(e.name), e.value) {
				return
			}
		}
	}
}

// Add adds an entry, as Entries has yielded it.
func (k *Kept) Add(name, value []byte) error {
	k.entries = append(k.entries, keptEntry{string(name), slices.Clone(value)})
	return nil
}

// Restore takes in what an earlier Follower knew. Lists are verified anew.
func (f *Follower) Restore(k *Kept) {
	if f == nil || k == nil {
		return
	}
	for _, e := range k.entries {
		if e.name == "" {
			rest := cryptobyte.String(e.value)
			for issuer := cryptobyte.String(nil); rest.ReadASN1Element(&issuer, asn1.SEQUENCE); {
				f.learnIssuers([][]byte{issuer})
			}
			continue
		}
		s := f.sources[e.name]
		if s == nil && f.config.Points && overHTTP(e.name) {
			f.learnPoint(e.name)
			s = f.sources[e.name]
		}
		rest := cryptobyte.String(e.value)
		var lists []*revocation.List
		for !rest.Empty() {
			var issuer, list cryptobyte.String
			if !rest.ReadASN1Element(&issuer, asn1.SEQUENCE) || !rest.ReadASN1Element(&list, asn1.SEQUENCE) {
				break
			}
			f.learnIssuers([][]byte{issuer})
			if l, err := revocation.Parse(list); err == nil {
				lists = append(lists, l)
			}
		}
		if s != nil && len(lists) > 0 {
			f.got(s, contents{lists: lists})
		}
	}
}
