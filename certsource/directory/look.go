package directory

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/certsource/revocation"
)

// A look is one pass over a directory, or over parts of it.
type look struct {
	*Directory
	*reader
	changed func(Change)
	before  Files

	all       bool // everything is looked at
	unmounted bool // the directory is on another file system than before

	report Report
	seen   bitmap             // files known before that are there
	found  int                // files that were looked into
	walked map[string]bool    // directories that were walked, or may have been one and are gone
	listed map[string]listing // directories that were listed
	below  []job              // see batch
	ways   map[string]way     // to directories that were reached just now
	unread map[string]bool    // directories that could not be read
	causes map[string]string  // why
	// What takes away a certificate comes last: files that are gone, and those
	// that hold something else now, by their numbers.
	gone     []string
	replaced map[uint32]Change
	others   map[string]other // files that are not of certificates
	fresh    map[string]reading
	cleared  map[revocation.ID]bool // see Directory
	torn     []string               // files that are being written
	heard    []string               // what was heard of, and is to be looked at
}

func newLook(d *Directory, r *reader, changed func(Change)) *look {
	return &look{
		Directory: d, reader: r, changed: changed, before: r.files, report: Report{Held: d.held},
		walked: map[string]bool{}, listed: map[string]listing{}, unread: map[string]bool{}, causes: map[string]string{}, replaced: map[uint32]Change{}, others: map[string]other{}, fresh: map[string]reading{}, cleared: map[revocation.ID]bool{},
	}
}

// everything looks at all files.
func (l *look) everything(ctx context.Context) error {
	l.all = true
	if err := l.walk(ctx, "."); err != nil {
		return err
	}
	if l.unmounted && l.before.Len() > 0 && l.seen.count+l.found == 0 {
		l.guard.suspect(l.now)
		if !l.guard.confirmed(l.reader) {
			return fmt.Errorf("the directory %q is empty, and on another file system than before: is it mounted? Touch %s there if that is meant", l.options.Dir, ConfirmFile)
		}
	}
	return l.takeAway(ctx)
}

// some looks at some paths.
func (l *look) some(ctx context.Context, paths []string) error {
	if err := l.these(ctx, paths); err != nil {
		return err
	}
	return l.takeAway(ctx)
}

