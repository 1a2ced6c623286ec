// Package statefile keeps tables in one file: whole or not at all, checked, and
// private to the user.
//
// A file begins with a line of text, "coredns-smimea state 2 ", then its [Mark], and
// has blocks after it, all numbers big-endian:
//
//	kind     4 octets: 0 the header, 0xffffffff the end, others are sections
//	length   4 octets, of what follows the checksum
//	checksum 4 octets, CRC-32C of kind, length and what follows
//	entries: uvarint length of the key, uvarint length of the value, key, value
//
// The header's block is the first and has the caller's bytes. The end's has 8
// octets, the number of blocks before it.
package statefile

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

const (
	family  = "coredns-smimea state " // of all versions
	magic   = family + "2 "
	before  = family + "1 " // which is read as well: it has no limit
	kindEnd = 1<<32 - 1

	blockHeader = 4 + 4 + 4
	blockSize   = 256 << 10 // of entries, about
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A Writer writes a file anew, beside its place until it is whole.
type Writer struct {
	path   Path
	name   string // of the file until then
	file   File
	out    *bufio.Writer
	kind   uint32
	block  []byte // with room for its header
	blocks uint64
	err    error
}

// Create begins a file that is to take the place of the one at the path.
func (p Path) Create(header []byte) (*Writer, error) {
	name := p.nextName()
	file, err := p.Disk.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		p.discard(name)
		return nil, nameless(err)
	}
	w := &Writer{path: p, name: name, file: file, out: bufio.NewWriterSize(file, 1<<20), block: make([]byte, blockHeader, blockSize+blockSize/4)}
	w.write([]byte(magic + Mark{}.line()))
	w.block = append(w.block, header...)
	w.flush()
	return w, nil
}

// Section begins a section, 1 to 0xfffffffe. Errors show in [Writer.Commit].
func (w *Writer) Section(kind uint32) {
	if len(w.block) > blockHeader {
		w.flush()
	}
	w.kind = kind
}

// Add adds an entry to the section. It reports whether it makes sense to go on.
func (w *Writer) Add(key, value []byte) bool {
	w.block = binary.AppendUvarint(w.block, uint64(len(key)))
	w.block = binary.AppendUvarint(w.block, uint64(len(value)))
	w.block = append(append(w.block, key...), value...)
	if len(w.block) >= blockSize {
		w.flush()
	}
	return w.err == nil
}

func (w *Writer) flush() {
	binary.BigEndian.PutUint32(w.block, w.kind)
	binary.BigEndian.PutUint32(w.block[4:], uint32(len(w.block)-blockHeader))
	binary.BigEndian.PutUint32(w.block[8:], checksum(w.block))
	w.write(w.block)
	w.block = w.block[:blockHeader]
	w.blocks++
}

func checksum(block []byte) uint32 {
	return crc32.Update(crc32.Checksum(block[:8], castagnoli), castagnoli, block[blockHeader:])
}

func (w *Writer) write(b []byte) {
	if w.err == nil {
		_, w.err = w.out.Write(b)
	}
}

// Commit completes the file and puts it in its place, stale until [Path.Mark] says
// otherwise, with the limit of a [Mark]. After an error the one that was there before
// still is. What is there and is no state stays.
func (w *Writer) Commit(limit uint32) error {
	defer w.path.discard(w.name)
	w.Section(kindEnd)
	w.block = binary.BigEndian.AppendUint64(w.block, w.blocks)
	w.flush()
	if w.err == nil {
		w.err = w.out.Flush()
	}
	if w.err == nil {
		_, w.err = w.file.WriteAt([]byte(Mark{Limit: limit}.line()), int64(len(magic)))
	}
	if w.err == nil {
		w.err = w.file.Sync()
	}
	if err := w.file.Close(); w.err == nil {
		w.err = err
	}
	if w.err == nil {
		w.err = w.path.replaceable()
	}
	if w.err == nil {
		w.err = w.path.Disk.Rename(w.name, w.path.Name)
	}
	if w.err != nil {
		return nameless(w.err)
	}
	return w.path.syncDir()
}

// nameless returns an error without the name of a file that has one for a moment: the
// same error twice is to say the same.
func nameless(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s: %w", e.Op, e.Err)
	}
	return err
}

// Abort ends what is not to be committed.
func (w *Writer) Abort() {
	w.file.Close()
	w.path.discard(w.name)
}

// replaceable returns why a state must not take the name, nil if it may.
func (p Path) replaceable() error {
	begins, err := p.begins(p.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ELOOP): // a link is not followed, but replaced
		return nil
	case err != nil:
		return fmt.Errorf("%q is not replaced: %w", p.Name, err)
	case !strings.HasPrefix(begins, family):
		return fmt.Errorf("%q is not replaced: it is no state", p.Name)
	}
	return nil
}

