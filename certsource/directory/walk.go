package directory

import (
	"context"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/internal/disk"
)

// A batch is what one worker has found out about some files or directories.
type batch struct {
	seen     []uint32 // files that are as they were
	back     []string // those of them whose withdrawal is held back
	findings []finding
	newest   time.Time // the last modification of any of the files or directories
	unread   []unread
	listed   []listing
	others   []other
	below    []job // directories that are below one that was listed alone
}

// listing is a directory, and its stamp of before it was listed.
type listing struct {
	job
	reading
	settled bool // the next change shows in the stamp
}

// unread is a directory that could not be read, or not to its end.
type unread struct {
	dir string
	err error
}

// dated notes a modification, unless it is one of a time to come.
func (b *batch) dated(r *reader, modified time.Time) {
	if modified.After(b.newest) && !modified.After(r.clock().Add(Skew)) {
		b.newest = modified
	}
}

// A job is a directory to be listed, or some of its entries to be looked at.
type job struct {
	dir     string
	entries []fs.DirEntry
	depth   int  // of symbolic links to directories
	alone   bool // without what is in directories below it
}

const (
	maxLinks = 2  // to directories, on the way to a file
	maxJobs  = 64 // of entries, before a worker does them itself
)

// walk looks at all files below a directory with all processors, and sends
// what it finds to out, which it closes.
func (r *reader) walk(ctx context.Context, first job, out chan<- batch) {
	var (
		mu      sync.Mutex
		wake    = sync.NewCond(&mu)
		jobs    = []job{first}
		pending = 1 // jobs not yet done
		workers sync.WaitGroup
	)
	push := func(j job) bool {
		mu.Lock()
		defer mu.Unlock()
		if j.entries != nil && len(jobs) >= maxJobs {
			return false
		}
		jobs = append(jobs, j)
		pending++
		wake.Signal()
		return true
	}
	send := func(b batch) {
		select {
		case out <- b:
		case <-ctx.Done():
		}
	}
	pop := func() (job, bool) {
		mu.Lock()
		defer mu.Unlock()
		for len(jobs) == 0 && pending > 0 {
			wake.Wait()
		}
		if len(jobs) == 0 {
			return job{}, false
		}
		// The newest first: what a directory holds before the next directory,
		// so that there are never many jobs.
		j := jobs[len(jobs)-1]
		jobs = jobs[:len(jobs)-1]
		return j, true
	}
	done := func() {
		mu.Lock()
		if pending--; pending == 0 {
			wake.Broadcast()
		}
		mu.Unlock()
	}
	for range r.workers {
		workers.Go(func() {
			for {
				j, ok := pop()
				if !ok {
					return
				}
				if ctx.Err() == nil {
					r.do(j, push, send)
				}
				done()
			}
		})
	}
	workers.Wait()
	close(out)
}

// do lists a directory and leaves its entries to whoever is idle, or, where
// nobody is, looks at them itself.
func (r *reader) do(j job, push func(job) bool, send func(batch)) {
	if j.entries != nil {
		send(r.lookAt(j, push))
		return
	}
	var b batch
	info, err := r.root.Stat(j.dir)
	if err == nil {
		b.dated(r, info.ModTime())
		b.listed = append(b.listed, listing{job{dir: j.dir, depth: j.depth}, reading{stamp(info), r.system.Elapsed()}, r.settled(info)})
		err = r.list(j.dir, func(entries []fs.DirEntry) {
			if part := (job{j.dir, entries, j.depth, j.alone}); !push(part) {
				send(r.lookAt(part, push))
			}
		})
	}
	if err != nil {
		b.unread = append(b.unread, unread{j.dir, err})
	}
	send(b)
}

// lookAt looks at some entries of a directory.
func (r *reader) lookAt(j job, push func(job) bool) (b batch) {
	in, err := r.root.Sub(j.dir)
	if err != nil {
		b.unread = append(b.unread, unread{j.dir, err})
		return b
	}
	defer in.Close()
	deeper := push
	if j.alone {
		deeper = func(below job) bool { b.below = append(b.below, below); return true }
	}
	var buf []byte
	for _, e := range j.entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") {
			continue
		}
		isLink := e.Type()&fs.ModeSymlink != 0
		buf = appendPath(buf[:0], j.dir, name)
		switch {
		case e.IsDir():
			deeper(job{dir: string(buf), depth: j.depth})
		case isLink:
			r.lookAtLink(&b, string(buf), j.depth, deeper)
		case !certsource.IsCertificateName(name):
			if !e.Type().IsRegular() {
				continue
			}
			if info, err := in.Lstat(name); err == nil {
				r.lookAtOther(&b, in, name, string(buf), info)
			}
		default:
			info, err := in.Lstat(name)
			if err != nil {
				if !os.IsNotExist(err) { // gone already
					b.findings = append(b.findings, r.unreadable(string(buf), err))
				}
				continue
			}
			r.lookAtFile(&b, in, name, buf, info)
		}
	}
	return b
}

func (r *reader) lookAtFile(b *batch, in disk.Root, name string, path []byte, info fs.FileInfo) {
	b.dated(r, info.ModTime())
	record, same := r.unchanged(path, info)
	if same {
		b.seen = append(b.seen, recordID(record))
		if recordHeld(record) {
			b.back = append(b.back, string(path))
		}
		return
	}
	if f := r.read(in, name, string(path), record, info); !f.vanished {
		b.findings = append(b.findings, f)
	}
}

// lookAtLink follows a symbolic link, to a file or to a directory.
func (r *reader) lookAtLink(b *batch, link string, depth int, push func(job) bool) {
	info, err := r.root.Stat(link)
	alias := false
	if err == nil {
		alias, err = r.alias(link)
	}
	switch {
	case err != nil:
		switch {
		case certsource.IsCertificateName(path.Base(link)) || disk.Escapes(err):
			b.findings = append(b.findings, r.unreadable(link, err))
		case !leadsNowhere(err):
			b.unread = append(b.unread, unread{link, err}) // maybe a directory
		}
	case alias:
	case info.IsDir():
		if depth < maxLinks {
			push(job{dir: link, depth: depth + 1})
		}
	case certsource.IsCertificateName(path.Base(link)):
		r.lookAtFile(b, r.root, link, []byte(link), info)
	}
}

func (r *reader) unreadable(path string, err error) finding {
	known, _ := r.files.table.Get([]byte(path))
	return finding{path: path, known: known, refusal: whyNot(err)}
}

// above returns the path of what a path is in, "." for the directory itself.
func above(p string) string {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i]
	}
	return "."
}

// appendPath appends a path with slashes; "." is the directory itself.
func appendPath(dst []byte, dir, name string) []byte {
	if dir != "." {
		dst = append(append(dst, dir...), '/')
	}
	return append(dst, name...)
}
