package publish

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"os"
	"time"

	"coredns-smimea/internal/statefile"
	"coredns-smimea/internal/table"
	"coredns-smimea/plugin/internal/crl"
	"coredns-smimea/plugin/internal/served"
	"coredns-smimea/smimea/zone"
)

// errForm says that a state has records in another form. It is of use all the
// same: they are served until the files have been read again.
var errForm = statefile.Damage("its records are of another configuration")

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
		clean = r.Clean
		err = p.restoreFrom(r)
	}
	took := func() time.Duration { return p.world.System.Now().Sub(began).Round(time.Millisecond) }
	var damage statefile.Damage
	switch {
	case errors.As(err, &damage):
		aside, asideErr := path.SetAside()
		if asideErr != nil {
			log.Errorf("The state %q cannot be used, nor set aside (%v); %q is read anew: %v", path.Name, asideErr, p.config.Dir, err)
		} else {
			log.Warningf("Setting the state %q aside as %q, %q is read anew: %v", path.Name, aside, p.config.Dir, err)
		}
	case err != nil:
		log.Errorf("The state cannot be read, %q is read anew: %v", p.config.Dir, err)
	case !clean:
		p.saver.stale = true
		p.saver.changed(false)
		log.Infof("Read the state of %q in %v; what was served later is read from the directory first", p.config.Dir, took())
		return
	default:
		p.saver.last = p.world.System.Now()
	}
	if p.seed != nil && clean {
		p.serveSeed(ctx)
		if p.current.Load().complete() {
			p.serves()
			log.Infof("Serving %d certificates of %q as they were saved, after %v, while the directory is looked at", p.directory.Published()-p.foreign, p.config.Dir, took())
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
	for _, z := range h.Zones {
		served.NoteSaved(z.Origin, served.Version{Serial: z.Serial, Sum: z.Sum, Apex: z.Apex})
	}
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
	restored := make([]*zone.Journal, len(places))
	for n, z := range h.Zones {
		i, ours := index[z.Origin]
		if !ours {
			continue
		}
		places[i].was = zones[n].Zone(z.Serial)
		if z.Apex == served.VersionOf(places[i].was).Apex && z.Prefix == places[i].prefix {
			restored[i] = journals[n].Journal()
		}
	}
	sameForm := h.Form == p.config.formKey()
	p.sow(dir.Legacy(), bridged.Table(), places, sameForm)
	p.seed.journals = restored
	p.seed.saved = sameForm && len(h.Zones) == len(places) && !p.remake
	if !sameForm {
		return errForm
	}
	return nil
}
