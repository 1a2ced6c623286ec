package directory

import (
	"encoding/binary"
	"maps"
	"time"

	"coredns-smimea/internal/table"
)

// A Legacy is what a Directory knows at one moment: its files, the file system that
// they were on, and what its guard holds back. It does not change, and is for all.
type Legacy struct {
	files   Files
	guard   guard
	held    int
	device  uint64
	margin  time.Duration
	missing map[uint32]time.Duration
	fresh   map[string]reading
	unread  map[string]bool
	folders map[string]bool
	heard   []string
	others  map[string]other
}

// Legacy returns what is known now.
func (d *Directory) Legacy() Legacy {
	return Legacy{
		files: d.Files(), guard: d.guard, held: d.held, device: d.device, margin: d.options.Margin,
		missing: maps.Clone(d.missing), fresh: maps.Clone(d.fresh), unread: maps.Clone(d.unread), folders: maps.Clone(d.folders),
		heard: d.heard, others: d.others, // which are never written to
	}
}

// Files returns the files of the legacy.
func (l Legacy) Files() Files { return l.files }

// unstamped is a stamp that no file has: it is read, and a change whatever is in it.
const unstamped = 1

// Inherit returns a Directory that knows what another one over the same files
// knew, so that its guard goes on where the other's was, a file that cannot be
// read keeps what it had, and an empty mount point is known for one. Files for
// which again is true are read at the next look even if they have not changed;
// again may be nil.
func Inherit(o Options, l Legacy, again func(File) bool) *Directory {
	d := New(o)
	d.guard, d.held, d.device = l.guard, l.held, l.device
	d.heard, d.others = l.heard, l.others
	maps.Copy(d.missing, l.missing)
	maps.Copy(d.fresh, l.fresh)
	maps.Copy(d.unread, l.unread)
	maps.Copy(d.folders, l.folders)
	edit := l.files.table.Edit()
	paths := (*table.Table)(nil).Edit()
	var taken bitmap
	for path, record := range l.files.table.All() {
		f := decodeFile(record)
		// With a smaller margin the certificate may count again.
		if again != nil && again(f) || o.Margin < l.margin && f.ended() {
			f.stamp = unstamped
			edit.Set(path, f.append(nil))
		}
		for id := range recordIDs(record) {
			taken.set(id)
			d.ids.last = max(d.ids.last, id)
			if o.Paths {
				paths.Set(binary.LittleEndian.AppendUint32(nil, id), path)
			}
		}
		d.count(&f, +1)
	}
	for id := uint32(1); id < d.ids.last; id++ {
		if !taken.has(id) {
			d.ids.free = append(d.ids.free, id)
		}
	}
	d.files = Files{edit.Table(), paths.Table()}
	return d
}
