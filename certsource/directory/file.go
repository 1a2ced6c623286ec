package directory

import (
	"cmp"
	"encoding/binary"
	"iter"
	"math"
	"slices"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/certsource/revocation"
	"coredns-smimea/internal/table"
)

// A File is what is known of one file.
type File struct {
	// Certificate is the first of the file, the zero one if Reason says that there
	// is none; More are the others. Its number is the file's, too.
	Certificate
	More []Certificate

	// Modified is the modification time of what was read, zero if nothing was.
	Modified time.Time
	// Reason is why there is no certificate to publish; empty if there is one.
	Reason certsource.Reason
	// Failing is why the file as it is now cannot be read as a certificate,
	// while the one read earlier stays. Empty if all is well.
	Failing certsource.Reason
	// Unused counts what else is in the file and not published, as far as 255.
	Unused uint8

	stamp uint64 // of the file's attributes, to see a change; 0: to be read again
}

// A Certificate is what is known of one certificate of a file.
type Certificate struct {
	// ID numbers the certificate, from 1: the place that it has in its file, for as
	// long as there is one there.
	ID        uint32
	NotAfter  time.Time
	Digest    [32]byte // SHA-256 of its DER
	Encrypts  bool     // see certsource.Certificate
	Ended     bool     // it is, or was at the last look, too near its end to be published, or Revoked
	Revoked   bool     // its issuer has revoked it
	Addresses []string // as certified
	// Issued is what lists of revoked certificates know it by.
	Issued revocation.ID
}

// Version tells what stands in the file apart from what stood in it before, and from
// other files; 0: it cannot.
func (f *File) Version() uint64 { return f.stamp }

// Published reports whether the file has a certificate to publish.
func (f *File) Published() bool { return f.ID != 0 && f.Reason == "" }

// Current reports whether the file has been read as it is, and is not to be read again:
// what is known of it is not what it held before.
func (f *File) Current() bool { return f.Failing == "" && f.stamp != 0 && f.stamp != unstamped }

// holds reports whether there are certificates, published or ended.
func (f *File) holds() bool { return holds(f.Reason) }

func holds(r certsource.Reason) bool {
	return r == "" || r == certsource.Expired || r == certsource.Revoked
}

// Certificates yields all certificates, published or ended, in the order of the file.
func (f *File) Certificates() iter.Seq2[int, *Certificate] {
	return func(yield func(int, *Certificate) bool) {
		if f.ID == 0 || !f.holds() || !yield(0, &f.Certificate) {
			return
		}
		for i := range f.More {
			if !yield(1+i, &f.More[i]) {
				return
			}
		}
	}
}

// Live yields the certificates to be published.
func (f *File) Live() iter.Seq2[int, *Certificate] {
	return func(yield func(int, *Certificate) bool) {
		if !f.Published() {
			return
		}
		for i, c := range f.Certificates() {
			if !c.Ended && !yield(i, c) {
				return
			}
		}
	}
}

// live counts the certificates to be published.
func (f *File) live() (n int) {
	for range f.Live() {
		n++
	}
	return n
}

// ended reports whether a certificate has.
func (f *File) ended() bool {
	for _, c := range f.Certificates() {
		if c.Ended {
			return true
		}
	}
	return false
}

// has reports whether a certificate is in the file, published or ended.
func (f *File) has(digest [32]byte) bool {
	for _, c := range f.Certificates() {
		if c.Digest == digest {
			return true
		}
	}
	return false
}

// loses reports whether another version of the file lacks a certificate that is
// published, and not for its end.
func (f *File) loses(next *File) bool {
	for _, c := range f.Live() {
		if !next.has(c.Digest) {
			return true
		}
	}
	return false
}

// Same reports whether another version of the file publishes the same certificates.
func (f *File) Same(other *File) bool {
	if len(f.More) != len(other.More) || f.Published() != other.Published() || f.Digest != other.Digest || f.Ended != other.Ended {
		return false
	}
	return slices.EqualFunc(f.More, other.More, func(a, b Certificate) bool { return a.Digest == b.Digest && a.Ended == b.Ended })
}

// shrinks reports whether the file has nothing but some of the certificates that an
// earlier version has.
func (f *File) shrinks(before *File) bool {
	for _, c := range f.Certificates() {
		if !before.has(c.Digest) {
			return false
		}
	}
	return len(f.More) < len(before.More)
}

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
//	ID (4 octets), stamp (8), modification time (8, ns; 0: none), reason (1), failing (1), unused (1)
//
// and for each certificate: flags (1), not after (8, s), digest (32), issued (8), uvarint number of
// addresses, for each address: uvarint length, address; from the second on its ID (4)
// stands before the flags.
//
// It is kept in saved states as it is: see [Directory.Restore].
const (
	atStamp    = 4
	atModified = atStamp + 8
	atReason   = atModified + 8
	atFailing  = atReason + 1
	atUnused   = atFailing + 1
	atFlags    = atUnused + 1

	// Within a certificate, from its flags on.
	ofNotAfter = 1
	ofDigest   = ofNotAfter + 8
	ofIssued   = ofDigest + 32
	ofAddress  = ofIssued + 8
)

// Flags of a certificate.
const (
	flagEncrypts = 1 << iota
	flagEnded
	flagRevoked
)

// reasons gives each reason the octet that stands for it in a record, and in
// a saved state: new ones are added at the end.
var reasons = []certsource.Reason{"", certsource.PrivateKey, certsource.TooLarge, certsource.NoCertificate, certsource.Malformed, certsource.SeveralCertificates, certsource.Authority,
	certsource.NoAddress, certsource.Purpose, certsource.Untrusted, certsource.Expired, certsource.Unreadable, certsource.NotRegular, certsource.Outside, certsource.Revoked, certsource.HeldBack}