func (p Path) syncDir() error {
	d, err := p.Disk.OpenFile(filepath.Dir(p.Name), os.O_RDONLY, 0)
	if err != nil {
		return nil // some can be written to only
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}

// A Damage is why a file cannot be used, now or later.
type Damage string

func (d Damage) Error() string { return string(d) }

// A Reader reads a file.
type Reader struct {
	Header []byte
	Mark   Mark

	file File
	size int64
	next int64 // where the block after the header begins
}

// Open opens the file. The error is a [Damage] if it is not one that Create has
// made here, or others than the user could have written to it, and fs.ErrNotExist if
// there is none, or an empty file.
func (p Path) Open() (*Reader, error) {
	file, err := p.Disk.OpenFile(p.Name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, Damage("it is a symbolic link")
	}
	if err != nil {
		return nil, err
	}
	r := &Reader{file: file}
	if err := r.open(); err != nil {
		file.Close()
		return nil, err
	}
	return r, nil
}

func (r *Reader) open() error {
	info, err := r.file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return Damage("it is no regular file")
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() && st.Uid != 0 || info.Mode()&0o022 != 0 {
		return Damage(fmt.Sprintf("others could have written it (its mode is %v, its owner not you alone)", info.Mode()))
	}
	if r.size = info.Size(); r.size == 0 {
		return fs.ErrNotExist
	}
	line := make([]byte, len(magic)+markSize)
	if err := r.readAt(line, 0); err != nil {
		return err
	}
	mark := string(line[len(magic):])
	switch string(line[:len(magic)]) {
	case magic:
	case before:
		mark = mark[:markSizeBefore]
	default:
		return Damage("it is no state of this version")
	}
	if r.Mark, err = parseMark(mark); err != nil {
		return err
	}
	header, next, err := r.block(int64(len(magic) + len(mark)))
	if err != nil {
		return err
	}
	r.next = next
	if r.Header, err = r.payload(header, new([]byte)); err != nil {
		return err
	}
	if header.kind != 0 {
		return Damage("it has no header")
	}
	return nil
}

// Close closes the file.
func (r *Reader) Close() error { return r.file.Close() }

func (r *Reader) readAt(b []byte, at int64) error {
	if int64(len(b)) > r.size-at {
		return Damage("it is cut off, or damaged")
	}
	_, err := r.file.ReadAt(b, at)
	return err
}

// span is where a block lies, its own header included.
type span struct {
	kind   uint32
	at     int64
	length int
}

// block returns the block that begins at an offset, and where the next one does.
func (r *Reader) block(at int64) (b span, next int64, err error) {
	var head [blockHeader]byte
	if err := r.readAt(head[:], at); err != nil {
		return span{}, 0, err
	}
	length := int64(binary.BigEndian.Uint32(head[4:])) + blockHeader
	if length > r.size-at {
		return span{}, 0, Damage("it is cut off, or damaged")
	}
	return span{binary.BigEndian.Uint32(head[:]), at, int(length)}, at + length, nil
}

// payload returns what a block has, read into buf, which grows as need be.
func (r *Reader) payload(b span, buf *[]byte) ([]byte, error) {
	*buf = slices.Grow((*buf)[:0], b.length)[:b.length]
	if err := r.readAt(*buf, b.at); err != nil {
		return nil, err
	}
	if checksum(*buf) != binary.BigEndian.Uint32((*buf)[8:]) {
		return nil, Damage("its checksum does not hold")
	}
	return (*buf)[blockHeader:], nil
}

// Load calls the function of each section for its entries, those of one section
// in order, several sections at once. Without an error the file was whole; with one,
// what was given may be a part of it. The slices are good for the call only.
func (r *Reader) Load(sections map[uint32]func(key, value []byte) error) error {
	blocks := map[uint32][]span{}
	var last span
	count := uint64(1)
	for at := r.next; at < r.size; count++ {
		b, next, err := r.block(at)
		if err != nil {
			return err
		}
		if at = next; b.kind != kindEnd || at < r.size {
			blocks[b.kind] = append(blocks[b.kind], b)
			if sections[b.kind] == nil {
				return Damage("it has a section too many, or is damaged")
			}
		}
		last = b
	}
	if last.kind != kindEnd {
		return Damage("it is cut off")
	}
	if end, err := r.payload(last, new([]byte)); err != nil {
		return err
	} else if len(end) != 8 || binary.BigEndian.Uint64(end) != count-1 {
		return Damage("its end is not its own")
	}
	// The largest first, by as many workers as there are processors, and one
	// that waits for the disk.
	kinds := slices.SortedFunc(maps.Keys(blocks), func(a, b uint32) int { return len(blocks[b]) - len(blocks[a]) })
	var next atomic.Int64
	var workers sync.WaitGroup
	errs := make([]error, len(kinds))
	for range runtime.GOMAXPROCS(0) + 1 {
		workers.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(kinds); i = next.Add(1) - 1 {
				errs[i] = r.section(blocks[kinds[i]], sections[kinds[i]])
			}
		})
	}
	workers.Wait()
	return cmp.Or(errs...)
}

func (r *Reader) section(blocks []span, take func(key, value []byte) error) error {
	var buf []byte
	for _, b := range blocks {
		payload, err := r.payload(b, &buf)
		if err != nil {
			return err
		}
		if err := entries(payload, take); err != nil {
			return err
		}
	}
	return nil
}

func entries(block []byte, take func(key, value []byte) error) error {
	for len(block) > 0 {
		key, n := binary.Uvarint(block)
		if n <= 0 {
			return Damage("an entry is malformed")
		}
		value, m := binary.Uvarint(block[n:])
		if m <= 0 {
			return Damage("an entry is malformed")
		}
		block = block[n+m:]
		if key > uint64(len(block)) || value > uint64(len(block))-key {
			return Damage("an entry is malformed")
		}
		if err := take(block[:key:key], block[key:key+value:key+value]); err != nil {
			return err
		}
		block = block[key+value:]
	}
	return nil
}
