package publish

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"coredns-smimea/internal/statefile"
	"coredns-smimea/plugin/internal/served"
	"coredns-smimea/smimea/zone"
)

// saveEvery is the least time between two saves of a state: each writes all of it.
// Where that takes long it is longer, so that it takes a hundredth of the time.
const saveEvery = 5 * time.Minute

// sectionFiles is the section of a state that has the files; those of the zones
// follow, one for each sub-tree.
const sectionFiles = 1

// These have what is bridged, the octets of certificates, and the lists of revoked
// ones. No zone's comes near.
const (
	sectionBridged = 1 << 30
	sectionOctets  = 1<<30 + 1
	sectionLists   = 1<<30 + 2
)

func sectionOf(zone int, t zone.Tree) uint32 { return uint32(2 + 3*zone + int(t)) }

// sectionOfJournal is the section of what has changed in a zone.
func sectionOfJournal(zone int) uint32 { return uint32(2 + 3*zone + 2) }

// savedHeader is what a state has besides its tables.
type savedHeader struct {
	// Key is of what the files depend on, and Form of what the records do. With
	// another key they are of no use; the serials are.
	Key     string
	Form    string
	Device  uint64
	Foreign int
	Files   int
	Octets  int // of the files' entries
	Zones   []savedZone
	// Serials are those of zones that the server had once: they may come back.
	Serials map[string]uint32
}

type savedZone struct {
	Origin       string
	Serial       uint32
	Sum          uint64 // of the records, see served.Version
	Totals       zone.Totals
	Apex         string // see served.Version
	Prefix       string // of the URLs of its TXT records, which the entries leave out
	Certificates int
	Addresses    int
}

// reserve is how far serials may rise, at four a second, before the file is marked
// again: it is to say of each, before it is given out, that no later one has been.
const reserve = uint32(8 * time.Second / served.Tick)

// A stateFile is a file that a state is kept in, and whose saver keeps it: that of
// the publisher that came last. During a reload there are two.
type stateFile struct {
	sync.Mutex
	// Under the lock.
	saver *saver
	limit uint32 // no serial later than that has been given out, 0: none has been
}

// raise takes in a later limit. The lock is held.
func (f *stateFile) raise(limit uint32) {
	if served.Later(limit, f.limit) {
		f.limit = limit
	}
}

// stateFiles has them by their places.
var stateFiles sync.Map

// A saver keeps a publisher's state in a file. It is owned by the publisher's
// goroutine; only the writing is done beside it. A nil one keeps nothing.
type saver struct {
	p    *Publisher
	path statefile.Path
	file *stateFile

	timer    Timer
	done     chan saved // at the end of a save
	running  bool
	unsaved  bool   // there is something that the file, or the one being written, lacks
	stale    bool   // its answers are not those of the file, which says so
	limit    uint32 // the file's, as far as this saver has raised it
	last     time.Time
	took     time.Duration
	lastText string // the last error
}

// saved is how a save has ended.
type saved struct {
	took time.Duration
	err  error
}

func newSaver(p *Publisher) *saver {
	if p.config.State == "" {
		return nil
	}
	path := statefile.Path{Name: p.config.State, Disk: p.world.Disk}
	file, _ := stateFiles.LoadOrStore(path.Place(), new(stateFile))
	return &saver{p: p, path: path, file: file.(*stateFile), timer: p.world.Timer(), done: make(chan saved, 1)}
}

// claim takes the file over.
func (s *saver) claim() {
	if s == nil {
		return
	}
	s.file.Lock()
	defer s.file.Unlock()
	s.file.saver = s
}

// reclaim takes the file back from a publisher whose reload has failed.
func (s *saver) reclaim() {
	if s != nil && s.succeeded() {
		s.claim()
		s.stale = false
		s.changed(s.p.current.Load(), true)
	}
}

// succeeded reports whether another publisher keeps its state in the file now.
func (s *saver) succeeded() bool {
	s.file.Lock()
	defer s.file.Unlock()
	return s.file.saver != s
}

// due and ended are what the publisher's loop waits for; they wait for ever
// where there is no saver.
func (s *saver) due() <-chan time.Time {
	if s == nil {
		return nil
	}
	return s.timer.C()
}

func (s *saver) ended() <-chan saved {
	if s == nil {
		return nil
	}
	return s.done
}

