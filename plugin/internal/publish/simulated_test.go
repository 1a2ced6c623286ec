package publish

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coredns/coredns/plugin/dnssec"
	"github.com/miekg/dns"

	"coredns-smimea/internal/statefile"
	"coredns-smimea/plugin/internal/sign"
)

// A simDisk is what a state is kept on: files in memory, of which the disk has what
// was synced, and may have more.
type simDisk struct {
	r      *rand.Rand
	files  map[string]*simInode // as the system shows them
	onDisk map[string]*simInode // as they are after a power failure, with some of undone
	undone []func(map[string]*simInode)

	left   int    // calls until the process is killed; negative: it is not
	killed bool   // no call does anything any more
	before func() // called before each call
	fail   int    // percent of the calls that fail
}

// A simInode is a file.
type simInode struct {
	data, synced []byte
}

func newSimDisk(r *rand.Rand) *simDisk {
	return &simDisk{r: r, files: map[string]*simInode{}, onDisk: map[string]*simInode{}, left: -1}
}

var errKilled = errors.New("the process was killed")

// call begins a system call.
func (d *simDisk) call() error {
	if d.killed {
		return errKilled
	}
	d.before()
	if d.left == 0 {
		d.killed = true
		return errKilled
	}
	d.left--
	if d.r.IntN(100) < d.fail {
		return syscall.EIO
	}
	return nil
}

// change changes the names of files; when the directory is not synced only some of
// the last changes are kept.
func (d *simDisk) change(do func(map[string]*simInode)) {
	do(d.files)
	d.undone = append(d.undone, do)
}

// restart begins anew with what there is: all that was written, or, after a power
// failure, what was synced and maybe more.
func (d *simDisk) restart(power bool) {
	d.killed, d.left = false, -1
	if !power {
		return
	}
	for _, do := range d.undone[:d.r.IntN(len(d.undone)+1)] {
		do(d.onDisk)
	}
	d.files, d.undone = maps.Clone(d.onDisk), nil
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		f := d.files[name]
		switch d.r.IntN(3) {
		case 0:
			f.synced = slices.Clone(f.data)
		case 1: // a part of what was appended
			if n := len(f.data) - len(f.synced); n > 0 && strings.HasPrefix(string(f.data), string(f.synced)) {
				f.synced = slices.Clone(f.data[:len(f.synced)+d.r.IntN(n+1)])
			}
		}
		f.data = slices.Clone(f.synced)
	}
}

func (d *simDisk) OpenFile(name string, flag int, _ fs.FileMode) (statefile.File, error) {
	if err := d.call(); err != nil {
		return nil, err
	}
	if name == filepath.Dir(simState) {
		return &simFile{disk: d}, nil
	}
	f := d.files[name]
	switch {
	case f == nil && flag&os.O_CREATE == 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENOENT}
	case f != nil && flag&os.O_EXCL != 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EEXIST}
	case f == nil:
		f = new(simInode)
		d.change(func(names map[string]*simInode) { names[name] = f })
	}
	return &simFile{disk: d, inode: f}, nil
}

func (d *simDisk) Lstat(name string) (fs.FileInfo, error) {
	if err := d.call(); err != nil {
		return nil, err
	}
	if f := d.files[name]; f != nil {
		return simInfo{int64(len(f.data))}, nil
	}
	return nil, &fs.PathError{Op: "lstat", Path: name, Err: syscall.ENOENT}
}

func (d *simDisk) Glob(pattern string) (names []string, err error) {
	if err := d.call(); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		if ok, _ := filepath.Match(pattern, name); ok {
			names = append(names, name)
		}
	}
	return names, nil
}

func (d *simDisk) Link(from, to string) error {
	if err := d.call(); err != nil {
		return err
	}
	f := d.files[from]
	switch {
	case f == nil:
		return syscall.ENOENT
	case d.files[to] != nil:
		return syscall.EEXIST
	}
	d.change(func(names map[string]*simInode) { names[to] = f })
	return nil
}

