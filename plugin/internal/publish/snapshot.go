package publish

import (
	"slices"

	"github.com/miekg/dns"

	"coredns-smimea/certsource/directory"
	"coredns-smimea/internal/table"
	"coredns-smimea/plugin/internal/crl"
	"coredns-smimea/plugin/internal/served"
	"coredns-smimea/smimea/zone"
)

// A Snapshot is all that is served at one instant. It is published whole, by
// one pointer; nothing that can be reached from it changes afterwards.
type Snapshot struct {
	// Zones are in the order of the places. One that is nil has not been read
	// yet: there is nothing to say of its names, and least of all that they do
	// not exist.
	Zones []*zone.Zone
	Files directory.Files

	extras   [][]dns.RR       // by zone: see sign.Signer.Extra
	journals []*zone.Journal  // by zone
	legacy   directory.Legacy // what a next publisher begins with
	remake   bool             // records had another form, and are made anew as files are read
	bridged  *table.Table     // by number: see Bridged
	departed []*zone.Zone     // those that are served to nobody: see Publisher.depart
	lists    *crl.Kept        // and this
}

func newSnapshot(zones int) *Snapshot {
	return &Snapshot{Zones: make([]*zone.Zone, zones), extras: make([][]dns.RR, zones), journals: make([]*zone.Journal, zones)}
}

// NewSnapshot returns a snapshot of zones that no publisher has made.
func NewSnapshot(zones ...*zone.Zone) *Snapshot {
	s := newSnapshot(len(zones))
	copy(s.Zones, zones)
	return s
}

// next returns a copy to be changed.
func (s *Snapshot) next() *Snapshot {
	n := *s
	n.Zones, n.extras, n.journals = slices.Clone(s.Zones), slices.Clone(s.extras), slices.Clone(s.journals)
	return &n
}

// transferable is Publisher.Transferable of one snapshot.
func (s *Snapshot) transferable(i int) (*zone.Transferable, *zone.Journal) {
	if s == nil || s.Zones[i] == nil {
		return nil, nil
	}
	return zone.NewTransferable(s.Zones[i], s.extras[i]), s.journals[i]
}

// form is the form of all records of a configuration's snapshot, "" if some may have
// another one: those of files that have not been read again since. Who begins with them
// must not take them for its own.
func (s *Snapshot) form(c *Config) string {
	if s.remake {
		for _, f := range s.Files.All() {
			if f.Published() && !f.Current() {
				return ""
			}
		}
	}
	return c.formKey()
}

// lastSerial returns the latest serial of the zones, 0 if there is none.
func (s *Snapshot) lastSerial() (last uint32) {
	if s == nil {
		return 0
	}
	for _, z := range s.Zones {
		if z != nil && served.Later(z.Serial, last) {
			last = z.Serial
		}
	}
	return last
}

// complete reports whether all zones have been read.
func (s *Snapshot) complete() bool { return s != nil && !slices.Contains(s.Zones, nil) }
