package statefile

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// A Disk is where files are: the system calls that a save and a load make, one
// by one, so that a test can let each of them fail, or be the last one.
type Disk interface {
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	Lstat(name string) (fs.FileInfo, error)
	Glob(pattern string) ([]string, error)
	// Link gives a file a second name, unless something has that name.
	Link(from, to string) error
	Rename(from, to string) error
	Remove(name string) error
}

// A File is an open file of a Disk.
type File interface {
	io.Writer
	io.ReaderAt
	io.WriterAt
	io.Closer
	Stat() (fs.FileInfo, error)
	Sync() error
}

// OS is the disk of the operating system.
type OS struct{}

func (OS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err // and no *os.File that is nil in an interface that is not
	}
	return f, nil
}
func (OS) Lstat(name string) (fs.FileInfo, error) { return os.Lstat(name) }
func (OS) Glob(pattern string) ([]string, error)  { return filepath.Glob(pattern) }
func (OS) Link(from, to string) error             { return os.Link(from, to) }
func (OS) Rename(from, to string) error           { return os.Rename(from, to) }
func (OS) Remove(name string) error               { return os.Remove(name) }
