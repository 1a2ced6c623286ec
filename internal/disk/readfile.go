package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// MaxSettings is how many octets a file may have that a setting names: a million
// mail domains, or all authorities that there are.
const MaxSettings = 64 << 20

// ReadFile reads a file that a setting names, of most octets at the most. It may be
// anything: who reads it neither waits for a writer of a FIFO, nor reads a device
// without an end.
func ReadFile(name string, most int64) ([]byte, error) {
	file, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	failed := func(why error) ([]byte, error) { return nil, &fs.PathError{Op: "read", Path: name, Err: why} }
	switch {
	case info.IsDir():
		return failed(syscall.EISDIR)
	case !info.Mode().IsRegular():
		return failed(errors.New("it is no regular file"))
	}
	data, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && int64(len(data)) > most {
		return failed(fmt.Errorf("it is larger than %d octets", most))
	}
	return data, err
}
