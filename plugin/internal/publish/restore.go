package publish

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"os"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/internal/statefile"
	"coredns-smimea/internal/table"
	"coredns-smimea/plugin/internal/crl"
	"coredns-smimea/plugin/internal/served"
	"coredns-smimea/smimea/zone"
)

// errForm says that a state has records in another form. It is of use all the
// same: they are served until the files have been read again.
var errForm = statefile.Damage("its records are of another configuration")

// Keeps reports whether there is a state of a directory, as far as its header tells: what
// it has can be served while the directory cannot be read.
func Keeps(c *Config) bool {
	if c.State == "" {
		return false
	}
	r, err := statefile.At(c.State).Open()
	if err != nil {
		return false
	}
	defer r.Close()
	var h savedHeader
	return json.Unmarshal(r.Header, &h) == nil && h.Key == c.readKey()
}

// restore begins with what an earlier process has saved. It publishes it, if it is
// what was served then; otherwise the first look does. Nothing of it is believed
// for longer than that look takes.
func (p *Publisher) restore(ctx context.Context) {
	began := p.world.System.Now()
	path := p.saver.path
	if err := path.Sweep(); err != nil {
		log.Warningf("Removing what an earlier process has not saved to its end: %v", err)
	}
	r, err := path.Open()
	if os.IsNotExist(err) {
		return
	}
	clean := false
	if err == nil {
		defer r.Close()
		clean = r.Mark.Clean
		err = p.restoreFrom(r)
	}
	took := func() time.Duration { return p.world.System.Now().Sub(began).Round(time.Millisecond) }
	otherForm := errors.Is(err, errForm)
	var damage statefile.Damage
	switch {
	case errors.As(err, &damage):
		// One of another form keeps its name, too: until the next save its serials are
		// known from nowhere else.
		aside, asideErr := path.SetAside(otherForm)
		if asideErr != nil {
			log.Errorf("The state %q cannot be used, nor set aside (%v); %q is read anew: %v", path.Name, asideErr, p.config.Dir, err)
		} else {
			log.Warningf("Setting the state %q aside as %q, %q is read anew: %v", path.Name, aside, p.config.Dir, err)
		}
	case err != nil:
		log.Errorf("The state cannot be read, %q is read anew: %v", p.config.Dir, err)
	case clean:
		p.saver.last = p.world.System.Now()
	}
	if (err == nil || otherForm) && !clean {
		p.saver.stale = true
		p.saver.mark(false) // what the process before wrote may not have come to the disk
		p.saver.changed(nil, false)
		log.Infof("Read the state of %q in %v; what was served later is read from the directory first", p.config.Dir, took())
		return
	}
	if p.seed != nil && clean {
		p.serveSeed(ctx)
		if p.current.Load().complete() {
			p.serves()
			log.Infof("Serving %d certificates of %q as they were saved, after %v, while the directory is looked at", p.directory.Published()-p.foreign, p.config.Dir, took())
		}
	}
}

// noteSaved notes what an earlier process has served. Where that was killed, something
// else was served than what is saved: changes that were taken back since, for example, or
// that have expired. The limit is later than all of that.
func (p *Publisher) noteSaved(mark statefile.Mark, h *savedHeader) {
	limit := mark.Limit
	if limit == 0 { // the file is of an older program
		limit = served.SerialAt(p.world.System.Now())
	}
	p.saver.resume(limit)
	for origin, serial := range h.Serials {
		served.NoteSaved(origin, served.Version{Serial: serial})
	}
	for _, z := range h.Zones {
		last := served.Version{Serial: z.Serial, Sum: z.Sum, Apex: z.Apex}
		if !mark.Clean {
			last = served.Version{Serial: z.Serial}
			served.NoteSaved(z.Origin, served.Version{Serial: limit})
		}
		served.NoteSaved(z.Origin, last)
	}
	for _, at := range p.config.Places { // those that were not saved yet
		if !mark.Clean {
			served.NoteSaved(at.Origin, served.Version{Serial: limit})
		}
	}
}

// restoreFrom makes the seed of what a state has. After another error than errForm
// nothing is restored but serials.
func (p *Publisher) restoreFrom(r *statefile.Reader) error {
	var h savedHeader
	if err := json.Unmarshal(r.Header, &h); err != nil {
		return statefile.Damage("its header is malformed")
	}
	p.noteSaved(r.Mark, &h)
	if h.Key != p.config.readKey() {
		return statefile.Damage("it is one of another configuration or program")
	}
	index := map[string]int{}
	for i, place := range p.config.Places {
		index[place.Origin] = i
	}
	dir := p.world.Directory(p.options())
	files := dir.Restore(max(0, h.Files), max(0, h.Octets))
	lists := new(crl.Kept)
	bridged := (*table.Table)(nil).Edit()
	sections := map[uint32]func(key, value []byte) error{
		sectionFiles: files.Add,
		sectionLists: lists.Add,
		sectionBridged: func(key, value []byte) error {
			if _, err := decodeBridged(value); err != nil || len(key) != 4 {
				return errBridged
			}
			bridged.Set(key, value)
			return nil
		},
		sectionOctets: func(key, value []byte) error {
			if digest := sha256.Sum256(value); string(digest[:]) == string(key) {
				p.octets.put(digest, value, false)
			}
			return nil
		},
	}
	discard := func(key, value []byte) error { return nil }
	zones := make([]*zone.Restoration, len(h.Zones))
	journals := make([]zone.JournalRestoration, len(h.Zones))
	for n, z := range h.Zones {
		i, ours := index[z.Origin]
		if ours {
			zones[n] = zone.Restore(p.config.Places[i], z.Prefix, z.Totals)
		}
		for _, tree := range []zone.Tree{zone.Certs, zone.Texts} {
			sections[sectionOf(n, tree)] = func(key, value []byte) error { return zones[n].Add(tree, key, value) }
			if !ours {
				sections[sectionOf(n, tree)] = discard
			}
		}
		sections[sectionOfJournal(n)] = journals[n].Add
	}
	if err := r.Load(sections); err != nil {
		return statefile.Damage(err.Error())
	}
	files.End(h.Device)
	p.lists.Restore(lists)
	places := make([]place, len(p.config.Places))
	for i, at := range p.config.Places {
		places[i] = place{at: at, prefix: p.config.prefix(at.Domain)}
	}
	restored, extras := make([]*zone.Journal, len(places)), make([][]dns.RR, len(places))
	for n, z := range h.Zones {
		i, ours := index[z.Origin]
		if !ours {
			continue
		}
		places[i].was = zones[n].Zone(z.Serial)
		extras[i] = p.Signer().Extra(i)
		if z.Apex == served.VersionOf(places[i].was, extras[i]).Apex && z.Prefix == places[i].prefix {
			restored[i] = journals[n].Journal()
		}
	}
	sameForm := h.Form == p.config.formKey()
	p.sow(dir.Legacy(), bridged.Table(), places, sameForm)
	p.seed.journals, p.seed.extras = restored, extras
	p.seed.saved = sameForm && len(h.Zones) == len(places) && !p.remake
	if !sameForm {
		return errForm
	}
	return nil
}
