package certsource

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// A Watch hears of changes below a directory. What it tells is only where to
// look, and that sooner than the next look at everything: notifications can be
// lost, and come from no other machine.
type Watch struct {
	// C receives when something is to be looked at: see Take.
	C <-chan struct{}

	watcher *fsnotify.Watcher
	link    string // the directory as configured
	base    string // and without symbolic links
	wake    chan struct{}
	done    chan struct{}

	mu    sync.Mutex
	dirs  map[string]bool // that are watched, by their paths below the directory
	dirty map[string]bool
	all   bool
	deaf  error // why not all changes are heard
}

// NewWatch begins to watch a directory, and what leads to it. What is below it
// is watched as it is added.
func NewWatch(dir string) (*Watch, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	wake := make(chan struct{}, 1)
	w := &Watch{C: wake, watcher: watcher, wake: wake, done: make(chan struct{}), dirs: map[string]bool{}, dirty: map[string]bool{}}
	if w.link, err = filepath.Abs(dir); err == nil {
		err = w.follow()
	}
	if err != nil {
		watcher.Close()
		return nil, err
	}
	go w.run()
	return w, nil
}

// follow finds out where the directory is now, and watches the directories in
// which it, or a link to it, can be replaced.
func (w *Watch) follow() error {
	base, err := filepath.EvalSymlinks(w.link)
	if err != nil {
		return err
	}
	w.mu.Lock()
	if base != w.base {
		w.base, w.dirs = base, map[string]bool{}
	}
	w.deaf = remote(base)
	w.mu.Unlock()
	return errors.Join(w.watcher.Add(filepath.Dir(w.link)), w.watcher.Add(filepath.Dir(base)))
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
		if err := w.follow(); err != nil {
			w.setDeaf(err)
			return
		}
	}
	w.mu.Lock()
	w.dirs[dir] = true
	abs := filepath.Join(w.base, filepath.FromSlash(dir))
	w.mu.Unlock()
	if err := w.watcher.Add(abs); err != nil && !os.IsNotExist(err) {
		w.setDeaf(err)
	}
}

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
		case _, ok := <-errs:
			if !ok {
				errs = nil
				continue
			}
			// The queue has overflown, or the watch of something is lost.
			w.mark("", true)
		}
	}
}

func (w *Watch) hear(event fsnotify.Event) {
	w.mu.Lock()
	base, isDir := w.base, false
	below, err := filepath.Rel(base, event.Name)
	below = filepath.ToSlash(below)
	if err == nil {
		isDir = w.dirs[below]
	}
	w.mu.Unlock()
	name := path.Base(below)
	switch {
	case event.Name == w.link || below == ".":
		if event.Op != fsnotify.Chmod || below == "." {
			w.mark("", true)
		}
	case err != nil || strings.HasPrefix(below, "../"):
		// Somebody else's, beside the directory.
	case below == ConfirmFile:
		w.mark("", true)
	case strings.HasPrefix(name, ".."):
		// Kubernetes switches ..data; what leads through it has changed.
		w.mark("", true)
	case strings.HasPrefix(name, "."):
	case IsCertificateName(name) || isDir || event.Has(fsnotify.Create):
		w.mark(below, false)
	}
}

func (w *Watch) mark(p string, all bool) {
	w.mu.Lock()
	if all {
		w.all = true
	} else {
		w.dirty[p] = true
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
