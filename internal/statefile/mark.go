package statefile

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"syscall"
)

// A Mark says how a file stands to what it was made of. It is written in its place in
// the file, by one call, whenever that changes.
type Mark struct {
	// Clean says that the file is what it stands for; otherwise that has changed since.
	Clean bool
	// Limit is a number of the caller's, for what must be known of the changes since.
	Limit uint32
}

const (
	markSize       = len("stale 01234567 89abcdef\n")
	markSizeBefore = len("stale\n")
)

// line returns the mark as it stands in the file: a word, the limit, and the CRC-32C of
// both, the numbers in hexadecimal.
func (m Mark) line() string {
	word := "stale"
	if m.Clean {
		word = "clean"
	}
	text := fmt.Sprintf("%s %08x", word, m.Limit)
	return fmt.Sprintf("%s %08x\n", text, crc32.Checksum([]byte(text), castagnoli))
}

func parseMark(line string) (m Mark, err error) {
	m.Clean = line[0] == 'c'
	if len(line) == markSizeBefore && line == m.line()[:markSizeBefore-1]+"\n" {
		return m, nil
	}
	if _, err := fmt.Sscanf(line, m.line()[:markSizeBefore-1]+" %08x", &m.Limit); err != nil || line != m.line() {
		return Mark{}, Damage("its first line is malformed")
	}
	return m, nil
}

// Mark marks the file. When it returns, that is on the disk, and under this name.
func (p Path) Mark(m Mark) error {
	begins, err := p.begins(p.Name)
	if err != nil {
		return err
	}
	if begins != magic {
		return errors.New("another file has taken its place")
	}
	file, err := p.Disk.OpenFile(p.Name, os.O_WRONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteAt([]byte(m.line()), int64(len(magic)))
	return errors.Join(err, file.Sync(), file.Close(), p.syncDir())
}
