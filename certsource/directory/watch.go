package directory

import (
	"errors"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"coredns-smimea/certsource"
	"coredns-smimea/internal/disk"
)

// maxDirty is how many paths are kept to be looked at, before it is everything.
const maxDirty = 1 << 16

// A Watch hears of changes below a directory. What it tells is only where to
// look, and that sooner than the next look at everything: notifications can be
// lost, and come from no other machine.
type Watch struct {
	// C receives when something is to be looked at, which Take returns: once until then.
	C <-chan struct{}

	system disk.System
	link   string // the directory as configured
	wake   chan struct{}
	done   chan struct{}

	mu       sync.Mutex
	notifier disk.Notifier
	base     string           // the directory without symbolic links
	above    map[int][]string // by watch: what is of interest in a directory beside it
	folders  folders
	dirty    map[string]bool
	all      bool
	deaf     error             // why not all changes are heard
	lame     map[*folder]error // directories that could not be watched
	closed   bool
}

// NewWatch begins to watch a directory, and what leads to it. What is below it
// is watched as it is added. A nil system is the machine's own.
func NewWatch(dir string, system disk.System) (*Watch, error) {
	if system == nil {
		system = disk.OS
	}
	link, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	notifier, err := system.Watch()
	if err != nil {
		return nil, err
	}
	wake := make(chan struct{}, 1)
	w := &Watch{C: wake, system: system, notifier: notifier, link: link, wake: wake, done: make(chan struct{}), folders: newFolders(), dirty: map[string]bool{}, lame: map[*folder]error{}}
	w.mu.Lock()
	w.follow()
	w.mu.Unlock()
	go w.run()
	return w, nil
}

// follow finds out where the directory is now, and watches the directories in
// which it, or a link to it, can be replaced. The lock is held.
func (w *Watch) follow() {
	base, err := w.system.Resolve(w.link)
	if err != nil {
		w.deaf = err
		return
	}
	if base != w.base && w.base != "" {
		w.drop(w.folders.top)
		w.mark("", true)
	}
	w.base, w.deaf = base, w.system.Remote(base)
	before := w.above
	w.above = map[int][]string{}
	for _, p := range []string{w.link, base} {
		watch, err := w.notifier.Add(filepath.Dir(p))
		if err != nil {
			w.deaf = err
			continue
		}
		w.above[watch] = append(w.above[watch], filepath.Base(p))
	}
	for watch := range before {
		w.unused(watch)
	}
}

// Close ends the watch.
func (w *Watch) Close() {
	w.mu.Lock()
	w.closed = true
	_ = w.notifier.Close() // nothing is written
	w.mu.Unlock()
	<-w.done
}

// Add watches a directory, by its path below the one of NewWatch; "." is that
// itself. It must come before the directory is listed, lest a change in between
// is missed.
func (w *Watch) Add(dir string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if dir == "." {
		w.follow()
		w.forget()
	}
	p := filepath.Join(w.base, filepath.FromSlash(dir))
	watch, err := w.notifier.Add(p)
	f := w.folders.at(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		w.drop(f) // who lists it finds that out
	case errors.Is(err, fs.ErrPermission) && w.locked(f, p):
		delete(w.lame, f)
		w.release(f)
	case err != nil:
		w.lame[f] = err
	default:
		delete(w.lame, f)
		if f.watch != watch {
			w.release(f)
			w.folders.watched(f, watch)
		}
	}
}

// locked reports whether a directory cannot be read either, so that who lists it says
// so, and what is above it tells when it can.
func (w *Watch) locked(f *folder, path string) bool {
	if f.parent == nil || f.parent.watch == unwatched {
		return false
	}
	if info, err := w.system.Lstat(path); err != nil || !info.IsDir() {
		return false // maybe a link, and nobody tells of what it leads to
	}
	root, err := w.system.Open(path)
	if err == nil {
		_ = root.Close() // it was only read
	}
	return errors.Is(err, fs.ErrPermission)
}

// drop ends the watches of a directory that is not where it was, and of all
// below it: watches stay with what has moved, and would tell its old name. The
// lock is held. Who looks at the directory next adds what is there now.
func (w *Watch) drop(f *folder) {
	w.folders.cut(f)
	f.each(func(f *folder) {
		w.release(f)
		delete(w.lame, f)
	})
}

// release ends the watch that a folder has, unless it is another's too.
func (w *Watch) release(f *folder) {
	if watch := f.watch; watch != unwatched {
		w.folders.unwatched(f)
		w.unused(watch)
	}
}

// unused ends a watch if nothing has it any more.
func (w *Watch) unused(watch int) {
	if len(w.folders.by[watch]) == 0 && w.above[watch] == nil {
		w.notifier.Remove(watch)
	}
}

