package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// maxPath is how long a path can be that a system call takes (PATH_MAX, with a zero).
const maxPath = 4096

// beneath opens what is below an open directory with one system call for the whole
// name (openat2(2), since Linux 5.6), where [os.Root] opens each directory on the way:
// a thousand directories within each other would cost half a million calls. The
// kernel lets no link lead out of the directory either. Whatever it does not do for us,
// errElsewhere says so, is left to os.Root.
type beneath struct {
	once sync.Once
	dir  *os.File // nil if it could not be opened
}

var errElsewhere = errors.New("not with openat2")

// open opens a name of several parts, with flags of open(2).
func (b *beneath) open(r *root, name string, flags uint64) (*os.File, error) {
	if !strings.Contains(name, "/") {
		return nil, errElsewhere // os.Root makes one call, too
	}
	return b.openAny(r, name, flags)
}

func (b *beneath) openAny(r *root, name string, flags uint64) (*os.File, error) {
	b.once.Do(func() { b.dir, _ = r.Root.Open(".") })
	if b.dir == nil {
		return nil, errElsewhere
	}
	conn, err := b.dir.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	cerr := conn.Control(func(dir uintptr) {
		fd, err = openLong(int(dir), name, flags, openBeneath)
	})
	if cerr != nil {
		return nil, cerr
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), filepath.Join(r.base, name)), nil
}

// openLong opens a path below a directory, however long it is. Of one that is too long
// for a system call the beginning is opened first.
func openLong(dir int, name string, flags uint64, open func(dir int, name string, flags uint64) (int, error)) (int, error) {
	for opened := false; ; opened = true {
		head, rest, how := name, "", flags
		if len(name) >= maxPath {
			end := strings.LastIndexByte(name[:maxPath-1], '/')
			if end <= 0 {
				return 0, errElsewhere
			}
			head, rest, how = name[:end], name[end+1:], unix.O_PATH|unix.O_DIRECTORY
		}
		fd, err := open(dir, head, how|unix.O_CLOEXEC)
		if opened {
			_ = unix.Close(dir) // it was only read
		}
		if err != nil || rest == "" {
			return fd, err
		}
		dir, name = fd, rest
	}
}

// openBeneath opens what is below a directory.
func openBeneath(dir int, name string, flags uint64) (int, error) {
	for {
		fd, err := unix.Openat2(dir, name, &unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_BENEATH})
		switch err {
		case unix.EINTR:
			continue
		case nil:
			return fd, nil
		case unix.ENOENT, unix.ENOTDIR, unix.EACCES, unix.ELOOP, unix.EIO, unix.ENXIO, unix.EMFILE, unix.ENFILE:
			return 0, &fs.PathError{Op: "openat2", Path: name, Err: err}
		}
		// There is no such call here, or it is forbidden; the name leads out of the
		// directory, or of what was opened of a long one; or others change it.
		return 0, errElsewhere
	}
}

// openAnywhere opens what a path leads to.
func openAnywhere(dir int, name string, flags uint64) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, int(flags), 0)
		if err == nil {
			return fd, nil
		}
		if err != unix.EINTR {
			return 0, &fs.PathError{Op: "open", Path: name, Err: err}
		}
	}
}

// stat returns what is at a name of several parts, or what that leads to.
func (b *beneath) stat(r *root, name string, follow bool) (fs.FileInfo, error) {
	flags := uint64(unix.O_PATH)
	if !follow {
		flags |= unix.O_NOFOLLOW
	}
	f, err := b.open(r, name, flags)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Stat()
}

// sub opens a directory. Other than [os.Root.OpenRoot] it does not wait for a writer
// where there is a FIFO by now.
func (b *beneath) sub(r *root, name string) (*os.Root, error) {
	if name == "." {
		return nil, errElsewhere // it is one
	}
	f, err := b.openAny(r, name, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	root, err := throughFD(f, os.OpenRoot)
	if err != nil {
		return nil, errElsewhere // it says whether that is for want of a /proc
	}
	return root, nil
}

// real returns the name of what a name of several parts leads to.
func (b *beneath) real(r *root, name string) (string, error) {
	f, err := b.open(r, name, unix.O_PATH)
	if err != nil {
		return "", err
	}
	defer f.Close()
	target, err := throughFD(f, os.Readlink)
	if err != nil {
		return "", errElsewhere
	}
	below, ok := strings.CutPrefix(target, strings.TrimSuffix(r.base, "/")+"/")
	if info, err := r.Lstat(below); !ok || err != nil || info.Mode()&fs.ModeSymlink != 0 {
		return "", errElsewhere
	} else if opened, err := f.Stat(); err != nil || !os.SameFile(info, opened) {
		return "", errElsewhere // it was moved, or r was
	}
	return below, nil
}

// lstat is os.Lstat for paths of any length.
func lstat(path string) (fs.FileInfo, error) {
	if len(path) < maxPath {
		return os.Lstat(path)
	}
	f, err := openPath(path, unix.O_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Stat()
}

// openPath opens a path of any length, for what can be done without reading it.
func openPath(path string, flags uint64) (*os.File, error) {
	fd, err := openLong(unix.AT_FDCWD, path, unix.O_PATH|flags, openAnywhere)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

func (b *beneath) close() {
	b.once.Do(func() {})
	if b.dir != nil {
		_ = b.dir.Close() // it was only read
	}
}

// throughFD does something with the path that leads to what is open.
func throughFD[T any](f *os.File, do func(path string) (T, error)) (got T, err error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return got, err
	}
	cerr := conn.Control(func(fd uintptr) {
		if got, err = do("/proc/self/fd/" + strconv.Itoa(int(fd))); errors.Is(err, fs.ErrNotExist) {
			err = errElsewhere // there is no /proc
		}
	})
	if cerr != nil {
		return got, cerr
	}
	return got, err
}