func reasonOctet(r certsource.Reason) byte { return byte(max(0, slices.Index(reasons, r))) }

func (f *File) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, f.ID)
	dst = binary.LittleEndian.AppendUint64(dst, f.stamp)
	modified := int64(0)
	if !f.Modified.IsZero() {
		modified = f.Modified.UnixNano()
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(modified))
	dst = append(dst, reasonOctet(f.Reason), reasonOctet(f.Failing), f.Unused)
	if !f.holds() {
		return dst
	}
	dst = f.Certificate.append(dst)
	for i := range f.More {
		dst = binary.LittleEndian.AppendUint32(dst, f.More[i].ID)
		dst = f.More[i].append(dst)
	}
	return dst
}

// append appends all but the ID.
func (c *Certificate) append(dst []byte) []byte {
	flags := byte(0)
	if c.Encrypts {
		flags |= flagEncrypts
	}
	if c.Ended {
		flags |= flagEnded
	}
	if c.Revoked {
		flags |= flagRevoked
	}
	dst = append(dst, flags)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(c.NotAfter.Unix()))
	dst = append(dst, c.Digest[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(c.Issued))
	dst = binary.AppendUvarint(dst, uint64(len(c.Addresses)))
	for _, a := range c.Addresses {
		dst = binary.AppendUvarint(dst, uint64(len(a)))
		dst = append(dst, a...)
	}
	return dst
}

func decodeFile(b []byte) File {
	f := File{
		stamp:   recordStamp(b),
		Reason:  reasons[b[atReason]],
		Failing: reasons[b[atFailing]],
		Unused:  b[atUnused],
	}
	f.ID = recordID(b)
	if modified := binary.LittleEndian.Uint64(b[atModified:]); modified != 0 {
		f.Modified = time.Unix(0, int64(modified))
	}
	for part, first := b[atFlags:], true; len(part) > 0; first = false {
		c := &f.Certificate
		if !first {
			f.More = append(f.More, Certificate{ID: binary.LittleEndian.Uint32(part)})
			c, part = &f.More[len(f.More)-1], part[4:]
		}
		part = c.decode(part)
	}
	return f
}

// decode decodes what append has made of all but the ID, and returns what follows.
func (c *Certificate) decode(b []byte) []byte {
	c.Encrypts, c.Ended, c.Revoked = b[0]&flagEncrypts != 0, b[0]&flagEnded != 0, b[0]&flagRevoked != 0
	c.NotAfter = time.Unix(int64(binary.LittleEndian.Uint64(b[ofNotAfter:])), 0)
	c.Digest = [32]byte(b[ofDigest:])
	c.Issued = revocation.ID(binary.LittleEndian.Uint64(b[ofIssued:]))
	count, n := binary.Uvarint(b[ofAddress:])
	b = b[ofAddress+n:]
	if count > 0 {
		c.Addresses = make([]string, 0, count)
	}
	for range count {
		length, n := binary.Uvarint(b)
		c.Addresses = append(c.Addresses, string(b[n:n+int(length)]))
		b = b[n+int(length):]
	}
	return b
}

// The parts of a record that a look needs of every file, without decoding it.

func recordID(b []byte) uint32      { return binary.LittleEndian.Uint32(b) }
func recordStamp(b []byte) uint64   { return binary.LittleEndian.Uint64(b[atStamp:]) }
func recordPublished(b []byte) bool { return b[atReason] == 0 }

// recordHeld reports whether the guard holds back what the file published, which is gone.
func recordHeld(b []byte) bool { return reasons[b[atFailing]] == certsource.HeldBack }

// recordWhy returns what [File.why] does.
func recordWhy(b []byte) certsource.Reason {
	return cmp.Or(reasons[b[atFailing]], reasons[b[atReason]])
}

// A recordCertificate is a certificate of a record.
type recordCertificate struct {
	id       uint32
	ended    bool
	revoked  bool
	notAfter time.Time
	digest   [32]byte
	issued   revocation.ID
}

// recordCertificates yields the certificates of a record, published or ended.
func recordCertificates(b []byte) iter.Seq[recordCertificate] {
	return func(yield func(recordCertificate) bool) {
		id := recordID(b)
		for part := b[atFlags:]; len(part) > 0; {
			if id == 0 {
				id, part = binary.LittleEndian.Uint32(part), part[4:]
			}
			c := recordCertificate{
				id: id, ended: part[0]&flagEnded != 0, revoked: part[0]&flagRevoked != 0,
				notAfter: time.Unix(int64(binary.LittleEndian.Uint64(part[ofNotAfter:])), 0), digest: [32]byte(part[ofDigest:]),
				issued: revocation.ID(binary.LittleEndian.Uint64(part[ofIssued:])),
			}
			if !yield(c) {
				return
			}
			id, part = 0, part[ofAddress:]
			count, n := binary.Uvarint(part)
			part = part[n:]
			for range count {
				length, n := binary.Uvarint(part)
				part = part[n+int(length):]
			}
		}
	}
}

// recordIDs yields the numbers that a record has given out.
func recordIDs(b []byte) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		any := false
		for c := range recordCertificates(b) {
			if any = true; !yield(c.id) {
				return
			}
		}
		if !any {
			yield(recordID(b))
		}
	}
}

// recordLive yields the digests of the certificates that a record publishes.
func recordLive(b []byte) iter.Seq[[32]byte] {
	return func(yield func([32]byte) bool) {
		if !recordPublished(b) {
			return
		}
		for c := range recordCertificates(b) {
			if !c.ended && !yield(c.digest) {
				return
			}
		}
	}
}

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
