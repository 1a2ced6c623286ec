package ldap

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"coredns-smimea/smimea"
)

// The scopes of a search (RFC 4511 section 4.5.1.2).
const scopeBase = 0

// A search is a SearchRequest (RFC 4511 section 4.5.1).
type search struct {
	id                   int
	base                 string
	scope                int
	sizeLimit, timeLimit int // 0: none
	filter               filter
	selection            selection
	paged, pagedOn       bool // wants pages; and goes on with some
}

// A wanted is an address that a search asks for, as it is written there.
type wanted struct {
	text    string
	address smimea.Address
}

func parseSearch(r *request) (*search, error) {
	s := &search{id: r.id}
	b := r.body
	var err error
	if s.base, err = b.octets(); err != nil {
		return nil, err
	}
	if s.scope, err = b.integer(tagEnumerated); err != nil {
		return nil, err
	}
	if _, err = b.integer(tagEnumerated); err != nil { // derefAliases: there are none
		return nil, err
	}
	if s.sizeLimit, err = b.integer(tagInteger); err != nil {
		return nil, err
	}
	if s.timeLimit, err = b.integer(tagInteger); err != nil {
		return nil, err
	}
	typesOnly, err := b.boolean()
	if err != nil {
		return nil, err
	}
	if s.filter, err = parseFilter(&b, 0); err != nil {
		return nil, err
	}
	list, err := b.expect(tagSequence)
	if err != nil {
		return nil, err
	}
	var names []string
	for len(list) > 0 {
		name, err := list.octets()
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	s.selection = selectAttributes(names, typesOnly)
	paged, size, cookie, err := r.paged()
	s.paged, s.pagedOn = paged, paged && (size == 0 || cookie != "")
	return s, err
}

// search answers a search: at once where that needs no source.
func (c *session) search(r *request) error {
	start := time.Now()
	s, err := parseSearch(r)
	if err != nil {
		return err
	}
	if e := c.fixed(s); e != nil {
		return c.finish(s, start, 0, []*entry{e}, result{})
	}
	wanted, res := s.wanted(c.limits.Addresses)
	if len(wanted) == 0 || s.pagedOn {
		return c.finish(s, start, 0, nil, res)
	}

	limit, late := c.limits.Answer, busy
	if asked := time.Duration(s.timeLimit) * time.Second; asked > 0 && asked <= limit {
		limit, late = asked, timeLimitExceeded
	}
	ctx, cancel := context.WithTimeout(c.ctx, limit)
	if !c.begin(s.id, cancel) {
		cancel()
		return errBER // RFC 4511 section 4.1.1.1
	}
	c.slots <- struct{}{}
	c.waiting.Go(func() {
		defer func() { <-c.slots }()
		defer cancel()
		defer c.ended()
		entries, found := c.find(ctx, s, wanted, late)
		c.answered(s.id)
		if !errors.Is(ctx.Err(), context.Canceled) { // abandoned
			c.finish(s, start, len(wanted), entries, worse(found, res))
		}
	})
	return nil
}

// begin takes a search in; false if there is one with its message ID.
func (c *session) begin(id int, cancel context.CancelFunc) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.searches[id] != nil {
		return false
	}
	c.searches[id] = cancel
	c.pending++
	return true
}

// answered lets a message ID be used again: its answer goes out now.
func (c *session) answered(id int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.searches, id)
}

// ended notes that a search is done with.
func (c *session) ended() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending--
	c.noteIdle()
}

// fixed returns the entries that are always there, by their names.
func (c *session) fixed(s *search) *entry {
	if s.scope != scopeBase {
		return nil
	}
	var e *entry
	switch {
	case s.base == "":
		e = c.rootDSE()
		s.selection.operations = s.selection.operations || s.selection.user
	case strings.EqualFold(s.base, subschemaDN):
		e = subschema()
	default:
		return nil
	}
	if s.filter.matches(e) != yes {
		return nil
	}
	return e
}

