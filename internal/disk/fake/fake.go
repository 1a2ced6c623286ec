// Package fake is a machine in memory for simulations: its files, notifications
// and clock do what a test tells them, and fail when it says so. See package
// internal/disk for what each method is to do.
package fake

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"coredns-smimea/internal/disk"
)

// A Machine is a disk.System in memory. Paths begin with a slash.
type Machine struct {
	// Before, if not nil, is called before each system call of who uses the
	// machine, with its name and what it is of. An error is that of the call.
	// It may change the files and the clock: that is somebody else at work.
	Before func(call, name string) error
	// MaxWatches is how many directories can be watched, 0 for any number.
	MaxWatches int

	mu        sync.Mutex
	now       time.Time
	elapsed   time.Duration
	inodes    uint64
	devices   uint64
	top       *node
	notifiers []*Notifier
}

// tick is that of the clock from which files have their times, as Linux's.
const tick = 4 * time.Millisecond

// A node is a file, a directory or a symbolic link.
type node struct {
	inode             uint64
	mode              fs.FileMode // type and permissions
	data              []byte
	target            string
	below             map[string]*node
	device            uint64
	mounted           *node // in its place
	modified, changed time.Time
}

// New returns a machine with an empty disk.
func New(now time.Time) *Machine {
	m := &Machine{now: now}
	m.top = m.node(fs.ModeDir | 0o755)
	m.top.device = 1
	m.devices = 1
	return m
}

func (m *Machine) node(mode fs.FileMode) *node {
	m.inodes++
	n := &node{inode: m.inodes, mode: mode}
	if mode.IsDir() {
		n.below = map[string]*node{}
	}
	m.touch(n)
	return n
}

func (m *Machine) touch(n *node) {
	n.modified = m.now.Truncate(tick)
	n.changed = n.modified
}

// before is called at the beginning of each system call. What it returns is to be
// returned, with the lock held if there is no error.
func (m *Machine) before(call, name string) error {
	if m.Before != nil {
		if err := m.Before(call, name); err != nil {
			return &fs.PathError{Op: call, Path: name, Err: err}
		}
	}
	m.mu.Lock()
	m.pass(10 * time.Microsecond)
	return nil
}

// pass lets the time pass. The lock is held.
func (m *Machine) pass(d time.Duration) {
	m.now = m.now.Add(d)
	m.elapsed += d
}

// Now returns the time.
func (m *Machine) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// Elapsed implements disk.System.
func (m *Machine) Elapsed() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.elapsed
}

// Sleep lets the time pass, at once.
func (m *Machine) Sleep(_ context.Context, d time.Duration) {
	if m.before("sleep", "") == nil {
		m.pass(d)
		m.mu.Unlock()
	}
}

// Pass lets the time pass.
func (m *Machine) Pass(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pass(d)
}

// SetClock sets the clock forward, or back.
func (m *Machine) SetClock(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(d)
}

// maxLinks is how many links are followed on the way to a file.
const maxLinks = 40

// find returns the node at a name below a directory, and its path below it. Links
// that lead out of the directory, which may be the whole disk, are an error.
func (m *Machine) find(dir *node, name string, follow bool) (*node, string, error) {
	at, err := m.way(dir, name, follow)
	if err != nil {
		return nil, "", err
	}
	real := "."
	if len(at) > 1 {
		names := make([]string, 0, 8)
		for _, s := range at[1:] {
			names = append(names, s.name)
		}
		real = strings.Join(names, "/")
	}
	return at[len(at)-1].node, real, nil
}

// A step is a directory, or what is at the end, on the way to a file.
type step struct {
	name string
	node *node
}

// way returns the steps from a directory to a name below it.
func (m *Machine) way(dir *node, name string, follow bool) ([]step, error) {
	at := append(make([]step, 0, 8), step{".", dir})
	links := 0
	for name != "" {
		part, rest, _ := strings.Cut(name, "/")
		name = rest
		here := at[len(at)-1].node
		switch part {
		case "", ".":
			continue
		case "..":
			if len(at) == 1 {
				return nil, disk.ErrEscapes
			}
			at = at[:len(at)-1]
			continue
		}
		if !here.mode.IsDir() {
			return nil, syscall.ENOTDIR
		}
		next := here.below[part]
		if next == nil {
			return nil, syscall.ENOENT
		}
		if next.mounted != nil {
			next = next.mounted
		}
		if next.mode&fs.ModeSymlink != 0 && (follow || rest != "") {
			if links++; links > maxLinks {
				return nil, syscall.ELOOP
			}
			if strings.HasPrefix(next.target, "/") {
				if dir != m.top {
					return nil, disk.ErrEscapes
				}
				at = at[:1]
			}
			if name = next.target; rest != "" {
				name += "/" + rest
			}
			continue
		}
		at = append(at, step{part, next})
	}
	return at, nil
}

