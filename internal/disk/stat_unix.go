//go:build unix

package disk

import (
	"io/fs"
	"syscall"
	"time"
)

// Inode returns a file's number and the time of its last change of any kind:
// what tells a file from one that was put in its place with the same size and
// modification time. Both are zero where they are not known.
func Inode(info fs.FileInfo) (number uint64, changed time.Time) {
	switch st := info.Sys().(type) {
	case *syscall.Stat_t:
		return st.Ino, changeTime(st)
	case Attributed:
		return st.Inode(), st.Changed()
	}
	return 0, time.Time{}
}

// Device returns the number of the file system that a file is on.
func Device(info fs.FileInfo) uint64 {
	switch st := info.Sys().(type) {
	case *syscall.Stat_t:
		return uint64(st.Dev)
	case Attributed:
		return st.Device()
	}
	return 0
}