func (d *simDisk) Rename(from, to string) error {
	if err := d.call(); err != nil {
		return err
	}
	f := d.files[from]
	if f == nil {
		return syscall.ENOENT
	}
	d.change(func(names map[string]*simInode) {
		delete(names, from)
		names[to] = f
	})
	return nil
}

func (d *simDisk) Remove(name string) error {
	if err := d.call(); err != nil {
		return err
	}
	if d.files[name] == nil {
		return syscall.ENOENT
	}
	d.change(func(names map[string]*simInode) { delete(names, name) })
	return nil
}

// A simFile is an open file, or, without an inode, the directory.
type simFile struct {
	disk  *simDisk
	inode *simInode
}

func (f *simFile) Write(b []byte) (int, error) {
	if err := f.disk.call(); err != nil {
		return 0, err
	}
	f.inode.data = append(f.inode.data, b...)
	return len(b), nil
}

func (f *simFile) WriteAt(b []byte, at int64) (int, error) {
	if err := f.disk.call(); err != nil {
		return 0, err
	}
	if int(at)+len(b) > len(f.inode.data) {
		return 0, syscall.EFBIG // nobody does
	}
	f.inode.data = slices.Clone(f.inode.data)
	return copy(f.inode.data[at:], b), nil
}

// ReadAt is not counted as a call: sections are read by several goroutines.
func (f *simFile) ReadAt(b []byte, at int64) (int, error) {
	if at > int64(len(f.inode.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.inode.data[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *simFile) Sync() error {
	if err := f.disk.call(); err != nil {
		return err
	}
	if f.inode == nil {
		f.disk.onDisk, f.disk.undone = maps.Clone(f.disk.files), nil
	} else {
		f.inode.synced = slices.Clone(f.inode.data)
	}
	return nil
}

func (f *simFile) Stat() (fs.FileInfo, error) { return simInfo{int64(len(f.inode.data))}, nil }
func (f *simFile) Close() error               { return nil }

type simInfo struct{ size int64 }

func (i simInfo) Name() string       { return "" }
func (i simInfo) Size() int64        { return i.size }
func (i simInfo) Mode() fs.FileMode  { return 0o600 }
func (i simInfo) ModTime() time.Time { return time.Time{} }
func (i simInfo) IsDir() bool        { return false }
func (i simInfo) Sys() any           { return nil }

// A simTimer never ends by itself: the simulation says when its time has come.
type simTimer struct{ set bool }

func (t *simTimer) C() <-chan time.Time { return nil }
func (t *simTimer) Reset(time.Duration) { t.set = true }
func (t *simTimer) Stop()               { t.set = false }

// simKeys are the keys of all simulations; the first is none.
var simKeys [3]*dnssec.DNSKEY

var simKeysOnce sync.Once

// signer returns a signer of the key that signs, nil for key 0. It is a new one, which
// has made no signature yet, as that of a new process, or of a reload.
func (s *simulation) signer() *sign.Signer {
	simKeysOnce.Do(func() {
		for i := 1; i < len(simKeys); i++ {
			simKeys[i] = simKey(s.t)
		}
	})
	if s.key == 0 {
		return nil
	}
	var origins []string
	for _, at := range s.config.Places {
		origins = append(origins, at.Origin)
	}
	return sign.New(sign.DNSSEC([]*dnssec.DNSKEY{simKeys[s.key]}, origins), s.config.Places, true, s.m.Now)
}

// otherKey has another key sign soon. Zones that are signed for secondaries have one.
func (s *simulation) otherKey() {
	if s.key = s.IntN(3); s.config.Signed {
		s.key = 1 + s.IntN(2)
	}
}

func simKey(t testing.TB) *dnssec.DNSKEY {
	key := &dns.DNSKEY{
		Hdr:   dns.RR_Header{Name: "example.", Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 3600},
		Flags: 257, Protocol: 3, Algorithm: dns.ECDSAP256SHA256,
	}
	private, err := key.Generate(256)
	if err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(t.TempDir(), "key")
	for name, text := range map[string]string{base + ".key": key.String() + "\n", base + ".private": key.PrivateKeyString(private)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := dnssec.ParseKeyFile(base+".key", base+".private")
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}
