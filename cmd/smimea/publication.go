package main

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/smimea"
)

// A policy is how certificates are published: the directive's options.
type policy struct {
	records []smimea.Association
	url     smimea.URLTemplate // zero: no TXT
	ttl     time.Duration
	exact   bool     // not under the lower-case form of the local-part too
	domains []string // mail domains to publish for; all if empty
	now     time.Time
}

// A publication is what is published of some files.
type publication struct {
	users []*user       // sorted by domain, then local-part
	sets  []recordSet   // sorted by domain, then owner
	out   []*leftOut    // sorted by path
	files []*sourceFile // that have a certificate in date
}

// A user is one address with its certificates.
type user struct {
	address smimea.Address
	files   []*sourceFile
	owner   string
	text    string // owner of the TXT records, "" if there is none
	noText  string // why
	lower   bool   // also published under the lower-case local-part
	shadow  bool   // not so, since that is another user's own
}

// leftOut is a file, or one of its addresses, that is not published.
type leftOut struct {
	path   string
	reason string
	err    error
}

// A recordSet is one RRset.
type recordSet struct {
	owner, domain string
	text          bool     // TXT, not SMIMEA
	rdata         [][]byte // sorted, no duplicates
}

// publish decides what is published of files.
func (p *policy) publish(files []sourceFile) *publication {
	result := &publication{}
	users := map[smimea.Address]*user{}
	for i := range files {
		file := &files[i]
		leave := func(reason string, err error) {
			result.out = append(result.out, &leftOut{file.path, reason, err})
		}
		if file.err != nil {
			leave(reason(file.err), file.err)
			continue
		}
		// A record must be gone from all caches when the certificate expires.
		if !p.now.Before(file.cert.NotAfter.Add(-p.ttl)) {
			refusal := &certsource.Refusal{Reason: certsource.Expired, Detail: "on " + file.cert.NotAfter.Format(time.DateOnly)}
			leave(string(refusal.Reason), refusal)
			continue
		}
		result.files = append(result.files, file)
		for _, text := range file.cert.Addresses {
			a, err := smimea.ParseAddress(text)
			if err != nil {
				leave("address", err)
				continue
			}
			if len(p.domains) > 0 && !slices.Contains(p.domains, a.Domain) {
				continue
			}
			if users[a] == nil {
				users[a] = &user{address: a, owner: a.Owner()}
				result.users = append(result.users, users[a])
			}
			if known := users[a].files; !slices.Contains(known, file) {
				users[a].files = append(known, file)
			}
		}
	}
	slices.SortFunc(result.users, func(a, b *user) int {
		return cmp.Or(cmp.Compare(a.address.Domain, b.address.Domain), cmp.Compare(a.address.Local, b.address.Local))
	})
	p.makeSets(result, users)
	return result
}

// makeSets makes the records of all users, and notes on each how it fared.
func (p *policy) makeSets(result *publication, users map[smimea.Address]*user) {
	type key struct {
		owner string
		text  bool
	}
	sets := map[key]*recordSet{}
	add := func(owner, domain string, text bool, rdata []byte) {
		k := key{owner, text}
		if sets[k] == nil {
			sets[k] = &recordSet{owner: owner, domain: domain, text: text}
		}
		sets[k].rdata = append(sets[k].rdata, rdata)
	}
	for _, u := range result.users {
		owners := []string{u.owner}
		if lower := u.address.Lower(); lower != u.address && !p.exact {
			if users[lower] == nil {
				owners = append(owners, lower.Owner())
				u.lower = true
			} else {
				u.shadow = true
			}
		}
		var err error
		if u.text, err = u.address.TextOwner(); err != nil {
			u.noText = err.Error()
		}
		for _, file := range u.files {
			for _, owner := range owners {
				for _, a := range p.records {
					add(owner, u.address.Domain, false, a.Append(nil, file.cert.Raw, file.cert.SPKI))
				}
			}
			if u.text != "" && file.cert.Encrypts && p.url.String() != "" {
				url := p.url.Expand(u.address.Domain, file.path, u.address.Label())
				add(u.text, u.address.Domain, true, smimea.AppendText(nil, url))
			}
		}
	}
	for _, set := range sets {
		slices.SortFunc(set.rdata, bytes.Compare)
		set.rdata = slices.CompactFunc(set.rdata, bytes.Equal)
		result.sets = append(result.sets, *set)
	}
	slices.SortFunc(result.sets, func(a, b recordSet) int {
		return cmp.Or(cmp.Compare(a.domain, b.domain), strings.Compare(a.owner, b.owner), boolCompare(a.text, b.text))
	})
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
