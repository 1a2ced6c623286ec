package disk

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// OS is this machine.
var OS System = machine{}

type machine struct{}

// began is where Elapsed begins.
var began = time.Now()

func (machine) Open(dir string) (Root, error) {
	base, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	// With a dot, so that nobody waits for the writer of a FIFO.
	r, err := os.OpenRoot(base + string(filepath.Separator) + ".")
	if err != nil {
		return nil, err
	}
	return &root{Root: r, base: base}, nil
}

func (machine) Resolve(path string) (string, error)    { return filepath.EvalSymlinks(path) }
func (machine) Lstat(path string) (fs.FileInfo, error) { return lstat(path) }
func (machine) Watch() (Notifier, error)               { return newNotifier() }
func (machine) Remote(path string) error               { return remote(path) }
func (machine) Now() time.Time                         { return time.Now() }
func (machine) Elapsed() time.Duration                 { return time.Since(began) }

func (machine) Sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// A root is an [os.Root], which no symbolic link leads out of, with a shorter way to
// what is deep below it.
type root struct {
	*os.Root
	base    string // its path without symbolic links
	beneath beneath
}

func (r *root) Lstat(name string) (fs.FileInfo, error) {
	if info, err := r.beneath.stat(r, name, false); err != errElsewhere {
		return info, err
	}
	return r.Root.Lstat(filepath.FromSlash(name))
}

func (r *root) Stat(name string) (fs.FileInfo, error) {
	if info, err := r.beneath.stat(r, name, true); err != errElsewhere {
		return info, err
	}
	return r.Root.Stat(filepath.FromSlash(name))
}

func (r *root) List(name string, yield func([]fs.DirEntry)) error {
	// DIRECTORY: what has become a FIFO meanwhile must not stop us.
	f, err := r.open(name, os.O_RDONLY|syscall.O_DIRECTORY)
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

func (r *root) Open(name string) (File, error) {
	return r.open(name, os.O_RDONLY|syscall.O_NONBLOCK)
}

func (r *root) open(name string, flags int) (*os.File, error) {
	if f, err := r.beneath.open(r, name, uint64(flags)); err != errElsewhere {
		return f, err
	}
	return r.OpenFile(filepath.FromSlash(name), flags, 0)
}

func (r *root) Sub(name string) (Root, error) {
	sub, err := r.beneath.sub(r, name)
	if err == errElsewhere {
		sub, err = r.openRoot(name)
	}
	if err != nil {
		return nil, err
	}
	return &root{Root: sub, base: filepath.Join(r.base, filepath.FromSlash(name))}, nil
}

func (r *root) openRoot(name string) (*os.Root, error) {
	info, err := r.Stat(name)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "open", Path: name, Err: syscall.ENOTDIR}
	}
	if err != nil {
		return nil, err
	}
	return r.OpenRoot(filepath.FromSlash(name))
}

func (r *root) Real(name string) (string, error) {
	if below, err := r.beneath.real(r, name); err != errElsewhere {
		return below, err
	}
	target, err := filepath.EvalSymlinks(filepath.Join(r.base, filepath.FromSlash(name)))
	if err != nil {
		return "", err
	}
	below, err := filepath.Rel(r.base, target)
	if err == nil && (below == ".." || strings.HasPrefix(below, ".."+string(filepath.Separator))) {
		err = ErrEscapes
	}
	return filepath.ToSlash(below), err
}

func (r *root) Close() error {
	r.beneath.close()
	return r.Root.Close()
}

// ErrEscapes is the error of names that lead out of a [Root].
var ErrEscapes = errors.New("path escapes from parent")

// Escapes reports whether an error is that of a name that leads out of a
// [Root]. The one of [os.Root] has no name of its own.
func Escapes(err error) bool {
	return errors.Is(err, ErrEscapes) || strings.Contains(err.Error(), ErrEscapes.Error())
}
