package plugin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"coredns-smimea/certsource/directory"
	"coredns-smimea/internal/statefile"
	"coredns-smimea/smimea/zone"
)

// saveEvery is the least time between two saves of a state: each writes all of it.
// Where that takes long it is longer, so that it takes a hundredth of the time.
const saveEvery = 5 * time.Minute

// sectionFiles is the section of a state that has the files; those of the zones
// follow, one for each sub-tree.
const sectionFiles = 1

func sectionOf(zone int, t zone.Tree) uint32 { return uint32(2 + 3*zone + int(t)) }

// sectionOfJournal is the section of what has changed in a zone.
func sectionOfJournal(zone int) uint32 { return uint32(2 + 3*zone + 2) }

// savedHeader is what a state has besides its tables.
type savedHeader struct {
	// Key is of what the tables depend on. With another one they are of no
	// use; the serials are.
	Key     string
	Device  uint64
	Foreign int
	Files   int
	Octets  int // of the files' entries
	Zones   []savedZone
}

type savedZone struct {
	Origin       string
	Serial       uint32
	Sum          uint64 // of the records, see version
	Totals       zone.Totals
	Apex         string // see version
	Certificates int
	Addresses    int
}

// A saver keeps a publisher's state in a file. It is for the publisher's
// goroutine; only the writing is done beside it.
type saver struct {
	p    *publisher
	path string

	timer    *time.Timer
	done     chan saved // at the end of a save
	running  bool
	unsaved  bool // there is something that the file, or the one being written, lacks
	stale    bool // its answers are not those of the file, which says so
	last     time.Time
	took     time.Duration
	lastText string // the last error
}

// saved is how a save has ended.
type saved struct {
	took time.Duration
	err  error
}

func newSaver(p *publisher) *saver {
	if p.config.state == "" {
		return nil
	}
	return &saver{p: p, path: p.config.state, timer: newTimer(), done: make(chan saved, 1)}
}

// due and ended are what the publisher's loop waits for; they wait for ever
// where there is no saver.
func (s *saver) due() <-chan time.Time {
	if s == nil {
		return nil
	}
	return s.timer.C
}

func (s *saver) ended() <-chan saved {
	if s == nil {
		return nil
	}
	return s.done
}

// changed notes that there is something to be saved: records, or only what is
// known of files.
func (s *saver) changed(records bool) {
	if s == nil {
		return
	}
	if records && !s.stale {
		s.stale = true
		s.mark(false)
	}
	if !s.unsaved {
		s.unsaved = true
		s.schedule()
	}
}

func (s *saver) schedule() {
	if !s.running {
		s.timer.Reset(max(0, time.Until(s.last.Add(max(saveEvery, 100*s.took)))))
	}
}

// mark says in the file whether its answers are those that are given.
func (s *saver) mark(clean bool) {
	err := statefile.Mark(s.path, clean)
	if err == nil || os.IsNotExist(err) {
		return
	}
	s.tell(fmt.Errorf("marking the state: %w", err))
	if !clean {
		// What cannot be marked must not pass for what it was.
		s.tell(os.Remove(s.path))
	}
}

// save begins to save.
func (s *saver) save() {
	snap := s.p.current.Load()
	if snap == nil || s.running {
		return
	}
	header := s.header(snap)
	s.running, s.unsaved, s.stale = true, false, false
	go func() {
		began := time.Now()
		err := write(s.path, header, snap)
		s.done <- saved{time.Since(began), err}
	}()
}

// end takes in how a save has ended.
func (s *saver) end(r saved) {
	s.running, s.last, s.took = false, time.Now(), r.took
	s.tell(r.err)
	if r.err != nil {
		s.unsaved = true
	} else {
		lastSave.WithLabelValues(s.p.config.dir).SetToCurrentTime()
		if !s.stale {
			s.mark(true)
		}
	}
	if s.unsaved {
		s.schedule()
	}
}

// finish saves what is not saved when the publisher ends.
func (s *saver) finish() {
	if s == nil {
		return
	}
	s.timer.Stop()
	if s.running {
		s.end(<-s.done)
	}
	// Who follows the same directory now has a newer state, or will.
	if s.unsaved && !s.succeeded() {
		if s.save(); s.running {
			s.end(<-s.done)
		}
	}
	s.timer.Stop()
}

// succeeded reports whether another publisher keeps its state in the file now.
func (s *saver) succeeded() bool {
	publishers.Lock()
	defer publishers.Unlock()
	for _, other := range publishers.byKey {
		if other != s.p && other.config.state == s.path {
			return true
		}
	}
	return false
}

// tell logs an error, once.
func (s *saver) tell(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != s.lastText && text != "" {
		log.Errorf("The state %q is not kept, and a restart may read the directory anew: %s", s.path, text)
	}
	s.lastText = text
}

func (s *saver) header(snap *snapshot) []byte {
	h := savedHeader{Key: s.p.stateKey(), Device: s.p.directory.Device(), Foreign: s.p.foreign, Files: snap.files.Len(), Octets: snap.files.Weight()}
	for i, z := range snap.zones {
		h.Zones = append(h.Zones, savedZone{
			Origin: z.Origin, Serial: z.Serial, Sum: z.Sum(), Totals: z.Totals(), Apex: versionOf(z).apex,
			Certificates: s.p.counts[i].certificates, Addresses: s.p.counts[i].addresses,
		})
	}
	text, err := json.Marshal(h)
	if err != nil {
		panic(err) // numbers and strings
	}
	return text
}

