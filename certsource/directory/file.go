package directory

import (
	"cmp"
	"encoding/binary"
	"iter"
	"math"
	"slices"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/internal/table"
)

// A File is what is known of one file.
type File struct {
	// ID numbers the file, from 1, for as long as it is known.
	ID uint32
	// Modified is the modification time of what was read, zero if nothing was.
	Modified time.Time
	// Reason is why there is no certificate to publish; empty if there is one.
	Reason certsource.Reason
	// Failing is why the file as it is now cannot be read as a certificate,
	// while the one read earlier stays. Empty if all is well.
	Failing certsource.Reason

	// The certificate, unless Reason is set.
	NotAfter  time.Time
	Digest    [32]byte // SHA-256 of its DER
	Encrypts  bool     // see Certificate
	Addresses []string // as certified

	stamp uint64 // of the file's attributes, to see a change; 0: to be read again
}

// Published reports whether the file has a certificate to publish.
func (f *File) Published() bool { return f.ID != 0 && f.Reason == "" }

// why returns the reason that an operator should know of, if any.
func (f *File) why() certsource.Reason {
	if f.Failing != "" {
		return f.Failing
	}
	return f.Reason
}

// Files are all files known at one moment, by their paths below the directory.
// The zero Files has none.
type Files struct {
	table *table.Table
	paths *table.Table // by ID, see Options.Paths
}

// Len returns the number of files, published or not.
func (f Files) Len() int { return f.table.Len() }

// Size returns the octets that they take in memory.
func (f Files) Size() int { return f.table.Size() + f.paths.Size() }

// Path returns the path of the file with a number, if Options.Paths is set.
func (f Files) Path(id uint32) (string, bool) {
	path, ok := f.paths.Get(binary.LittleEndian.AppendUint32(nil, id))
	return string(path), ok
}

// Get returns what is known of the file at a path.
func (f Files) Get(path string) (File, bool) {
	record, ok := f.table.Get([]byte(path))
	if !ok {
		return File{}, false
	}
	return decodeFile(record), true
}

// All yields every file with its path, in no useful order.
func (f Files) All() iter.Seq2[string, File] {
	return func(yield func(string, File) bool) {
		for path, record := range f.table.All() {
			if !yield(string(path), decodeFile(record)) {
				return
			}
		}
	}
}

// A record is a File in the table:
//
//	ID (4 octets), stamp (8), modification time (8, ns; 0: none), reason (1), failing (1), encrypts (1)
//	and if there is a certificate: not after (8, s), digest (32), then for each
//	address: uvarint length, address
//
// It is kept in saved states as it is: see [Directory.Restore].
const (
	atStamp    = 4
	atModified = atStamp + 8
	atReason   = atModified + 8
	atFailing  = atReason + 1
	atEncrypts = atFailing + 1
	atNotAfter = atEncrypts + 1
	atDigest   = atNotAfter + 8
	atAddress  = atDigest + 32
)

// reasons gives each reason the octet that stands for it in a record, and in
// a saved state: new ones are added at the end.
var reasons = []certsource.Reason{"", certsource.PrivateKey, certsource.TooLarge, certsource.NoCertificate, certsource.Malformed, certsource.SeveralCertificates, certsource.Authority,
	certsource.NoAddress, certsource.Purpose, certsource.Untrusted, certsource.Expired, certsource.Unreadable, certsource.NotRegular, certsource.Outside}

func reasonOctet(r certsource.Reason) byte { return byte(max(0, slices.Index(reasons, r))) }

func (f *File) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, f.ID)
	dst = binary.LittleEndian.AppendUint64(dst, f.stamp)
	modified := int64(0)
	if !f.Modified.IsZero() {
		modified = f.Modified.UnixNano()
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(modified))
	dst = append(dst, reasonOctet(f.Reason), reasonOctet(f.Failing), 0)
	if f.Encrypts {
		dst[len(dst)-1] = 1
	}
	if f.Reason != "" && f.Reason != certsource.Expired {
		return dst
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.NotAfter.Unix()))
	dst = append(dst, f.Digest[:]...)
	for _, a := range f.Addresses {
		dst = binary.AppendUvarint(dst, uint64(len(a)))
		dst = append(dst, a...)
	}
	return dst
}

func decodeFile(b []byte) File {
	f := File{
		ID:       recordID(b),
		stamp:    recordStamp(b),
		Reason:   reasons[b[atReason]],
		Failing:  reasons[b[atFailing]],
		Encrypts: b[atEncrypts] != 0,
	}
	if modified := binary.LittleEndian.Uint64(b[atModified:]); modified != 0 {
		f.Modified = time.Unix(0, int64(modified))
	}
	if len(b) < atAddress {
		return f
	}
	f.NotAfter = recordNotAfter(b)
	f.Digest = [32]byte(b[atDigest:])
	for b = b[atAddress:]; len(b) > 0; {
		length, n := binary.Uvarint(b)
		f.Addresses = append(f.Addresses, string(b[n:n+int(length)]))
		b = b[n+int(length):]
	}
	return f
}

// The parts of a record that a look needs of every file, without decoding it.

func recordID(b []byte) uint32    { return binary.LittleEndian.Uint32(b) }
func recordStamp(b []byte) uint64 { return binary.LittleEndian.Uint64(b[atStamp:]) }

// recordNotAfter is for records of files with a certificate, see recordDated.
func recordNotAfter(b []byte) time.Time {
	return time.Unix(int64(binary.LittleEndian.Uint64(b[atNotAfter:])), 0)
}

func recordPublished(b []byte) bool { return b[atReason] == 0 }

// recordWhy returns what [File.why] does.
func recordWhy(b []byte) certsource.Reason {
	return cmp.Or(reasons[b[atFailing]], reasons[b[atReason]])
}
func recordDigest(b []byte) [32]byte { return [32]byte(b[atDigest:]) }

// recordDated reports whether the file has a certificate that can expire.
func recordDated(b []byte) bool { return len(b) >= atAddress }

// ids gives out file numbers. Those of files that are gone are used again, so
// that a set of files fits a small bitmap.
type ids struct {
	free []uint32
	last uint32
}

func (i *ids) take() uint32 {
	if n := len(i.free); n > 0 {
		id := i.free[n-1]
		i.free = i.free[:n-1]
		return id
	}
	if i.last == math.MaxUint32 {
		panic("certsource: four billion files") // no file system gets here
	}
	i.last++
	return i.last
}

func (i *ids) give(id uint32) { i.free = append(i.free, id) }
