package directory

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"iter"

	"coredns-smimea/internal/table"
)

// Entries yields what is known of all files in a form that a [Restoration] takes,
// in this version of the program and maybe in no other.
func (f Files) Entries() iter.Seq2[[]byte, []byte] { return f.table.All() }

// Device returns the number of the file system that the directory was on at the
// last look, 0 if that is not known.
func (d *Directory) Device() uint64 { return d.device }

// A Restoration gives a Directory what was known of the files in an earlier
// life. The next look reads only what has changed since.
type Restoration struct {
	d     *Directory
	edit  *table.Edit
	paths *table.Edit
	taken bitmap
	last  uint32 // the highest number taken
}

// Restore begins to restore a Directory that nothing is known of yet, and will be
// of about as many files, of as many octets (see [Files.Weight]).
func (d *Directory) Restore(files, octets int) *Restoration {
	r := &Restoration{d: d, edit: table.Fill(files, octets), paths: (*table.Table)(nil).Edit()}
	if d.options.Paths {
		r.paths = table.Fill(files, octets/2)
	}
	return r
}

// Weight returns the octets of what Entries yields.
func (f Files) Weight() int { return f.table.Size() }

var errEntry = errors.New("an entry is not one of a file")

// Add adds an entry, as Entries has yielded it.
func (r *Restoration) Add(path, record []byte) error {
	if !validRecord(record) || !fs.ValidPath(string(path)) {
		return errEntry
	}
	for id := range recordIDs(record) {
		if r.taken.has(id) {
			return errEntry
		}
		r.taken.set(id)
		r.last = max(r.last, id)
		if r.d.options.Paths {
			r.paths.Append(binary.LittleEndian.AppendUint32(nil, id), path)
		}
	}
	r.edit.Append(path, record)
	r.d.inFolder(string(path))
	f := decodeFile(record)
	r.d.count(&f, +1)
	return nil
}

// End makes what was added known. Without it the Directory is of no use.
func (r *Restoration) End(device uint64) {
	d := r.d
	d.device = device
	d.files = Files{r.edit.Table(), r.paths.Table()}
	d.ids.last = r.last
	for id := range r.last {
		if id > 0 && !r.taken.has(id) {
			d.ids.free = append(d.ids.free, id)
		}
	}
}

// validRecord reports whether a record can be decoded.
func validRecord(b []byte) bool {
	if len(b) < atFlags || recordID(b) == 0 || int(b[atReason]) >= len(reasons) || int(b[atFailing]) >= len(reasons) {
		return false
	}
	reason, rest := reasons[b[atReason]], b[atFlags:]
	if !holds(reason) {
		return len(rest) == 0
	}
	live, ok := false, true
	for first := true; first || len(rest) > 0; first = false {
		if !first {
			if len(rest) < 4 || binary.LittleEndian.Uint32(rest) == 0 {
				return false
			}
			rest = rest[4:]
		}
		if len(rest) < ofAddress || rest[0] > flagEncrypts|flagEnded|flagRevoked || rest[0]&flagRevoked != 0 && rest[0]&flagEnded == 0 {
			return false
		}
		live = live || rest[0]&flagEnded == 0
		if rest, ok = skipAddresses(rest[ofAddress:]); !ok {
			return false
		}
	}
	return live == (reason == "")
}

// skipAddresses returns what follows the addresses of a certificate.
func skipAddresses(b []byte) ([]byte, bool) {
	count, n := binary.Uvarint(b)
	if n <= 0 || count > uint64(len(b)) {
		return nil, false
	}
	b = b[n:]
	for range count {
		length, n := binary.Uvarint(b)
		if n <= 0 || length > uint64(len(b)-n) {
			return nil, false
		}
		b = b[n+int(length):]
	}
	return b, true
}
