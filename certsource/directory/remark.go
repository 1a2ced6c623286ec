package directory

import (
	"strings"

	"coredns-smimea/certsource"
)

// A Remark is something of a file that its operator should read in the log.
type Remark struct {
	Kind RemarkKind
	Path string
	// Refusal is the reason for Skipped, Kept, Secret and Locked.
	Refusal *certsource.Refusal
	// Part is what of the file is not published, for Partly.
	Part string
	// More, if not 0, is how many other files the same is to be said of, in
	// place of a remark for each of them. Path is empty then.
	More int
}

// A RemarkKind is what a remark says.
type RemarkKind int

const (
	Skipped  RemarkKind = iota // the file is left out
	Kept                       // the file cannot be read now; what it published stays
	Restored                   // the file, or the directory, is all right again
	Gone                       // the file is gone, and what it published with it
	Secret                     // the file holds a private key, and is not one that is looked at otherwise
	Partly                     // a part of the file is not published
	Locked                     // it is a directory that cannot be read: what it published stays, and nothing new of it is seen
)

// maxAlike is how many remarks of one kind, for one reason, are made between
// two calls of Remarks. All above it become one.
const maxAlike = 10

// remarks gathers what is to be said.
type remarks struct {
	all  bool // see Options.AllRemarks
	list []Remark
	told map[alike]*told
}

type alike struct {
	kind   RemarkKind
	reason certsource.Reason
}

// told counts what is alike. last is one of those that are not in the list.
type told struct {
	count int
	last  Remark
}

func (s *remarks) add(r Remark) {
	key := alike{kind: r.Kind}
	if r.Refusal != nil {
		key.reason = r.Refusal.Reason
	}
	if s.told == nil {
		s.told = map[alike]*told{}
	}
	t := s.told[key]
	if t == nil {
		t = &told{}
		s.told[key] = t
	}
	if t.count++; t.count <= maxAlike || s.all {
		s.list = append(s.list, r)
	} else {
		t.last = r
	}
}

// take returns what was gathered, the folded remarks where their kind was last.
func (s *remarks) take() (list []Remark) {
	if s.all {
		list, s.list = s.list, nil
		return list
	}
	left := map[alike]int{}
	for key, t := range s.told {
		left[key] = min(t.count, maxAlike)
	}
	for _, r := range s.list {
		list = append(list, r)
		key := alike{kind: r.Kind}
		if r.Refusal != nil {
			key.reason = r.Refusal.Reason
		}
		if left[key]--; left[key] > 0 {
			continue
		}
		if t := s.told[key]; t.count == maxAlike+1 {
			list = append(list, t.last)
		} else if t.count > maxAlike {
			more := Remark{Kind: key.kind, More: t.count - maxAlike}
			if key.reason != "" {
				more.Refusal = certsource.Refuse(key.reason, "")
			}
			list = append(list, more)
		}
	}
	*s = remarks{}
	return list
}

// Remarks returns what is to be said of the changes since the last call: of each
// file once for each change of the reason, and of many files at once where they
// are many.
func (d *Directory) Remarks() []Remark { return d.remarks.take() }

// remark says of a change what there is to say.
func (d *Directory) remark(c Change) {
	r := Remark{Path: c.Path, Refusal: c.Refusal}
	if c.New.Published() && c.Certificates != nil && len(c.Unused) > 0 && (c.New.Unused != c.Old.Unused || !c.New.Same(&c.Old)) {
		d.remarks.add(Remark{Kind: Partly, Path: c.Path, Part: certsource.Unuseds(c.Unused)})
	}
	switch before, now := c.Old.why(), c.New.why(); {
	case !c.Removed.IsZero():
		if !c.Old.Published() {
			return
		}
		r.Kind, r.Refusal = Gone, nil
	case now == before:
		return
	case now == "":
		r.Kind = Restored
	case c.New.Failing != "":
		r.Kind = Kept
	default:
		r.Kind = Skipped
	}
	d.remarks.add(r)
}

// isKeyName reports whether files of such a name, the last element of a path,
// hold private keys by all experience.
func isKeyName(name string) bool {
	name = strings.ToLower(name)
	for _, ending := range []string{".p12", ".pfx", ".key", ".p8", ".pk8", ".pvk", ".ppk", ".jks", ".jceks", ".keystore"} {
		if strings.HasSuffix(name, ending) {
			return true
		}
	}
	switch name {
	case "id_rsa", "id_dsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk", "identity":
		return true
	}
	return false
}
