package certsource

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// unsettled is how old a modification must be before the file's attributes are
// trusted to tell it from the next one: within one tick of the kernel's clock,
// of 10 ms at the most, there can be another.
const unsettled = 50 * time.Millisecond

// A finding is what a look has found at a path.
type finding struct {
	path     string
	known    []byte // the record that there was, nil if none
	stamp    uint64
	modified time.Time
	cert     *Certificate
	digest   [32]byte
	refusal  *Refusal
}

// A reader reads certificate files below one directory. This file is where the
// disk is touched: by a reader, through an [os.Root], which no symbolic link
// leads out of.
type reader struct {
	root *os.Root
	base string // the directory's path without symbolic links

	now    time.Time
	roots  *x509.CertPool // see Options
	margin time.Duration
	enter  func(dir string)
	files  Files // what is known already
}

func openReader(dir string) (*reader, error) {
	base, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(base)
	if err != nil {
		return nil, err
	}
	return &reader{root: root, base: base}, nil
}

func (r *reader) close() { r.root.Close() }

// list yields the entries of a directory, in pieces, so that one directory of
// a million files is read by all workers.
func (r *reader) list(dir string, yield func([]fs.DirEntry)) error {
	if r.enter != nil {
		r.enter(dir)
	}
	f, err := r.root.Open(filepath.FromSlash(dir))
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		entries, err := f.ReadDir(256)
		if len(entries) > 0 {
			yield(entries)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// within opens a directory below the root, for several looks at its files.
func (r *reader) within(dir string) (*os.Root, error) {
	return r.root.OpenRoot(filepath.FromSlash(dir))
}

// unchanged returns the record of a file if it is known and its attributes
// are those of when it was read.
func (r *reader) unchanged(path []byte, info fs.FileInfo) (record []byte, same bool) {
	record, known := r.files.table.Get(path)
	if !known || recordStamp(record) != stamp(info) {
		return record, false
	}
	// A certificate that has expired is read again if the clock went back.
	expired := reasons[record[atReason]] == Expired && recordNotAfter(record).Add(-r.margin).After(r.now)
	return record, !expired
}

// read reads a file that is new or has changed.
func (r *reader) read(in *os.Root, name, path string, known []byte) finding {
	f := finding{path: path, known: known}
	file, err := in.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // NONBLOCK: a FIFO must not stop us
	if err != nil {
		f.refusal = refuse(Unreadable, cause(err))
		if isEscape(err) || errors.Is(err, syscall.ELOOP) {
			f.refusal = refuse(Outside, "")
		}
		return f
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		f.refusal = refuse(Unreadable, cause(err))
		return f
	}
	f.modified = info.ModTime()
	if age := r.now.Sub(info.ModTime()); age > unsettled || age < -time.Hour {
		f.stamp = stamp(info)
	}
	switch {
	case !info.Mode().IsRegular():
		f.refusal = refuse(NotRegular, "")
		return f
	case info.Size() > MaxFileSize:
		f.refusal = refuse(TooLarge, "")
		return f
	}
	data := make([]byte, info.Size()+1)
	n, err := io.ReadFull(file, data)
	switch {
	case err == nil:
		f.stamp = 0 // it grows while it is read
	case err != io.ErrUnexpectedEOF && err != io.EOF:
		f.stamp, f.refusal = 0, refuse(Unreadable, cause(err))
		return f
	}
	f.cert, f.refusal = parse(data[:n])
	if f.refusal != nil {
		return f
	}
	if !f.cert.NotAfter.After(r.now) {
		f.refusal = refuse(Expired, "")
	} else if r.roots != nil {
		if err := f.cert.Chains(r.roots, r.now); err != nil {
			f.refusal = err.(*Refusal)
		}
	}
	f.digest = sha256.Sum256(f.cert.Raw)
	return f
}

// alias reports whether a symbolic link leads to something that is read under
// a name of its own, and would be read twice. Links through names with a dot
// in front, as Kubernetes makes them, are the only way to what they lead to.
func (r *reader) alias(link string) bool {
	target, err := filepath.EvalSymlinks(filepath.Join(r.base, filepath.FromSlash(link)))
	if err != nil {
		return false
	}
	below, err := filepath.Rel(r.base, target)
	if err != nil {
		return false
	}
	below = filepath.ToSlash(below)
	for part := range strings.SplitSeq(below, "/") {
		if part != "." && strings.HasPrefix(part, ".") {
			return false
		}
	}
	info, err := os.Stat(target)
	return err == nil && (info.IsDir() || IsCertificateName(path.Base(below)))
}

// ReadFile returns the certificate that the file at a path below dir holds now.
func ReadFile(dir, path string) (*Certificate, error) {
	r, err := openReader(dir)
	if err != nil {
		return nil, err
	}
	defer r.close()
	r.now = time.Now()
	f := r.read(r.root, filepath.FromSlash(path), path, nil)
	if f.cert == nil {
		return nil, f.refusal
	}
	return f.cert, nil
}

// removed returns when the file at a path was removed: the last change of the
// directory that it was in.
func (r *reader) removed(p string) time.Time {
	for p != "." {
		p = path.Dir(p)
		if info, err := r.root.Stat(p); err == nil {
			return info.ModTime()
		}
	}
	return r.now
}

// stamp returns a number that is another one when a file has changed.
func stamp(info fs.FileInfo) uint64 {
	number, changed := inode(info)
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

// isEscape reports whether os.Root refused to leave the directory: its error
// has no name of its own.
func isEscape(err error) bool {
	return strings.Contains(err.Error(), "escapes from parent")
}
