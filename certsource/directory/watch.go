package directory

import (
	"coredns-smimea/certsource"
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// maxDirty is how many paths are kept to be looked at, before it is everything.
const maxDirty = 1 << 16

// A Watch hears of changes below a directory. What it tells is only where to
// look, and that sooner than the next look at everything: notifications can be
// lost, and come from no other machine.
type Watch struct {
	// C receives when something is to be looked at: see Take.
	C <-chan struct{}

	watcher *fsnotify.Watcher
	link    string // the directory as configured
	wake    chan struct{}
	done    chan struct{}

	mu    sync.Mutex
	base  string          // the directory without symbolic links
	above []string        // what is watched beside it
	dirs  map[string]bool // that are watched, by their paths below the directory
	dirty map[string]bool
	all   bool
	deaf  error // why not all changes are heard
}

// NewWatch begins to watch a directory, and what leads to it. What is below it
// is watched as it is added.
func NewWatch(dir string) (*Watch, error) {
	link, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	wake := make(chan struct{}, 1)
	w := &Watch{C: wake, watcher: watcher, link: link, wake: wake, done: make(chan struct{}), dirs: map[string]bool{}, dirty: map[string]bool{}}
	w.follow()
	go w.run()
	return w, nil
}

// follow finds out where the directory is now, and watches the directories in
// which it, or a link to it, can be replaced.
func (w *Watch) follow() {
	base, err := filepath.EvalSymlinks(w.link)
	if err != nil {
		w.setDeaf(err)
		return
	}
	w.mu.Lock()
	above := []string{filepath.Dir(w.link), filepath.Dir(base)}
	if base != w.base {
		w.drop(".")
		for _, dir := range w.above {
			if !slices.Contains(above, dir) {
				_ = w.watcher.Remove(dir)
			}
		}
		w.base, w.above = base, above
	}
	w.mu.Unlock()
	w.setDeaf(remote(base))
	for _, dir := range above {
		if err := w.watcher.Add(dir); err != nil {
			w.setDeaf(err)
		}
	}
}

// Close ends the watch.
func (w *Watch) Close() {
	w.watcher.Close()
	<-w.done
}

// Add watches a directory, by its path below the one of NewWatch; "." is that
// itself. It must come before the directory is listed, lest a change in between
// is missed.
func (w *Watch) Add(dir string) {
	if dir == "." {
		w.follow()
	}
	w.mu.Lock()
	w.dirs[dir] = true
	abs := w.abs(dir)
	w.mu.Unlock()
	if err := w.watcher.Add(abs); err != nil && !os.IsNotExist(err) {
		w.setDeaf(err)
	}
}

func (w *Watch) abs(dir string) string { return filepath.Join(w.base, filepath.FromSlash(dir)) }

// drop ends the watches of a directory that is not where it was, and of all
// below it: watches stay with what has moved, and would tell its old name. The
// lock is held. Who looks at the directory next adds what is there now.
func (w *Watch) drop(dir string) {
	for p := range w.dirs {
		if dir == "." || p == dir || strings.HasPrefix(p, dir+"/") {
			delete(w.dirs, p)
			// That it is gone already is no error.
			_ = w.watcher.Remove(w.abs(p))
		}
	}
}

// setDeaf notes that not all changes are heard, until the next look.
func (w *Watch) setDeaf(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deaf = err
}

// Deaf returns why changes can happen that are not heard of, nil if none can.
func (w *Watch) Deaf() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.deaf
}

// Take returns the paths that are to be looked at since the last Take, or all
// if the whole directory is.
func (w *Watch) Take() (paths []string, all bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := range w.dirty {
		paths = append(paths, p)
	}
	all = w.all
	w.dirty, w.all = map[string]bool{}, false
	return paths, all
}

func (w *Watch) run() {
	defer close(w.done)
	events, errs := w.watcher.Events, w.watcher.Errors
	for events != nil || errs != nil {
		select {
		case event, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			w.hear(event)
		case err, ok := <-errs:
			if !ok {
				errs = nil
				continue
			}
			if !errors.Is(err, fsnotify.ErrNonExistentWatch) {
				// The queue has overflown: anything may have happened.
				w.mu.Lock()
				w.mark("", true)
				w.mu.Unlock()
			}
		}
	}
}

func (w *Watch) hear(event fsnotify.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	moved := event.Has(fsnotify.Remove) || event.Has(fsnotify.Rename)
	below, err := filepath.Rel(w.base, event.Name)
	if err != nil {
		return
	}
	below = filepath.ToSlash(below)
	name := path.Base(below)
	switch {
	case event.Name == w.link || below == ".":
		if moved {
			w.drop(".")
		}
		w.mark("", true)
	case below == ".." || strings.HasPrefix(below, "../"):
		// Somebody else's, beside the directory.
	case below == ConfirmFile:
		w.mark("", true)
	case strings.HasPrefix(name, ".."):
		// Kubernetes switches ..data; what leads through it has changed.
		w.mark("", true)
	case strings.HasPrefix(name, "."):
	case w.dirs[below]:
		if moved {
			w.drop(below)
		}
		w.mark(below, false)
	case certsource.IsCertificateName(name):
		w.mark(below, false)
	case event.Has(fsnotify.Create):
		// A directory, or a link to one. Other files with such names come and
		// go with every certificate that is written beside its place first.
		if info, err := os.Lstat(event.Name); err == nil && !info.Mode().IsRegular() {
			w.mark(below, false)
		}
	}
}

// mark notes what is to be looked at. The lock is held.
func (w *Watch) mark(p string, all bool) {
	if w.all = w.all || all || len(w.dirty) >= maxDirty; w.all {
		clear(w.dirty)
	} else {
		w.dirty[p] = true
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
