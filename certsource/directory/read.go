package directory

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/certsource/revocation"
	"coredns-smimea/internal/disk"
)

// unsettled is how old a change must be before the file's attributes are trusted
// to tell it from the next one: within one tick of the kernel's clock, of 10 ms
// at the most, there can be another.
const unsettled = 50 * time.Millisecond

// Skew is how far in the future a time may lie that is taken for one of now:
// the clocks of file servers are not ours. One further ahead tells nothing.
const Skew = time.Minute

// A finding is what a look has found at a path.
type finding struct {
	path     string
	known    []byte // the record that there was, nil if none
	stamp    uint64
	fresh    uint64 // the stamp, where it is not settled
	modified time.Time
	certs    []certsource.Certificate // for mail, and of the roots
	first    Certificate              // what is to be known of them
	more     []Certificate
	unused   []certsource.Unused
	refusal  *certsource.Refusal
	vanished bool // the file is gone since its directory was listed
}

// A reader reads certificate files below one directory.
type reader struct {
	root disk.Root

	system  disk.System
	now     time.Time // when the look began, and what the system said then
	began   time.Time
	start   time.Duration     // the same as time elapsed
	roots   *certsource.Roots // see Options
	revoked *revocation.Set   // see Options
	cleared map[revocation.ID]bool
	margin  time.Duration
	enter   func(dir string)
	workers int
	files   Files // what is known already
	fresh   map[string]reading
	others  map[string]other
}

func (r *reader) close() { r.root.Close() }

// clock returns the time by the clock of who called for the look.
func (r *reader) clock() time.Time { return r.now.Add(r.system.Now().Sub(r.began)) }

// list yields the entries of a directory, in pieces.
func (r *reader) list(dir string, yield func([]fs.DirEntry)) error {
	if r.enter != nil {
		r.enter(dir)
	}
	return r.root.List(dir, yield)
}

// unchanged returns the record of a file if it is known and its attributes
// are those of when it was read.
func (r *reader) unchanged(path []byte, info fs.FileInfo) (record []byte, same bool) {
	record, known := r.files.table.Get(path)
	if !known || recordStamp(record) != stamp(info) {
		return record, false
	}
	// A certificate that has expired is read again if the clock went back, and any if
	// other lists say something else of it.
	for c := range recordCertificates(record) {
		if c.ended && !c.revoked {
			if c.notAfter.Add(-r.margin).After(r.now) {
				return record, false
			}
		} else if r.revoked.Concerns(c.issued) != c.revoked && !r.cleared[c.issued] {
			return record, false
		}
	}
	return record, true
}

// settled reports whether a file was changed so long ago that its next change
// will show in its attributes.
func (r *reader) settled(info fs.FileInfo) bool {
	_, changed := disk.Inode(info)
	if changed.IsZero() {
		changed = info.ModTime()
	}
	age := r.clock().Sub(changed)
	return age > unsettled || age < -Skew // somebody else's clock
}

// A reading is when a file or a directory was read, and its stamp then.
type reading struct {
	stamp uint64
	at    time.Duration // see disk.System
}

// same reports whether a file has not changed since it was read earlier.
func (r *reader) same(path string, info fs.FileInfo) bool {
	before, ok := r.fresh[path]
	return ok && before.stamp == stamp(info) && r.system.Elapsed()-before.at > unsettled
}

// read reads a file that is new or has changed.
func (r *reader) read(in disk.Root, name, path string, known []byte, info fs.FileInfo) (f finding) {
	f = finding{path: path, known: known}
	if !info.Mode().IsRegular() {
		// To open a device can set it in motion.
		f.modified, f.stamp = info.ModTime(), stamp(info)
		f.refusal = certsource.Refuse(certsource.NotRegular, "")
		return f
	}
	// A mistake in the parser must cost one file, not the server.
	defer func() {
		if p := recover(); p != nil {
			f.certs, f.refusal = nil, certsource.Refuse(certsource.Malformed, fmt.Sprintf("the parser failed: %v", p))
		}
	}()
	file, err := in.Open(name)
	if err != nil {
		f.refusal, f.vanished = whyNot(err), os.IsNotExist(err)
		return f
	}
	defer file.Close()
	info, err = file.Stat()
	if err != nil {
		f.refusal = certsource.Refuse(certsource.Unreadable, cause(err))
		return f
	}
	f.modified = info.ModTime()
	if f.fresh = stamp(info); r.settled(info) || r.same(path, info) {
		f.stamp, f.fresh = f.fresh, 0
	}
	switch {
	case !info.Mode().IsRegular():
		f.refusal = certsource.Refuse(certsource.NotRegular, "")
		return f
	case info.Size() > certsource.MaxFileSize:
		f.refusal = certsource.Refuse(certsource.TooLarge, "")
		return f
	}
	// One octet more than there should be, and one read for all: a file that
	// is whole needs no second one to say that nothing follows.
	data, n := make([]byte, info.Size()+1), 0
	for err == nil && n < int(info.Size()) {
		var more int
		more, err = file.Read(data[n:])
		n += more
	}
	if err != nil && err != io.EOF {
		f.stamp, f.refusal = 0, certsource.Refuse(certsource.Unreadable, cause(err))
		return f
	}
	if n != int(info.Size()) {
		f.stamp = 0 // it is being written
	}
	contents, err := certsource.ParseFile(data[:n])
	if err != nil {
		f.refusal = err.(*certsource.Refusal)
		return f
	}
	r.judge(&f, contents)
	return f
}

