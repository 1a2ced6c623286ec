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
	filter               ber // read, and read again when entries are there: its tree is large
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
	s.filter = b
	if _, err = parseFilter(&b, 0); err != nil {
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
	if !c.slot() {
		cancel()
		c.answered(s.id)
		c.ended()
		return c.finish(s, start, 0, nil, result{busy, "too many searches of this connection are under way"})
	}
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

// patience is how long a connection is not read because too many of its searches wait.
const patience = 400 * time.Millisecond

// slot takes one of the connection's for a search: false if too many wait, and not only
// for a moment. Then the others are not waited for either, until one is free: a client
// that has sent hundreds at once must not wait hundreds of times.
func (c *session) slot() bool {
	select {
	case c.slots <- struct{}{}:
		c.full = false
		return true
	default:
	}
	if c.full {
		return false
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case c.slots <- struct{}{}:
	case <-timer.C:
		c.full = true
	}
	return !c.full
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
	c.noteIdle()
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
	if s.tree().matches(e) != yes {
		return nil
	}
	return e
}

// tree reads the filter, which can be read.
func (s *search) tree() *filter {
	b := s.filter
	f, _ := parseFilter(&b, 0)
	return &f
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
	if name, ok := parseEntryName(s.base); ok {
		add(name.mail, false)
		return list, res
	}
	s.tree().addresses(add)
	return list, res
}

// A look is what a source has said of an address.
type look struct {
	found Found
	err   error
}

// grace is how long a source is waited for that does not end with its context. Most do
// at once; one that reads files can hang on a disk.
const grace = 250 * time.Millisecond

// looks asks the source for all addresses. Of those that it does not answer in time the
// error is that of the context.
func (c *session) looks(ctx context.Context, list []wanted) []look {
	type answer struct {
		of int
		look
	}
	answers := make(chan answer, len(list))
	var asking sync.WaitGroup
	for i, w := range list {
		asking.Go(func() {
			found, err := c.Source.Find(ctx, w.address)
			answers <- answer{i, look{found, err}}
		})
	}
	c.working.Go(func() {
		asking.Wait()
		<-c.Server.slots
	})
	all := make([]look, len(list))
	for i := range all {
		all[i].err = context.DeadlineExceeded
	}
	ended, over := ctx.Done(), (<-chan time.Time)(nil)
	for n := 0; n < len(list); {
		select {
		case a := <-answers:
			all[a.of] = a.look
			n++
		case <-ended:
			ended, over = nil, time.After(grace)
		case <-over:
			return all
		}
	}
	return all
}

// find looks all addresses up and returns the entries that match, and what
// became of it.
func (c *session) find(ctx context.Context, s *search, list []wanted, late code) ([]*entry, result) {
	select {
	case c.Server.slots <- struct{}{}: // there is a place, however late it is
	default:
		select {
		case c.Server.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, result{late, "there are too many searches"}
		}
	}
	var res result
	var found [][]*entry
	base, uid := s.below(c.Base)
	all, tree := c.looks(ctx, list), s.tree()
	for i, l := range all {
		if l.err != nil {
			res = worse(res, failed(l.err, late))
			continue
		}
		var matched []*entry
		for _, certificate := range l.found.Certificates {
			e, err := certificateEntry(base, list[i].text, certificate)
			switch {
			case err != nil:
				res = worse(res, result{unavailable, err.Error()})
			case uid != "" && !strings.EqualFold(e.values(typesByName["uid"])[0], uid):
			case tree.matches(e) == yes:
				matched = append(matched, e)
			}
		}
		if len(matched) == 0 && res.text == "" {
			res.text = l.found.Why
		}
		found = append(found, matched)
	}
	return bestFirst(found), res
}

// below returns the name below which the entries of a search are: its base, if that is
// a name at all. If it is that of an entry, only the one with its uid is wanted.
func (s *search) below(base string) (dn, uid string) {
	asked := s.base
	if name, ok := parseEntryName(s.base); ok {
		asked, uid = name.base, name.uid
	}
	if IsDN(asked) && (asked != "" || uid != "") {
		base = asked
	}
	return base, uid
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