// wanted returns the addresses to look up: those in the filter, or the one of
// the entry that is the search's base.
func (s *search) wanted(most int) (list []wanted, res result) {
	add := func(text string, substring bool) {
		address, err := smimea.ParseAddress(text)
		switch {
		case err != nil || substring && !strings.Contains(address.Domain, "."):
			// A fragment, as completion sends with every key.
		case slices.ContainsFunc(list, func(w wanted) bool { return w.address == address }):
		case len(list) == most:
			res = result{adminLimitExceeded, "only some of so many addresses are looked up"}
		default:
			list = append(list, wanted{strings.TrimSpace(text), address})
		}
	}
	if mail := mailOfDN(s.base); mail != "" {
		add(mail, false)
		return list, res
	}
	s.filter.addresses(add)
	return list, res
}

// find looks all addresses up and returns the entries that match, and what
// became of it.
func (c *session) find(ctx context.Context, s *search, list []wanted, late code) ([]*entry, result) {
	select {
	case c.Server.slots <- struct{}{}:
		defer func() { <-c.Server.slots }()
	case <-ctx.Done():
		return nil, result{late, "there are too many searches"}
	}
	all := make([]Found, len(list))
	failures := make([]error, len(list))
	var working sync.WaitGroup
	for i, w := range list {
		working.Go(func() { all[i], failures[i] = c.Source.Find(ctx, w.address) })
	}
	working.Wait()
	var res result
	var found [][]*entry
	base, one := s.entryBase(c.Base)
	for i, f := range all {
		if err := failures[i]; err != nil {
			res = worse(res, failed(err, late))
			continue
		}
		var matched []*entry
		for _, certificate := range f.Certificates {
			e, err := certificateEntry(base, list[i].text, certificate)
			switch {
			case err != nil:
				res = worse(res, result{unavailable, err.Error()})
			case one && !strings.EqualFold(e.dn, s.base):
			case s.filter.matches(e) == yes:
				matched = append(matched, e)
			}
		}
		if len(matched) == 0 && res.text == "" {
			res.text = f.Why
		}
		found = append(found, matched)
	}
	return bestFirst(found), res
}

// entryBase returns the name below which the entries of a search are: its base.
// If that is the name of an entry, only that one is wanted.
func (s *search) entryBase(base string) (dn string, one bool) {
	if mailOfDN(s.base) != "" {
		parts := strings.SplitN(s.base, ",", 3)
		if len(parts) == 3 {
			return parts[2], true
		}
		return "", true
	}
	if s.base != "" {
		return s.base, false
	}
	return base, false
}

// bestFirst merges the entries of several addresses: first the best of each, so
// that no address takes all that a size limit leaves.
func bestFirst(found [][]*entry) (all []*entry) {
	for rank := 0; ; rank++ {
		more := false
		for _, entries := range found {
			if rank < len(entries) {
				all, more = append(all, entries[rank]), true
			}
		}
		if !more {
			return all
		}
	}
}

// failed is the result of a look-up that failed.
func failed(err error, late code) result {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return result{late, "the look-up takes longer; it goes on, ask again"}
	case errors.Is(err, ErrBusy):
		return result{busy, err.Error()}
	}
	return result{unavailable, err.Error()}
}

// worse returns the result that says more of what went wrong: that nothing is
// known weighs more than that it takes time.
func worse(a, b result) result {
	if b.code > a.code {
		return b
	}
	return a
}

// finish sends the entries and the result.
func (c *session) finish(s *search, start time.Time, addresses int, entries []*entry, res result) error {
	limit := c.limits.Entries
	if s.sizeLimit > 0 {
		limit = min(limit, s.sizeLimit)
	}
	if len(entries) > limit {
		entries, res = entries[:limit], worse(res, result{sizeLimitExceeded, ""})
	}
	for _, e := range entries {
		if err := c.send(entryMessage(s.id, e, &s.selection)); err != nil {
			return err
		}
	}
	if s.paged {
		if err := c.send(resultMessage(s.id, opDone, res, "", pageControl)); err != nil {
			return err
		}
	} else if err := c.send(resultMessage(s.id, opDone, res, "")); err != nil {
		return err
	}
	if c.Searched != nil {
		c.Searched(Search{int(res.code), addresses, len(entries), time.Since(start)})
	}
	return nil
}
