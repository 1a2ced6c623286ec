//go:build !linux

package disk

import (
	"errors"
	"io/fs"
	"os"
)

// beneath is only known on Linux; elsewhere os.Root opens each directory on the way.
type beneath struct{}

var errElsewhere = errors.New("not in one system call")

func (*beneath) open(*root, string, uint64) (*os.File, error)  { return nil, errElsewhere }
func (*beneath) stat(*root, string, bool) (fs.FileInfo, error) { return nil, errElsewhere }
func (*beneath) sub(*root, string) (*os.Root, error)           { return nil, errElsewhere }
func (*beneath) real(*root, string) (string, error)            { return "", errElsewhere }
func (*beneath) close()                                        {}

func lstat(path string) (fs.FileInfo, error) { return os.Lstat(path) }