// Deaf returns why changes can happen that are not heard of, nil if none can.
func (w *Watch) Deaf() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.deaf != nil {
		return w.deaf
	}
	first := ""
	var deaf error
	for f, err := range w.lame {
		if p := f.path(); deaf == nil || p < first {
			first, deaf = p, err
		}
	}
	return deaf
}

// forget forgets the directories that could not be watched and are no more: what
// tells of that may not be watched either.
func (w *Watch) forget() {
	byPath := func(a, b *folder) int { return strings.Compare(a.path(), b.path()) }
	for _, f := range slices.SortedFunc(maps.Keys(w.lame), byPath) {
		_, err := w.system.Lstat(filepath.Join(w.base, filepath.FromSlash(f.path())))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			w.drop(f)
		}
	}
}

// Folders returns how many directories are watched.
func (w *Watch) Folders() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.folders.by)
}

// Take returns the paths that are to be looked at since the last Take, or all
// if the whole directory is.
func (w *Watch) Take() (paths []string, all bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := range w.dirty {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	all = w.all
	w.dirty, w.all = map[string]bool{}, false
	return paths, all
}

func (w *Watch) run() {
	defer close(w.done)
	for {
		w.mu.Lock()
		notifier := w.notifier
		w.mu.Unlock()
		events, err := notifier.Read()
		w.mu.Lock()
		switch {
		case w.closed:
			w.mu.Unlock()
			return
		case notifier != w.notifier:
			// Events of before a restart, whose watches are no more.
			w.mu.Unlock()
			continue
		case err != nil:
			// It tells nothing any more: look at everything, and say so.
			w.deaf = err
			w.mark("", true)
			w.mu.Unlock()
			return
		}
		for _, e := range events {
			if e.Lost {
				w.restart()
				break
			}
			w.hear(e)
		}
		w.mu.Unlock()
	}
}

// restart begins anew after events were lost: directories may be elsewhere than
// we think. The watches are not ended one by one, since each would make an event
// of its own. The look at everything adds them again. The lock is held.
func (w *Watch) restart() {
	w.mark("", true)
	notifier, err := w.system.Watch()
	if err != nil {
		w.deaf = err // what is watched stays so
		return
	}
	before := w.notifier
	w.notifier, w.folders, w.above, w.lame = notifier, newFolders(), nil, map[*folder]error{}
	w.follow()
	_ = before.Close() // nothing is written
}

// hear notes where to look because of an event. The lock is held.
func (w *Watch) hear(e disk.Event) {
	if e.Ended {
		for _, f := range slices.Clone(w.folders.by[e.Watch]) {
			w.folders.unwatched(f)
		}
		delete(w.above, e.Watch)
		return
	}
	if slices.Contains(w.above[e.Watch], e.Name) {
		if e.Gone || e.New {
			w.drop(w.folders.top)
		}
		w.mark("", true)
	}
	for _, f := range slices.Clone(w.folders.by[e.Watch]) {
		switch {
		case f.watch != e.Watch: // dropped meanwhile, with what it was below
		case e.Name == "":
			w.hearSelf(f, e)
		default:
			w.hearEntry(f, e)
		}
	}
}

// hearSelf is for an event of a folder itself.
func (w *Watch) hearSelf(f *folder, e disk.Event) {
	p := f.path()
	if e.Gone {
		w.drop(f)
	}
	w.mark(p, p == ".")
}

// hearEntry is for an event of what is in a folder.
func (w *Watch) hearEntry(f *folder, e disk.Event) {
	p := path.Join(f.path(), e.Name)
	child := f.below[e.Name]
	switch {
	case p == ConfirmFile:
		w.mark("", true)
	case strings.HasPrefix(e.Name, ".."):
		// Kubernetes switches ..data; what leads through it has changed.
		w.mark("", true)
	case strings.HasPrefix(e.Name, "."):
	case child != nil:
		if e.Gone || e.New {
			w.drop(child)
		}
		w.mark(p, false)
	case certsource.IsCertificateName(e.Name) || isKeyName(e.Name):
		w.mark(p, false)
	case e.New:
		// A directory, or a link to one. Other files with such names come and
		// go with every certificate that is written beside its place first.
		if e.Dir || !w.isFile(filepath.Join(w.base, filepath.FromSlash(p))) {
			w.mark(p, false)
		}
	}
}

// isFile reports whether there is a file at a path, or nothing any more.
func (w *Watch) isFile(path string) bool {
	info, err := w.system.Lstat(path)
	return errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode().IsRegular()
}

// mark notes what is to be looked at. Who was told of something, and has not taken it
// yet, is not told of more. The lock is held.
func (w *Watch) mark(p string, all bool) {
	told := w.all || len(w.dirty) > 0
	if w.all = w.all || all || len(w.dirty) >= maxDirty; w.all {
		clear(w.dirty)
	} else {
		w.dirty[p] = true
	}
	if told {
		return
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
