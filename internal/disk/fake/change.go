package fake

import (
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"

	"coredns-smimea/internal/disk"
)

// What follows is done by others than who uses the machine as a disk.System: no
// Before is called.

// parent returns the directory that a path is in. The lock is held.
func (m *Machine) parent(p string) (*node, string, error) {
	dir, _, err := m.find(m.top, path.Dir(p), true)
	if err == nil && !dir.mode.IsDir() {
		err = syscall.ENOTDIR
	}
	return dir, path.Base(p), err
}

// MkdirAll makes a directory, and those above it.
func (m *Machine) MkdirAll(p string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir := ""
	for part := range strings.SplitSeq(strings.Trim(p, "/"), "/") {
		dir += "/" + part
		if n, _, err := m.find(m.top, dir, true); err == nil && n.mode.IsDir() {
			continue
		}
		in, name, err := m.parent(dir)
		if err != nil {
			return err
		}
		if in.below[name] != nil {
			return syscall.EEXIST
		}
		m.put(in, name, m.node(fs.ModeDir|0o755))
	}
	return nil
}

// put puts a node into a directory, with an event.
func (m *Machine) put(dir *node, name string, n *node) {
	dir.below[name] = n
	n.device = dir.device
	m.touch(dir)
	m.tell(dir, disk.Event{Name: name, New: true, Dir: n.mode.IsDir()})
}

// WriteFile writes a file in place, or makes it. A link is followed.
func (m *Machine) WriteFile(p string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n, real, err := m.find(m.top, p, true); err == nil {
		if n.mode.IsDir() {
			return syscall.EISDIR
		}
		n.data = slices.Clone(data)
		m.touch(n)
		if dir, name, err := m.parent("/" + real); err == nil {
			m.tell(dir, disk.Event{Name: name})
		}
		return nil
	}
	dir, name, err := m.parent(p)
	if err != nil {
		return err
	}
	if dir.below[name] != nil {
		return syscall.ENOENT // a link that leads nowhere
	}
	n := m.node(0o644)
	n.data = slices.Clone(data)
	m.put(dir, name, n)
	return nil
}

// Symlink makes a link.
func (m *Machine) Symlink(target, p string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, name, err := m.parent(p)
	if err != nil {
		return err
	}
	if dir.below[name] != nil {
		return syscall.EEXIST
	}
	n := m.node(fs.ModeSymlink | 0o777)
	n.target = target
	m.put(dir, name, n)
	return nil
}

// Rename moves what is at a path, over what is at the other, as rename(2) does.
func (m *Machine) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	fromDir, fromName, err := m.parent(from)
	if err != nil {
		return err
	}
	toDir, toName, err := m.parent(to)
	if err != nil {
		return err
	}
	n, over := fromDir.below[fromName], toDir.below[toName]
	switch {
	case n == nil:
		return syscall.ENOENT
	case n == over:
		return nil
	case n.device != toDir.device:
		return syscall.EXDEV
	case n.holds(toDir):
		return syscall.EINVAL
	case over != nil && over.mode.IsDir() != n.mode.IsDir():
		return syscall.EISDIR
	case over != nil && len(over.below) > 0:
		return syscall.ENOTEMPTY
	}
	delete(fromDir.below, fromName)
	n.changed = m.now.Truncate(tick)
	m.touch(fromDir)
	m.tell(fromDir, disk.Event{Name: fromName, Gone: true, Dir: n.mode.IsDir()})
	m.put(toDir, toName, n)
	if over != nil {
		m.end(over)
	}
	m.tell(n, disk.Event{Gone: true})
	return nil
}

// holds reports whether a directory is another one, or above it.
func (n *node) holds(dir *node) bool {
	if n == dir {
		return true
	}
	for _, b := range n.below {
		if b.holds(dir) {
			return true
		}
	}
	return false
}

// RemoveAll removes what is at a path, from below.
func (m *Machine) RemoveAll(p string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, name, err := m.parent(p)
	if err != nil {
		return err
	}
	if dir.below[name] != nil {
		m.remove(dir, name)
	}
	return nil
}

func (m *Machine) remove(dir *node, name string) {
	n := dir.below[name]
	for _, below := range slices.Sorted(maps.Keys(n.below)) {
		m.remove(n, below)
	}
	delete(dir.below, name)
	m.touch(dir)
	m.tell(dir, disk.Event{Name: name, Gone: true, Dir: n.mode.IsDir()})
	m.end(n)
}

// Mount puts a file system over a directory, a new one if volume is nil.
func (m *Machine) Mount(p string, volume *Volume) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, name, err := m.parent(p)
	if err != nil {
		panic(err)
	}
	if volume == nil {
		volume = &Volume{m.node(fs.ModeDir | 0o755)}
	}
	m.devices++
	volume.top.each(func(n *node) { n.device = m.devices })
	dir.below[name].mounted = volume.top
}

// A Volume is a file system that can be mounted. Its device is another one each
// time.
type Volume struct{ top *node }

// Unmount takes away the file system that is mounted over a directory. Who has it
// open keeps it. It is returned, to be mounted there again.
func (m *Machine) Unmount(p string) *Volume {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, name, err := m.parent(p)
	if err != nil {
		panic(err)
	}
	volume := dir.below[name].mounted
	dir.below[name].mounted = nil
	volume.each(m.end)
	return &Volume{volume}
}

// each calls do for a node and all that are below it.
func (n *node) each(do func(*node)) {
	do(n)
	for _, name := range slices.Sorted(maps.Keys(n.below)) {
		n.below[name].each(do)
	}
}

// Stat returns what a path leads to, without a system call of its user.
func (m *Machine) Stat(p string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, _, err := m.find(m.top, p, true)
	if err != nil {
		return nil, err
	}
	return n.info(path.Base(p)), nil
}

// An Entry is what is in a directory.
type Entry struct {
	Name string
	Dir  bool
	Link bool
	Real string // what it leads to, "" if that is nothing
	Data []byte // of that
	Into bool   // that is a directory
}

// Entries returns what is in a directory, by name.
func (m *Machine) Entries(dir string) []Entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, _, err := m.find(m.top, dir, true)
	if err != nil {
		return nil
	}
	var list []Entry
	for name, below := range n.below {
		e := Entry{Name: name, Dir: below.mode.IsDir(), Link: below.mode&fs.ModeSymlink != 0}
		if to, real, err := m.find(m.top, dir+"/"+name, true); err == nil {
			e.Real, e.Data, e.Into = "/"+real, to.data, to.mode.IsDir()
		}
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return list
}