func wrap(call, name string, err error) error {
	if err == nil || errors.Is(err, disk.ErrEscapes) {
		return err
	}
	return &fs.PathError{Op: call, Path: name, Err: err}
}

// Open implements disk.System.
func (m *Machine) Open(dir string) (disk.Root, error) {
	if err := m.before("openroot", dir); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	n, _, err := m.find(m.top, dir, true)
	if err == nil && !n.mode.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, wrap("openroot", dir, err)
	}
	return root{m, n}, nil
}

// Resolve implements disk.System.
func (m *Machine) Resolve(p string) (string, error) {
	if err := m.before("resolve", p); err != nil {
		return "", err
	}
	defer m.mu.Unlock()
	_, real, err := m.find(m.top, p, true)
	return "/" + strings.TrimPrefix(real, "."), wrap("resolve", p, err)
}

// Lstat implements disk.System.
func (m *Machine) Lstat(p string) (fs.FileInfo, error) { return root{m, m.top}.stat("lstat", p, false) }

// Remote implements disk.System: nothing is.
func (m *Machine) Remote(string) error { return nil }

// A root is a directory that is open.
type root struct {
	*Machine
	dir *node
}

func (r root) Close() error                           { return nil }
func (r root) Lstat(name string) (fs.FileInfo, error) { return r.stat("lstat", name, false) }
func (r root) Stat(name string) (fs.FileInfo, error)  { return r.stat("stat", name, true) }
func (r root) stat(call, name string, follow bool) (fs.FileInfo, error) {
	if err := r.before(call, name); err != nil {
		return nil, err
	}
	defer r.mu.Unlock()
	n, _, err := r.find(r.dir, name, follow)
	if err != nil {
		return nil, wrap(call, name, err)
	}
	return n.info(path.Base(name)), nil
}

func (r root) Real(name string) (string, error) {
	if err := r.before("real", name); err != nil {
		return "", err
	}
	defer r.mu.Unlock()
	_, real, err := r.find(r.dir, name, true)
	return real, wrap("real", name, err)
}

func (r root) Sub(name string) (disk.Root, error) {
	if err := r.before("sub", name); err != nil {
		return nil, err
	}
	defer r.mu.Unlock()
	n, _, err := r.find(r.dir, name, true)
	if err == nil && !n.mode.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, wrap("sub", name, err)
	}
	return root{r.Machine, n}, nil
}

// List reads a directory in two pieces, between which much can happen: names that
// come or go then may be in neither.
func (r root) List(name string, yield func([]fs.DirEntry)) error {
	if err := r.before("list", name); err != nil {
		return err
	}
	n, _, err := r.find(r.dir, name, true)
	if err == nil && !n.mode.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		r.mu.Unlock()
		return wrap("list", name, err)
	}
	names := slices.Sorted(maps.Keys(n.below))
	r.mu.Unlock()
	for half := range slices.Chunk(names, len(names)/2+1) {
		if err := r.before("getdents", name); err != nil {
			return err
		}
		var entries []fs.DirEntry
		for _, name := range half {
			if e := n.below[name]; e != nil {
				entries = append(entries, fs.FileInfoToDirEntry(e.info(name)))
			}
		}
		r.mu.Unlock()
		if len(entries) > 0 {
			yield(entries)
		}
	}
	return nil
}

func (r root) Open(name string) (disk.File, error) {
	if err := r.before("open", name); err != nil {
		return nil, err
	}
	defer r.mu.Unlock()
	n, _, err := r.find(r.dir, name, true)
	if err != nil {
		return nil, wrap("open", name, err)
	}
	return &file{r.Machine, n, name, 0}, nil
}

// A file is open for reading.
type file struct {
	*Machine
	node *node
	name string
	read int
}

func (f *file) Close() error { return nil }

func (f *file) Stat() (fs.FileInfo, error) {
	if err := f.before("fstat", f.name); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	return f.node.info(path.Base(f.name)), nil
}

// Read reads half a kilobyte at the most, so that writers get between.
func (f *file) Read(b []byte) (int, error) {
	if err := f.before("read", f.name); err != nil {
		return 0, err
	}
	defer f.mu.Unlock()
	if f.read >= len(f.node.data) {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), 512)], f.node.data[f.read:])
	f.read += n
	return n, nil
}

// info is what a stat tells of a node at one moment.
type info struct {
	name string
	node
}

func (n *node) info(name string) fs.FileInfo { return info{name, *n} }

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return int64(len(i.data)) }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return i.modified }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return attributes{i.node} }

type attributes struct{ node }

func (a attributes) Inode() uint64      { return a.inode }
func (a attributes) Changed() time.Time { return a.changed }
func (a attributes) Device() uint64     { return a.device }
