package publish

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"os"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/certsource/directory"
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
	l := newLoading(p, &h)
	if err := r.Load(l.sections()); err != nil {
		return statefile.Damage(err.Error())
	}
	l.files.End(h.Device)
	p.lists.Restore(l.lists)
	was, seed := l.served()
	sameForm := h.Form == p.config.formKey()
	p.sow(l.directory.Legacy(), l.bridged.Table(), was, sameForm)
	p.seed.journals, p.seed.extras = seed.journals, seed.extras
	p.seed.saved = sameForm && len(h.Zones) == len(was) && !p.remake
	if !sameForm {
		return errForm
	}
	return nil
}

// A loading is what is made of a state's sections, while they are read.
type loading struct {
	p         *Publisher
	header    *savedHeader
	places    map[string]int // indices of our places, by origin
	directory Directory
	files     *directory.Restoration
	lists     *crl.Kept
	bridged   *table.Edit
	zones     []*zone.Restoration       // by zone of the state; nil for one that is not ours
	journals  []zone.JournalRestoration // by zone of the state
}

func newLoading(p *Publisher, h *savedHeader) *loading {
	l := &loading{
		p: p, header: h, places: map[string]int{}, directory: p.world.Directory(p.options()), lists: new(crl.Kept), bridged: (*table.Table)(nil).Edit(),
		zones: make([]*zone.Restoration, len(h.Zones)), journals: make([]zone.JournalRestoration, len(h.Zones)),
	}
	l.files = l.directory.Restore(max(0, h.Files), max(0, h.Octets))
	for i, place := range p.config.Places {
		l.places[place.Origin] = i
	}
	for n, z := range h.Zones {
		if i, ours := l.places[z.Origin]; ours {
			l.zones[n] = zone.Restore(p.config.Places[i], z.Prefix, z.Totals)
		}
	}
	return l
}

// sections returns what takes the entries of each section.
func (l *loading) sections() map[uint32]func(key, value []byte) error {
	sections := map[uint32]func(key, value []byte) error{
		sectionFiles: l.files.Add,
		sectionLists: l.lists.Add,
		sectionBridged: func(key, value []byte) error {
			if _, err := decodeBridged(value); err != nil || len(key) != 4 {
				return errBridged
			}
			l.bridged.Set(key, value)
			return nil
		},
		sectionOctets: func(key, value []byte) error {
			if digest := sha256.Sum256(value); string(digest[:]) == string(key) {
				l.p.octets.put(digest, value, false)
			}
			return nil
		},
	}
	for n, z := range l.zones {
		for _, tree := range []zone.Tree{zone.Certs, zone.Texts} {
			sections[sectionOf(n, tree)] = func(key, value []byte) error {
				if z == nil {
					return nil // of a zone that is not ours
				}
				return z.Add(tree, key, value)
			}
		}
		sections[sectionOfJournal(n)] = l.journals[n].Add
	}
	return sections
}

// served returns what was served at each of our places, and a seed that has the journals
// that lead to it, and what was at the apexes beside.
func (l *loading) served() ([]servedZone, *seed) {
	p := l.p
	was := make([]servedZone, len(p.config.Places))
	for i, place := range p.config.Places {
		was[i] = servedZone{place: place, prefix: p.config.prefix(place.Domain)}
	}
	s := &seed{journals: make([]*zone.Journal, len(was)), extras: make([][]dns.RR, len(was))}
	for n, z := range l.header.Zones {
		i, ours := l.places[z.Origin]
		if !ours {
			continue
		}
		was[i].zone = l.zones[n].Zone(z.Serial)
		s.extras[i] = p.Signer().Extra(i)
		if z.Apex == served.VersionOf(was[i].zone, s.extras[i]).Apex && z.Prefix == was[i].prefix {
			s.journals[i] = l.journals[n].Journal()
		}
	}
	return was, s
}
