// Package disk is where files, notifications of changes and the time enter: a
// [System] is all that following a directory needs of the machine. [OS] is the
// machine itself; package internal/disk/fake has one that fails as it is told.
package disk

import (
	"context"
	"io/fs"
	"time"
)

// A System is a machine.
type System interface {
	// Open opens a directory, through symbolic links.
	Open(dir string) (Root, error)
	// Resolve returns the path of what a path leads to, without symbolic links.
	Resolve(path string) (string, error)
	// Lstat returns what is at a path, and follows no symbolic link.
	Lstat(path string) (fs.FileInfo, error)
	// Watch begins to hear of changes in directories.
	Watch() (Notifier, error)
	// Remote returns an error if changes at a path may not be heard of.
	Remote(path string) error

	Now() time.Time
	// Elapsed returns the time since some moment, whatever the clock is set to.
	Elapsed() time.Duration
	// Sleep waits for a time, or until the context ends.
	Sleep(context.Context, time.Duration)
}

// A Root is an open directory. Names are paths below it, with slashes; "." is the
// directory itself. No symbolic link leads out of it: such a name gives an
// error that [Escapes] knows. It is for several goroutines.
type Root interface {
	Lstat(name string) (fs.FileInfo, error)
	Stat(name string) (fs.FileInfo, error)
	// List yields the entries of a directory, in pieces, so that one of a
	// million files is read by several.
	List(name string, yield func([]fs.DirEntry)) error
	// Open opens a file for reading, without waiting for anything, as the
	// writer of a FIFO.
	Open(name string) (File, error)
	// Sub opens a directory, for several looks at its files.
	Sub(name string) (Root, error)
	// Real returns the name of what a name leads to, without symbolic links.
	Real(name string) (string, error)
	Close() error
}

// A File is an open file.
type File interface {
	Stat() (fs.FileInfo, error)
	Read([]byte) (int, error)
	Close() error
}

// A Notifier tells of changes in directories.
type Notifier interface {
	// Add begins to watch a directory, through symbolic links, and returns the
	// number of the watch: the same for a directory that is watched already,
	// under whatever path.
	Add(path string) (int, error)
	// Remove ends a watch.
	Remove(watch int)
	// Read waits for events. It ends with an error after Close.
	Read() ([]Event, error)
	Close() error
}

// An Event is a change in a watched directory.
type Event struct {
	Watch int
	Name  string // in the directory; "" is the directory itself
	New   bool   // it was made, or moved here
	Gone  bool   // it was deleted, or moved away
	Dir   bool   // it is a directory
	Ended bool   // the watch is no more, and its number means nothing from now on
	Lost  bool   // events were lost: anything may have changed
}

// Attributed is what the Sys of a FileInfo may be that comes from no real disk.
type Attributed interface {
	Inode() uint64
	Changed() time.Time // the last change of any kind
	Device() uint64
}