// judge decides which of a file's certificates are to be published now.
func (r *reader) judge(f *finding, contents certsource.Contents) {
	f.certs, f.unused = contents.Certificates[:0], contents.Unused
	live := false
	var expired, revoked, untrusted *certsource.Refusal
	for _, cert := range contents.Certificates {
		c := Certificate{NotAfter: cert.NotAfter, Digest: sha256.Sum256(cert.Raw), Encrypts: cert.Encrypts, Addresses: cert.Addresses}
		c.Issued, _ = revocation.IDOf(cert.Raw)
		if c.Ended = !cert.NotAfter.Add(-r.margin).After(r.now); c.Ended {
			expired = certsource.Refuse(certsource.Expired, "")
			if cert.NotAfter.After(r.now) {
				expired.Detail = "or does within the TTL"
			}
			f.unused = append(f.unused, certsource.Unused{Refusal: expired})
		} else if why := r.revoked.Revoked(cert.Raw); why != nil {
			revoked = why
			c.Ended, c.Revoked = true, true
			f.unused = append(f.unused, certsource.Unused{Refusal: revoked})
		} else if r.roots != nil {
			if err := cert.Chains(r.roots, r.now); err != nil {
				untrusted = err.(*certsource.Refusal)
				f.unused = append(f.unused, certsource.Unused{Refusal: untrusted})
				continue
			}
		}
		live = live || !c.Ended
		if f.certs = append(f.certs, cert); len(f.certs) == 1 {
			f.first = c
		} else {
			f.more = append(f.more, c)
		}
	}
	switch {
	case live:
	case revoked != nil:
		f.refusal = revoked
	case expired != nil:
		f.refusal = expired
	default:
		f.refusal = untrusted
	}
}

// numbered is file with a number for the first certificate.
func (f *finding) numbered(id uint32) File {
	n := f.file()
	n.ID = id
	return n
}

// file returns what is to be known of what was found, but the number.
func (f *finding) file() File {
	n := File{Modified: f.modified, stamp: f.stamp}
	if f.refusal != nil {
		n.Reason = f.refusal.Reason
	}
	if n.holds() {
		n.Certificate, n.More, n.Unused = f.first, f.more, uint8(min(len(f.unused), 255))
	}
	return n
}

// alias reports whether a symbolic link leads to something that is read under
// a name of its own, and would be read twice. Links through names with a dot
// in front, as Kubernetes makes them, are the only way to what they lead to.
func (r *reader) alias(link string) (bool, error) {
	below, err := r.root.Real(link)
	if err != nil {
		return false, err
	}
	for part := range strings.SplitSeq(below, "/") {
		if part != "." && strings.HasPrefix(part, ".") {
			return false, nil
		}
	}
	info, err := r.root.Stat(below)
	return err == nil && (info.IsDir() || certsource.IsCertificateName(path.Base(below))), err
}

// ReadFile returns the certificates that the file at a path below dir holds now,
// expired or not. The error is a [*certsource.Refusal] unless dir itself cannot be read.
func ReadFile(dir, path string) ([]certsource.Certificate, error) {
	d := New(Options{Dir: dir})
	r, err := d.open(d.options.System.Now())
	if err != nil {
		return nil, err
	}
	defer r.close()
	info, err := r.root.Stat(path)
	if err != nil {
		return nil, whyNot(err)
	}
	f := r.read(r.root, path, path, nil, info)
	if len(f.certs) == 0 {
		return nil, f.refusal
	}
	return f.certs, nil
}

// Judge returns what becomes known of a file that holds data, as a look at it does.
func Judge(path string, data []byte, o Options, now time.Time) Change {
	r := &reader{now: now, roots: o.Roots, revoked: o.Revoked, margin: o.Margin}
	var f finding
	if contents, err := certsource.ParseFile(data); err != nil {
		f.refusal = err.(*certsource.Refusal)
	} else {
		r.judge(&f, contents)
	}
	return Change{Path: path, New: f.numbered(1), Certificates: f.certs, Unused: f.unused, Refusal: f.refusal}
}

// removed returns when the file at a path was removed: the last change of the
// directory that it was in.
func (r *reader) removed(p string) time.Time {
	for p != "." {
		p = above(p)
		if info, err := r.root.Stat(p); err == nil {
			return info.ModTime()
		}
	}
	return r.now
}

// stamp returns a number that is another one when a file has changed.
func stamp(info fs.FileInfo) uint64 {
	number, changed := disk.Inode(info)
	var b [32]byte
	binary.LittleEndian.PutUint64(b[0:], uint64(info.Size()))
	binary.LittleEndian.PutUint64(b[8:], uint64(info.ModTime().UnixNano()))
	binary.LittleEndian.PutUint64(b[16:], uint64(changed.UnixNano()))
	binary.LittleEndian.PutUint64(b[24:], number)
	h := fnv.New64a()
	h.Write(b[:])
	return max(h.Sum64(), 1) // 0 is no stamp
}

// cause returns an error without the path, which whoever logs it knows.
func cause(err error) string {
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return err.Error()
}

// whyNot returns the refusal of a file that cannot be opened.
func whyNot(err error) *certsource.Refusal {
	if leadsNowhere(err) {
		return certsource.Refuse(certsource.Outside, "")
	}
	return certsource.Refuse(certsource.Unreadable, cause(err))
}

// leadsNowhere reports whether a symbolic link leads to no file of the
// directory, and will not before something is changed.
func leadsNowhere(err error) bool {
	return disk.Escapes(err) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENOTDIR)
}
