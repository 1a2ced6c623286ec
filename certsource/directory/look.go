package directory

import (
	"bytes"
	"context"
	"coredns-smimea/certsource"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"
	"time"
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
	seen   bitmap            // files known before that are there
	found  int               // files that were looked into
	walked map[string]bool   // directories that were walked, or may have been one and are gone
	listed map[string]uint64 // directories that were listed: see listing
	below  []job             // see batch
	unread map[string]bool   // directories that could not be read
	// What takes away a certificate comes last: files that are gone, and those
	// that hold something else now, by their numbers.
	gone     []string
	replaced map[uint32]Change
	others   map[string]other // files that are not of certificates
	// everywhere is true if a look at some paths has become one at all.
	everywhere bool
}

func newLook(d *Directory, r *reader, changed func(Change)) *look {
	return &look{
		Directory: d, reader: r, changed: changed, before: r.files, report: Report{Held: d.held},
		walked: map[string]bool{}, listed: map[string]uint64{}, unread: map[string]bool{}, replaced: map[uint32]Change{}, others: map[string]other{},
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
	for _, p := range paths {
		if err := l.at(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// at looks at one path.
func (l *look) at(ctx context.Context, p string) error {
	info, err := l.root.Lstat(p)
	switch {
	case err == nil && info.IsDir():
		return l.walk(ctx, p)
	case err == nil && info.Mode()&os.ModeSymlink != 0:
		var b batch
		var dirs []job
		l.lookAtLink(&b, p, 0, func(j job) bool { dirs = append(dirs, j); return true })
		l.take(b)
		for _, j := range dirs {
			return l.walkFrom(ctx, j)
		}
		l.walked[p] = true // it may have led to a directory
	case err == nil && certsource.IsCertificateName(path.Base(p)):
		var b batch
		l.lookAtFile(&b, l.root, p, []byte(p), info)
		l.take(b)
		if len(b.seen)+len(b.findings) == 0 {
			l.walked[p] = true // it has vanished in this moment
		}
	case err == nil:
		var b batch
		l.lookAtOther(&b, l.root, p, p, info)
		l.take(b)
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		l.walked[p] = true
	case certsource.IsCertificateName(path.Base(p)):
		l.take(batch{findings: []finding{l.unreadable(p, err)}})
	default:
		l.take(batch{unread: []unread{{p, err}}}) // maybe a directory
	}
	return nil
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
	}
	for _, d := range b.listed {
		l.listed[d.dir] = d.stamp
		delete(l.unread, d.dir)
	}
	for _, u := range b.unread {
		if !leadsNowhere(u.err) {
			l.unread[u.dir] = true
			if !l.Directory.unread[u.dir] {
				l.trouble = l.now
			}
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
	c := Change{Path: f.path, Certificate: f.cert, Refusal: f.refusal}
	record, known := l.record(f.path)
	if known {
		c.Old = decodeFile(record)
	}
	n := File{ID: c.Old.ID, Modified: f.modified, stamp: f.stamp}
	switch {
	case f.refusal != nil:
		n.Reason = f.refusal.Reason
		if f.cert != nil && n.Reason == certsource.Expired {
			n.NotAfter, n.Digest = f.cert.NotAfter, f.digest
		}
	default:
		n.NotAfter, n.Digest = f.cert.NotAfter, f.digest
		n.Encrypts, n.Addresses = f.cert.Encrypts, f.cert.Addresses
		if !n.NotAfter.Add(-l.options.Margin).After(l.now) {
			n.Reason, n.Addresses = certsource.Expired, nil
			c.Refusal = certsource.Refuse(certsource.Expired, "or does within the TTL")
		}
	}
	if n.Reason == certsource.Unreadable && c.Old.why() != certsource.Unreadable {
		l.trouble = l.now
	}
	if c.Old.Published() && !n.Published() && l.keeps(c, n) {
		kept := c.Old
		kept.Failing, kept.stamp = n.Reason, n.stamp
		if replaces[n.Reason] {
			kept.stamp = 0 // to be read again
		}
		n = kept
	}
	if !replaces[n.why()] {
		delete(l.doubted, f.path)
	}
	if n.Reason == certsource.Expired {
		l.dated(n.NotAfter.Add(-l.options.Margin))
	}
	unsettled := f.stamp == 0 && !f.modified.IsZero() && (f.refusal == nil || f.refusal.Reason != certsource.Unreadable)
	if unsettled || replaces[n.Failing] {
		l.report.Unsettled = append(l.report.Unsettled, f.path)
	}
	c.New = n
	delete(l.replaced, c.Old.ID)
	switch {
	case c.Old.Published() && (!n.Published() || n.Digest != c.Old.Digest):
		l.replace(c)
	case !known || !bytes.Equal(record, n.append(nil)):
		l.put(c, l.changed)
	}
}

// replaces has the reasons for which a file does not keep what it held before,
// once they have stayed: it is whole, and holds something else, or it is no file
// any more. All others can be those of a file that is being written.
var replaces = map[certsource.Reason]bool{
	certsource.Authority: true, certsource.NoAddress: true, certsource.Purpose: true, certsource.Untrusted: true, certsource.Expired: true, certsource.SeveralCertificates: true,
	certsource.Outside: true, certsource.NotRegular: true,
}

// doubt is how long a file keeps what it held before, whatever it holds now: a
// link that is made anew leads nowhere for a moment, and a file that is added to
// ends as something else.
const doubt = 2 * time.Second

// keeps reports whether a file keeps what it published, though what it holds now
// may not be published.
func (l *look) keeps(c Change, n File) bool {
	if !replaces[n.Reason] {
		return true // nothing can be read from it now
	}
	if n.Reason == certsource.Expired && n.Digest == c.Old.Digest {
		return false // it holds what it held
	}
	return l.doubts(c.Path)
}

// findGone finds the files that are not there any more.
func (l *look) findGone() {
	l.gone = nil
	if l.all && l.seen.count == l.before.Len() {
		return
	}
	// Single files need no pass over all.
	dirs := false
	for p := range l.walked {
		if record, ok := l.before.table.Get([]byte(p)); ok {
			l.maybeGone(p, record)
		} else {
			dirs = true
		}
	}
	if dirs {
		for key, record := range l.before.table.All() {
			if !l.seen.has(recordID(record)) && (l.all || l.within(key)) {
				l.maybeGone(string(key), record)
			}
		}
	}
	slices.Sort(l.gone)
	l.gone = slices.Compact(l.gone)
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
		if dir = path.Dir(dir); l.unread[dir] {
			return true
		}
	}
	return false
}

// maybeGone is for a file that was not found: where its directory could not be
// read it stays, and says so, and where a listing has missed it, because the
// file was replaced just then, it is looked at.
func (l *look) maybeGone(p string, record []byte) {
	if l.seen.has(recordID(record)) {
		return
	}
	if l.isUnread(p) {
		l.seen.set(recordID(record))
		l.takeFinding(finding{path: p, known: record, refusal: certsource.Refuse(certsource.Unreadable, "its directory cannot be read")})
		return
	}
	if info, err := l.root.Lstat(p); err == nil && !info.IsDir() && !l.aliased(p) && certsource.IsCertificateName(path.Base(p)) {
		var b batch
		if info.Mode()&os.ModeSymlink != 0 {
			l.lookAtLink(&b, p, 0, func(job) bool { return false })
		} else {
			l.lookAtFile(&b, l.root, p, []byte(p), info)
		}
		if len(b.seen)+len(b.findings) > 0 {
			l.take(b)
			return
		}
	}
	l.gone = append(l.gone, p)
}

// aliased reports whether a directory on the way to a path is a link to one
// that is read under its own name.
func (l *look) aliased(p string) bool {
	for i := range len(p) {
		if p[i] == '/' {
			dir := p[:i]
			if info, err := l.root.Lstat(dir); err == nil && info.Mode()&os.ModeSymlink != 0 && l.alias(dir) {
				return true
			}
		}
	}
	return false
}
