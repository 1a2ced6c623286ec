//go:build unix

package directory

import (
	"io/fs"
	"syscall"
	"time"
)

// inode returns a file's number and the time of its last change of any kind:
// what tells a file from one that was put in its place with the same size and
// modification time.
func inode(info fs.FileInfo) (number uint64, changed time.Time) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino, changeTime(st)
	}
	return 0, time.Time{}
}

// device returns the number of the file system that a file is on.
func device(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Dev)
	}
	return 0
}