func (l *look) these(ctx context.Context, paths []string) error {
	l.ways = map[string]way{}
	for _, p := range paths {
		if err := l.at(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// at looks at one path.
func (l *look) at(ctx context.Context, p string) error {
	depth, err := l.reach(above(p))
	var info fs.FileInfo
	if err == nil {
		info, err = l.root.Lstat(p)
	}
	switch {
	case err == nil && info.IsDir():
		return l.walkFrom(ctx, job{dir: p, depth: depth})
	case err == nil && info.Mode()&os.ModeSymlink != 0:
		var b batch
		var dirs []job
		l.lookAtLink(&b, p, depth, func(j job) bool { dirs = append(dirs, j); return true })
		l.take(b)
		for _, j := range dirs {
			return l.walkFrom(ctx, j)
		}
		l.walked[p] = true // it may have led to a directory
	case err == nil && certsource.IsCertificateName(path.Base(p)):
		var b batch
		l.lookAtFile(&b, l.root, p, []byte(p), info)
		l.take(b)
		if len(b.seen)+len(b.findings) == 0 || l.folders[p] {
			l.walked[p] = true // it has vanished in this moment, or was a directory
		}
	case err == nil:
		var b batch
		l.lookAtOther(&b, l.root, p, p, info)
		l.take(b)
		l.walked[p] = true // it may have been a directory
	case leadsNowhere(err):
		l.walked[p] = true
	case certsource.IsCertificateName(path.Base(p)):
		l.take(batch{findings: []finding{l.unreadable(p, err)}})
	default:
		l.take(batch{unread: []unread{{p, err}}}) // maybe a directory
	}
	return nil
}

// reach returns how many symbolic links are on the way to a directory. The error
// is fs.ErrNotExist if a look at everything would not get there that way.
func (l *look) reach(dir string) (depth int, err error) {
	if w, known := l.ways[dir]; known {
		return w.depth, w.err
	}
	var w way
	for end := range len(dir) + 1 {
		if dir == "." || w.err != nil || end < len(dir) && dir[end] != '/' {
			continue
		}
		before := w
		var known bool
		if w, known = l.ways[dir[:end]]; !known {
			w = l.step(dir[:end], before)
		}
		l.ways[dir[:end]] = w
	}
	l.ways[dir] = w
	return w.depth, w.err
}

// A way is one to a directory: see reach.
type way struct {
	depth int
	err   error
}

// step goes from the directory that another one is in to that.
func (l *look) step(dir string, w way) way {
	info, err := l.root.Lstat(dir)
	if err != nil {
		return way{err: err}
	}
	alias := false
	if info.Mode()&os.ModeSymlink != 0 {
		w.depth++
		if alias, err = l.alias(dir); err != nil {
			return way{err: err}
		}
	}
	if alias || w.depth > maxLinks || strings.HasPrefix(path.Base(dir), ".") {
		return way{err: fs.ErrNotExist}
	}
	return w
}

// walk takes in what there is below a directory. The error is one of the
// directory as a whole.
func (l *look) walk(ctx context.Context, dir string) error {
	return l.walkFrom(ctx, job{dir: dir})
}

func (l *look) walkFrom(ctx context.Context, first job) error {
	out := make(chan batch, 8)
	go l.reader.walk(ctx, first, out)
	var err error
	for b := range out {
		for _, u := range b.unread {
			if u.dir == "." {
				err = fmt.Errorf("reading the directory %q: %s", l.options.Dir, cause(u.err))
			}
		}
		l.take(b)
	}
	if !first.alone {
		l.walked[first.dir] = true
	}
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// take takes in a batch.
func (l *look) take(b batch) {
	for _, id := range b.seen {
		l.seen.set(id)
		delete(l.replaced, id) // it is again what it was
		delete(l.missing, id)
	}
	for _, p := range b.back {
		l.release(p)
	}
	for _, d := range b.listed {
		if before, ok := l.listed[d.dir]; ok && before.stamp == d.stamp && !d.settled {
			d.settled = d.at-before.at > unsettled
			d.at = before.at
		}
		l.listed[d.dir] = d
		delete(l.unread, d.dir)
	}
	for _, u := range b.unread {
		if !leadsNowhere(u.err) {
			l.unread[u.dir], l.causes[u.dir] = true, cause(u.err)
		}
	}
	l.below = append(l.below, b.below...)
	for _, o := range b.others {
		l.takeOther(o)
	}
	l.dated(b.newest)
	for _, f := range b.findings {
		if f.known != nil {
			l.seen.set(recordID(f.known))
		}
		l.found++
		if !f.modified.IsZero() {
			l.report.Read++
		}
		l.takeFinding(f)
	}
}

func (l *look) dated(t time.Time) {
	if t.After(l.report.Newest) && !t.After(l.clock().Add(Skew)) {
		l.report.Newest = t
	}
}

// takeFinding makes a file of what was found, and passes the change on, unless
// it takes a certificate away: that comes last.
func (l *look) takeFinding(f finding) {
	c := Change{Path: f.path, Certificates: f.certs, Unused: f.unused, Refusal: f.refusal}
	record, known := l.record(f.path)
	if known {
		c.Old = decodeFile(record)
	}
	n := f.numbered(c.Old.ID)
	for _, cert := range n.Certificates() {
		if !cert.Ended && l.revoked.Concerns(cert.Issued) {
			l.cleared[cert.Issued] = true
		}
	}
	loses := c.Old.loses(&n)
	// What is shorter than it was may be written just now.
	shrinks := loses && n.Published() && n.shrinks(&c.Old) && !l.missedFor(c.Old.ID, patience)
	if loses && !n.Published() && l.keeps(c, n) || shrinks {
		kept := c.Old
		kept.Failing, kept.stamp = n.Reason, n.stamp
		if shrinks || replaces[n.Reason] {
			kept.stamp = 0 // to be read again
		}
		n, loses, c.Certificates = kept, false, nil
	}
	if n.Reason == certsource.Expired {
		l.dated(n.NotAfter.Add(-l.options.Margin))
	}
	if before, ok := l.reader.fresh[f.path]; f.fresh != 0 && (!ok || before.stamp != f.fresh) {
		l.fresh[f.path] = reading{f.fresh, l.system.Elapsed()}
	} else if ok && f.fresh != 0 {
		l.fresh[f.path] = before
	}
	unsettled := f.stamp == 0 && !f.modified.IsZero() && (f.refusal == nil || f.refusal.Reason != certsource.Unreadable)
	if unsettled || shrinks || replaces[n.Failing] {
		l.report.Unsettled = append(l.report.Unsettled, f.path)
	}
	if unsettled && f.refusal != nil {
		l.torn = append(l.torn, f.path)
	}
	c.New = n
	delete(l.replaced, c.Old.ID)
	if loses {
		l.replace(c)
		return
	}
	if !shrinks && !replaces[n.Failing] {
		delete(l.missing, n.ID)
	}
	if !known || !bytes.Equal(record, n.append(nil)) {
		l.put(c, l.changed)
	}
}

// replaces has the reasons for which a file does not keep what it held before,
// once they have stayed: it is whole, and holds something else, or it is no file
// any more. All others can be those of a file that is being written.
var replaces = map[certsource.Reason]bool{
	certsource.Authority: true, certsource.NoAddress: true, certsource.Purpose: true, certsource.Untrusted: true, certsource.Expired: true, certsource.Revoked: true,
	certsource.Outside: true, certsource.NotRegular: true,
}

// keeps reports whether a file keeps what it published, though what it holds now
// may not be published: a link that is made anew leads nowhere for a moment, and
// a file that is added to ends as something else.
func (l *look) keeps(c Change, n File) bool {
	return !replaces[n.Reason] || !l.missedFor(c.Old.ID, patience)
}

// findGone finds the files that are not there any more.
func (l *look) findGone() {
	l.gone = nil
	if l.all && l.seen.count == l.before.Len() {
		return
	}
	// Single files need no pass over all.
	var maybe []string
	dirs := false
	for p := range l.walked {
		record, known := l.before.table.Get([]byte(p))
		if known && !l.seen.has(recordID(record)) {
			maybe = append(maybe, p)
		}
		dirs = dirs || !known || l.folders[p] || !certsource.IsCertificateName(path.Base(p))
	}
	if dirs {
		for key, record := range l.before.table.All() {
			if !l.seen.has(recordID(record)) && (l.all || l.within(key)) {
				maybe = append(maybe, string(key))
			}
		}
	}
	slices.Sort(maybe)
	l.ways = map[string]way{}
	for _, p := range slices.Compact(maybe) {
		l.maybeGone(p)
	}
}

// within reports whether a path is below a directory that was walked.
func (l *look) within(p []byte) bool {
	if l.walked["."] {
		return true
	}
	for i, c := range p {
		if c == '/' && l.walked[string(p[:i])] {
			return true
		}
	}
	return false
}

// isUnread reports whether a path is below a directory that could not be read.
func (l *look) isUnread(p string) bool {
	for dir := p; len(l.unread) > 0 && dir != "."; {
		if dir = above(dir); l.unread[dir] {
			return true
		}
	}
	return false
}

// maybeGone is for a file that was not found: where its directory could not be
// read it stays, and says so, and where a listing has missed it, because the
// file was replaced just then, it is looked at.
func (l *look) maybeGone(p string) {
	record, _ := l.before.table.Get([]byte(p))
	if l.isUnread(p) {
		l.take(batch{findings: []finding{{path: p, known: record, refusal: certsource.Refuse(certsource.Unreadable, "its directory cannot be read")}}})
		return
	}
	depth, err := l.reach(above(p))
	var info fs.FileInfo
	if err == nil {
		info, err = l.root.Lstat(p)
	}
	var b batch
	switch {
	case err != nil && !leadsNowhere(err):
		b.findings = append(b.findings, l.unreadable(p, err))
	case err != nil || info.IsDir():
	case info.Mode()&os.ModeSymlink != 0:
		l.lookAtLink(&b, p, depth, func(job) bool { return false })
	case certsource.IsCertificateName(path.Base(p)):
		l.lookAtFile(&b, l.root, p, []byte(p), info)
	}
	if len(b.seen)+len(b.findings) == 0 {
		l.gone = append(l.gone, p)
	}
	l.take(b)
}