// changed notes that there is something to be saved, of a snapshot that is served
// next: records, or only what is known of files.
func (s *saver) changed(next *Snapshot, records bool) {
	if s == nil {
		return
	}
	last := next.lastSerial()
	if beyond := last != 0 && served.Later(last, s.limit); records && (!s.stale || beyond) {
		if beyond {
			s.limit = max(1, last+reserve)
		}
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
		s.timer.Reset(max(0, s.last.Add(max(saveEvery, 100*s.took)).Sub(s.p.world.System.Now())))
	}
}

// mark says in the file whether its answers are those that are given.
func (s *saver) mark(clean bool) {
	s.file.Lock()
	defer s.file.Unlock()
	if s.file.saver != s {
		return
	}
	s.file.raise(s.limit)
	err := s.path.Mark(statefile.Mark{Clean: clean, Limit: s.file.limit})
	if err == nil || os.IsNotExist(err) {
		return
	}
	s.tell(fmt.Errorf("marking the state: %w", err))
	if !clean {
		// What cannot be marked must not pass for what it was.
		s.tell(s.path.Remove())
	}
}

// resume goes on with a file that an earlier process has left, in which there is its
// limit.
func (s *saver) resume(limit uint32) {
	s.limit = limit
	s.file.Lock()
	defer s.file.Unlock()
	s.file.raise(limit)
}

// save begins to save. A zone that has not been read yet cannot be.
func (s *saver) save() {
	snap := s.p.current.Load()
	if !snap.complete() || s.running || s.succeeded() {
		return
	}
	header, octets := s.header(snap), s.p.octets.all()
	s.running, s.unsaved, s.stale = true, false, false
	began := s.p.world.System.Now()
	go func() { // joined by end, for which finish waits
		err := s.write(header, snap, octets)
		s.done <- saved{s.p.world.System.Now().Sub(began), err}
	}()
}

// end takes in how a save has ended.
func (s *saver) end(r saved) {
	s.running, s.last, s.took = false, s.p.world.System.Now(), r.took
	s.tell(r.err)
	stateSaved.WithLabelValues(s.p.config.Dir).Set(oneIf(r.err == nil))
	if r.err != nil {
		s.unsaved = true
	} else {
		setTime(lastSave, s.p.config.Dir, s.last)
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

// tell logs an error, once.
func (s *saver) tell(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != s.lastText && text != "" {
		log.Errorf("The state %q is not kept, and a restart may read the directory anew: %s", s.path.Name, text)
	}
	s.lastText = text
}

func (s *saver) header(snap *Snapshot) []byte {
	p := s.p
	h := savedHeader{
		Key: p.config.readKey(), Form: snap.form(&p.config),
		Device: p.directory.Device(), Foreign: p.foreign, Files: snap.Files.Len(), Octets: snap.Files.Weight(),
	}
	for i, z := range snap.Zones {
		h.Zones = append(h.Zones, savedZone{
			Origin: z.Origin, Serial: z.Serial, Sum: z.Sum(), Totals: z.Totals(), Apex: served.VersionOf(z, snap.extras[i]).Apex, Prefix: z.Prefix(),
			Certificates: p.counts[i].certificates, Addresses: p.counts[i].addresses,
		})
	}
	h.Serials = served.Serials()
	for _, z := range snap.Zones {
		delete(h.Serials, z.Origin)
	}
	text, err := json.Marshal(h)
	if err != nil {
		panic(err) // numbers and strings
	}
	return text
}

// write writes a state, and puts it in its place if that is still ours.
func (s *saver) write(header []byte, snap *Snapshot, octets map[[32]byte][]byte) error {
	w, err := s.path.Create(header)
	if err != nil {
		return err
	}
	w.Section(sectionFiles)
	for path, record := range snap.Files.Entries() {
		if !w.Add(path, record) {
			break
		}
	}
	w.Section(sectionBridged)
	for id, bridged := range snap.bridged.All() {
		if !w.Add(id, bridged) {
			break
		}
	}
	w.Section(sectionLists)
	for name, list := range snap.lists.Entries() {
		if !w.Add(name, list) {
			break
		}
	}
	w.Section(sectionOctets)
	for digest, der := range octets {
		if !w.Add(digest[:], der) {
			break
		}
	}
	for i, z := range snap.Zones {
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
	s.file.Lock()
	defer s.file.Unlock()
	if s.file.saver != s {
		w.Abort()
		return nil
	}
	return w.Commit(s.file.limit)
}
