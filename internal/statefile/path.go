package statefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// A Path is where a state is kept.
type Path struct {
	Name string
	Disk Disk
}

// At returns a path on the disk of the operating system.
func At(name string) Path { return Path{name, OS{}} }

// Place returns the one name that a file has, whatever way leads to it: absolute,
// without links to directories.
func (p Path) Place() string {
	name, err := filepath.Abs(p.Name)
	if err != nil {
		return p.Name
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(name)); err == nil {
		name = filepath.Join(dir, filepath.Base(name))
	}
	return name
}

// next are the names of the files that this process is writing, so that two who
// save to one path never write to one file, and nobody sweeps up what is in use.
var next = struct {
	sync.Mutex
	last  int
	inUse map[string]bool
}{inUse: map[string]bool{}}

func (p Path) nextName() string {
	next.Lock()
	defer next.Unlock()
	next.last++
	name := fmt.Sprintf("%s.new-%d-%d", p.Name, os.Getpid(), next.last)
	next.inUse[name] = true
	return name
}

// discard removes a file that was not completed.
func (p Path) discard(name string) {
	_ = p.Disk.Remove(name) // it may have got its name for good already
	next.Lock()
	defer next.Unlock()
	delete(next.inUse, name)
}

// Sweep removes what saves have left behind that did not come to their end,
// because the process was killed.
func (p Path) Sweep() error {
	names, err := p.Disk.Glob(escape(p.Name) + ".new-*-*")
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		next.Lock()
		used := next.inUse[name]
		next.Unlock()
		begins, err := p.begins(name)
		if ours := errors.Is(err, fs.ErrNotExist) || err == nil && strings.HasPrefix(begins, family); used || !ours {
			continue // not ours to remove
		}
		errs = append(errs, p.Disk.Remove(name))
	}
	return errors.Join(errs...)
}

// escape makes a name a pattern that only it matches.
func escape(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
}

// begins returns what a regular file begins with, up to the length of a state's
// first line. It neither follows a link nor waits for a writer of a FIFO. The error
// is fs.ErrNotExist for an empty file: there is no state in it, and nothing else.
func (p Path) begins(name string) (string, error) {
	f, err := p.Disk.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("it is %s", kindOf(info.Mode()))
	}
	if info.Size() == 0 {
		return "", fs.ErrNotExist
	}
	line := make([]byte, min(int64(len(magic)), info.Size()))
	if _, err := f.ReadAt(line, 0); err != nil {
		return "", err
	}
	return string(line), nil
}

func kindOf(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeSymlink != 0:
		return "a symbolic link"
	case m&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "no regular file"
}

// Check returns why no state can be kept here: something else has the name, which
// a state must not take the place of, or the directory is not there or cannot be
// written to. It changes nothing.
func (p Path) Check() error {
	dir := filepath.Dir(p.Name)
	switch info, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("its directory %q does not exist: create it", dir)
	case err != nil:
		return fmt.Errorf("its directory cannot be looked at: %w", err)
	case !info.IsDir():
		return fmt.Errorf("%q is not a directory: name a file in one", dir)
	}
	info, err := p.Disk.Lstat(p.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%q is %s, and no state: name a file that is not there yet", p.Name, kindOf(info.Mode()))
	default:
		begins, err := p.begins(p.Name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return fmt.Errorf("%q cannot be read: %w", p.Name, err)
		case !strings.HasPrefix(begins, family):
			return fmt.Errorf("%q is a file of another kind, and no state: name a file that is not there yet", p.Name)
		}
	}
	name := p.nextName()
	defer p.discard(name)
	f, err := p.Disk.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("the directory %q cannot be written to: %w", dir, err)
	}
	return f.Close()
}

// SetAside gives a state that is of no use a name that is free, and returns it. With
// keep it has the old name as well.
// It touches nothing but a regular file that begins as a state does.
func (p Path) SetAside(keep bool) (string, error) {
	begins, err := p.begins(p.Name)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(begins, family) {
		return "", errors.New("it is no state")
	}
	for n := 1; ; n++ {
		aside := p.Name + ".aside"
		if n > 1 {
			aside = fmt.Sprintf("%s.aside.%d", p.Name, n)
		}
		switch err := p.Disk.Link(p.Name, aside); {
		case err == nil && keep:
			return aside, nil
		case err == nil:
			return aside, errors.Join(p.Disk.Remove(p.Name), p.syncDir())
		case !errors.Is(err, fs.ErrExist):
			return "", err
		}
	}
}

// Remove removes a state, and nothing else.
func (p Path) Remove() error {
	begins, err := p.begins(p.Name)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(begins, family) {
		return errors.New("it is no state")
	}
	return p.Disk.Remove(p.Name)
}