// write writes a state.
func write(path string, header []byte, snap *snapshot) error {
	w, err := statefile.Create(path, header)
	if err != nil {
		return err
	}
	w.Section(sectionFiles)
	for path, record := range snap.files.Entries() {
		if !w.Add(path, record) {
			break
		}
	}
	for i, z := range snap.zones {
		for _, tree := range []zone.Tree{zone.Certs, zone.Texts} {
			w.Section(sectionOf(i, tree))
			for key, value := range z.Entries(tree) {
				if !w.Add(key, value) {
					break
				}
			}
		}
		w.Section(sectionOfJournal(i))
		for key, value := range snap.journals[i].Entries() {
			if !w.Add(key, value) {
				break
			}
		}
	}
	return w.Commit()
}

// stateKey is a digest of all that the tables of a state depend on: another
// program may judge a file in another way.
func (p *publisher) stateKey() string {
	c := p.config
	dir, err := filepath.Abs(c.dir)
	if err != nil {
		dir = c.dir
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q %v %v %v %q\n", dir, c.records, c.url, c.lower, c.rootsFrom)
	for _, place := range p.places {
		fmt.Fprintf(h, "%q %v\n", place.Origin, place.Layout)
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		fmt.Fprintln(h, info.GoVersion, info.Main, info.Settings)
		for _, dep := range info.Deps {
			fmt.Fprintln(h, *dep)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// restore begins with what an earlier life has saved. It publishes it, if it is
// what was served then; otherwise the first look does. Nothing of it is believed
// for longer than that look takes.
func (p *publisher) restore(ctx context.Context) {
	began := time.Now()
	r, err := statefile.Open(p.config.state)
	if os.IsNotExist(err) {
		return
	}
	if err == nil {
		defer r.Close()
		err = p.restoreFrom(ctx, r)
	}
	var damage statefile.Damage
	switch {
	case errors.As(err, &damage) && p.saver.succeeded():
		// A reload to another configuration: it is the old one's still.
		log.Infof("The state %q is of no use, %q is read anew: %v", p.config.state, p.config.dir, err)
	case errors.As(err, &damage):
		aside, asideErr := statefile.SetAside(p.config.state)
		if asideErr != nil {
			err = fmt.Errorf("%w; nor can it be renamed: %w", err, asideErr)
		}
		log.Warningf("Setting the state %q aside as %q, %q is read anew: %v", p.config.state, aside, p.config.dir, err)
	case err != nil:
		log.Errorf("The state cannot be read, %q is read anew: %v", p.config.dir, err)
	case !r.Clean:
		p.saver.stale = true
		p.saver.changed(false)
		log.Infof("Read the state of %q in %v; what was served later is read from the directory first", p.config.dir, time.Since(began).Round(time.Millisecond))
	default:
		p.saver.last = time.Now()
		close(p.ready)
		log.Infof("Serving %d certificates of %q as they were saved, after %v, while the directory is looked at", p.directory.Published()-p.foreign, p.config.dir, time.Since(began).Round(time.Millisecond))
	}
}

// restoreFrom restores what a state has. After an error nothing is restored but
// serials.
func (p *publisher) restoreFrom(ctx context.Context, r *statefile.Reader) error {
	var h savedHeader
	if err := json.Unmarshal(r.Header, &h); err != nil {
		return statefile.Damage("its header is malformed")
	}
	for _, z := range h.Zones {
		rememberSaved(z.Origin, version{z.Serial, z.Sum, z.Apex})
	}
	if h.Key != p.stateKey() || len(h.Zones) != len(p.places) {
		return statefile.Damage("it is one of another configuration or program")
	}
	dir := directory.New(p.options)
	files := dir.Restore(max(0, h.Files), max(0, h.Octets))
	sections := map[uint32]func(key, value []byte) error{sectionFiles: files.Add}
	zones := make([]*zone.Restoration, len(p.places))
	journals := make([]zone.JournalRestoration, len(p.places))
	for i, place := range p.places {
		zones[i] = zone.Restore(place, p.config.prefix(place.Domain), h.Zones[i].Totals)
		for _, tree := range []zone.Tree{zone.Certs, zone.Texts} {
			sections[sectionOf(i, tree)] = func(key, value []byte) error { return zones[i].Add(tree, key, value) }
		}
		sections[sectionOfJournal(i)] = journals[i].Add
	}
	if err := r.Load(sections); err != nil {
		return statefile.Damage(err.Error())
	}
	files.End(h.Device)
	p.directory = dir
	p.foreign = h.Foreign
	p.restored = make([]*zone.Zone, len(p.places))
	p.restoredJournals = make([]*zone.Journal, len(p.places))
	for i, z := range h.Zones {
		p.restored[i] = zones[i].Zone(z.Serial)
		if z.Apex == versionOf(p.restored[i]).apex {
			p.restoredJournals[i] = journals[i].Journal()
		}
		p.counts[i] = count{z.Certificates, z.Addresses}
	}
	if !r.Clean {
		return nil
	}
	p.directory.Expire(ctx, time.Now(), p.apply)
	for i := range p.places {
		p.edit(i, time.Time{})
	}
	p.commit()
	return nil
}
