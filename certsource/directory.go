package certsource

import (
	"context"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"coredns-smimea/internal/table"
)

// A Directory is a directory of certificate files, and what is known of them.
// It reads a file when it is new or has changed, and never again.
//
// It is for one goroutine; what [Directory.Files] returns is for all.
type Directory struct {
	options Options

	files  Files       // as of the last commit
	edit   *table.Edit // the next version, nil if nothing has changed
	paths  *table.Edit // with it, if Options.Paths is set
	ids    ids
	expiry expiry
	guard  guard

	device    uint64 // the file system that the directory was on
	published int
	failing   map[Reason]int
}

// Options say where a Directory is and how it is read.
type Options struct {
	Dir string
	// Roots, if not nil, are the authorities that a certificate must chain to.
	Roots *x509.CertPool
	// Margin is how long before its end a certificate is withdrawn.
	Margin time.Duration
	// MaxWithdraw is the share of certificates, in percent, above which their
	// withdrawal is held back. 100 lets everything pass.
	MaxWithdraw int
	// Window is the time within which withdrawals count as one.
	Window time.Duration
	// Paths keeps paths by the numbers of files, for Files.Path.
	Paths bool
	// Enter, if not nil, is told of each directory before it is listed, by
	// several goroutines at once.
	Enter func(dir string)
}

// A Change is a file of which something else is known than before.
type Change struct {
	Path     string
	Old, New File // the zero File where there is none
	// Certificate is what was read just now, published or not.
	Certificate *Certificate
	// Refusal is the reason for New's Reason or Failing.
	Refusal *Refusal
	// Removed is when the file was removed, as far as its directory tells.
	Removed time.Time
}

// A Report sums up a look.
type Report struct {
	Held      int       // withdrawals that the guard holds back
	Unsettled []string  // files that were modified just now: check them again soon
	Removed   time.Time // the last removal, as far as the directories tell
}

// New returns a Directory that nothing is known of yet.
func New(o Options) *Directory {
	return &Directory{options: o, failing: map[Reason]int{}, expiry: newExpiry()}
}

// Published returns the number of certificates that can be published.
func (d *Directory) Published() int { return d.published }

// Failing returns the number of files by the reason for which they are left
// out, or have not been read again.
func (d *Directory) Failing() map[Reason]int { return d.failing }

// Files returns what is known now.
func (d *Directory) Files() Files {
	if d.edit != nil {
		d.files = Files{d.edit.Table(), d.paths.Table()}
		d.edit, d.paths = nil, nil
	}
	return d.files
}

func (d *Directory) open(now time.Time) (*reader, error) {
	r, err := openReader(d.options.Dir)
	if err != nil {
		return nil, fmt.Errorf("reading the directory %q: %s", d.options.Dir, cause(err))
	}
	r.now, r.files = now, d.Files()
	r.roots, r.margin, r.enter = d.options.Roots, d.options.Margin, d.options.Enter
	return r, nil
}

// Look looks at every file below the directory, reads those that are new or
// have changed, and passes on every change. An error means that the directory
// itself could not be read: then nothing has changed.
func (d *Directory) Look(ctx context.Context, now time.Time, changed func(Change)) (Report, error) {
	r, err := d.open(now)
	if err != nil {
		return Report{}, err
	}
	defer r.close()
	info, err := r.root.Stat(".")
	if err != nil {
		return Report{}, fmt.Errorf("reading the directory %q: %w", d.options.Dir, err)
	}
	moved := d.device != 0 && d.device != device(info)
	l := look{Directory: d, reader: r, changed: changed, unmounted: moved}
	report, err := l.below(ctx, ".")
	if err == nil {
		d.device = device(info)
	}
	return report, err
}

// Check looks at some paths below the directory only: files, and directories
// with all that is below them. It is for those who are told what has changed.
func (d *Directory) Check(ctx context.Context, paths []string, now time.Time, changed func(Change)) (Report, error) {
	r, err := d.open(now)
	if err != nil {
		return Report{}, err
	}
	defer r.close()
	var report Report
	var gone []Change
	for _, p := range paths {
		l := look{Directory: d, reader: r, changed: changed}
		more, err := l.at(ctx, p)
		if err != nil {
			return report, err
		}
		gone = append(gone, l.withdrawals...)
		report.Unsettled = append(report.Unsettled, more.Unsettled...)
	}
	report.Held = d.withdraw(gone, r, false, changed)
	return report, nil
}

// A look is one pass over a directory or a part of it.
type look struct {
	*Directory
	*reader
	changed     func(Change)
	unmounted   bool // the directory is on another file system than before
	withdrawals []Change
	unreadable  []string // directories
	report      Report
}

// at looks at one path.
func (l *look) at(ctx context.Context, p string) (Report, error) {
	info, err := l.root.Lstat(p)
	switch {
	case err == nil && info.IsDir():
		return l.walkBelow(ctx, p)
	case err == nil && info.Mode()&os.ModeSymlink != 0:
		var b batch
		var dirs []string
		l.lookAtLink(&b, p, 0, func(j job) bool { dirs = append(dirs, j.dir); return true })
		l.take(b)
		for _, dir := range dirs {
			if _, err := l.walkBelow(ctx, dir); err != nil {
				return l.report, err
			}
		}
	case err == nil && IsCertificateName(path.Base(p)):
		var b batch
		l.lookAtFile(&b, l.root, filepath.FromSlash(p), []byte(p), info)
		l.take(b)
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		l.gone(p)
	}
	return l.report, nil
}

// gone withdraws the file that was at a path, or all that were below it.
func (l *look) gone(p string) {
	if record, ok := l.reader.files.table.Get([]byte(p)); ok {
		l.withdrawals = append(l.withdrawals, Change{Path: p, Old: decodeFile(record)})
		return
	}
	if IsCertificateName(path.Base(p)) {
		return
	}
	// A directory: who was below it only a pass over all files tells.
	prefix := p + "/"
	for key, record := range l.reader.files.table.All() {
		if strings.HasPrefix(string(key), prefix) {
			l.withdrawals = append(l.withdrawals, Change{Path: string(key), Old: decodeFile(record)})
		}
	}
}

// walkBelow looks at all that is below a directory.
func (l *look) walkBelow(ctx context.Context, dir string) (Report, error) {
	_, err := l.walkAll(ctx, dir)
	return l.report, err
}

// walkAll takes in what a walk finds, and returns the files that it has seen.
func (l *look) walkAll(ctx context.Context, dir string) (seen bitmap, err error) {
	out := make(chan batch, 8)
	go l.walk(ctx, dir, out)
	dirs := map[string]time.Time{} // when each was modified
	last := map[string]time.Time{} // when the last of its files was changed
	for b := range out {
		for _, id := range b.seen {
			seen.set(id)
		}
		for _, f := range b.findings {
			if f.known != nil {
				seen.set(recordID(f.known))
			}
		}
		switch {
		case b.dir != "" && b.err != nil:
			if b.dir == dir && dir == "." {
				err = fmt.Errorf("reading the directory %q: %w", l.options.Dir, b.err)
			}
			if !os.IsNotExist(b.err) {
				l.unreadable = append(l.unreadable, b.dir)
			}
		case b.dir != "":
			dirs[b.dir] = b.info.ModTime()
		default:
			if b.lastSeen.After(last[b.in]) {
				last[b.in] = b.lastSeen
			}
		}
		l.take(b)
	}
	if err == nil {
		err = ctx.Err()
	}
	l.takeDirs(dirs, last)
	return seen, err
}

// takeDirs notes when the last file was removed, as far as that can be told: a
// directory that was modified after all of its files were changed has lost one.
func (l *look) takeDirs(modified, last map[string]time.Time) {
	for dir, m := range modified {
		if changed, ok := last[dir]; ok && m.Sub(changed) > time.Second && m.After(l.report.Removed) {
			l.report.Removed = m
		}
	}
}

// below looks at everything, and finds what is gone as well.
func (l *look) below(ctx context.Context, dir string) (Report, error) {
	before := l.reader.files
	seen, err := l.walkAll(ctx, dir)
	if err != nil {
		return l.report, err
	}
	if seen.count < before.Len() {
		for key, record := range before.table.All() {
			if seen.has(recordID(record)) {
				continue
			}
			if p := string(key); !l.hidden(p) {
				l.withdrawals = append(l.withdrawals, Change{Path: p, Old: decodeFile(record)})
			}
		}
	}
	if l.unmounted && seen.count == 0 && before.Len() > 0 {
		return l.report, fmt.Errorf("the directory %q is on another file system than before, and empty: is it mounted? What was published stays", l.options.Dir)
	}
	l.report.Held = l.withdraw(l.withdrawals, l.reader, true, l.changed)
	return l.report, nil
}

// hidden reports whether a path lies in a directory that cannot be read just
// now: what is known of it stays, and says so.
func (l *look) hidden(p string) bool {
	for _, dir := range l.unreadable {
		if dir == "." || strings.HasPrefix(p, dir+"/") {
			l.takeFinding(l.reader.unreadable(p, errors.New("its directory cannot be read")))
			return true
		}
	}
	return false
}

func (l *look) take(b batch) {
	for _, f := range b.findings {
		l.takeFinding(f)
	}
}

// takeFinding makes a file of what was found, and passes the change on.
func (l *look) takeFinding(f finding) {
	c := Change{Path: f.path, Certificate: f.cert, Refusal: f.refusal}
	if record, ok := l.record(f.path); ok {
		c.Old = decodeFile(record)
	}
	if f.stamp == 0 && (f.refusal == nil || f.refusal.Reason != Unreadable) {
		l.report.Unsettled = append(l.report.Unsettled, f.path)
	}
	n := File{ID: c.Old.ID, Modified: f.modified, stamp: f.stamp}
	switch {
	case f.refusal != nil && f.cert == nil && c.Old.Published() && !policy[f.refusal.Reason]:
		// Nothing can be read from it now: what was read before stays.
		n = c.Old
		n.stamp, n.Failing = f.stamp, f.refusal.Reason
	case f.refusal != nil:
		n.Reason = f.refusal.Reason
		if f.cert != nil && n.Reason == Expired {
			n.NotAfter, n.Digest = f.cert.NotAfter, f.digest
		}
	default:
		n.NotAfter, n.Digest = f.cert.NotAfter, f.digest
		n.Encrypts, n.Addresses = f.cert.Encrypts, f.cert.Addresses
		if !n.NotAfter.Add(-l.options.Margin).After(l.now) {
			n.Reason, n.Addresses = Expired, nil
			c.Refusal = refuse(Expired, "or does within the TTL")
		}
	}
	c.New = n
	if c.Old.Published() && !n.Published() {
		l.withdrawals = append(l.withdrawals, c)
		return
	}
	l.put(c, l.changed)
}

// policy has the reasons that are about a certificate that could be read: it
// replaces what the file held before, though it is not published.
var policy = map[Reason]bool{Authority: true, NoAddress: true, Purpose: true, Untrusted: true, Expired: true, SeveralCertificates: true}

// record returns what is known of a path, this look's changes included.
func (d *Directory) record(path string) ([]byte, bool) {
	if d.edit != nil {
		return d.edit.Get([]byte(path))
	}
	return d.files.table.Get([]byte(path))
}

// put makes a change known.
func (d *Directory) put(c Change, changed func(Change)) {
	if d.edit == nil {
		d.edit, d.paths = d.files.table.Edit(), d.files.paths.Edit()
	}
	d.count(c.Old, -1)
	if c.New.ID == 0 && c.Removed.IsZero() {
		c.New.ID = d.ids.take()
	}
	if !c.Removed.IsZero() {
		d.edit.Delete([]byte(c.Path))
		d.paths.Delete(binary.LittleEndian.AppendUint32(nil, c.Old.ID))
		d.ids.give(c.Old.ID)
	} else {
		d.edit.Set([]byte(c.Path), c.New.append(nil))
		if d.options.Paths && c.Old.ID == 0 {
			d.paths.Set(binary.LittleEndian.AppendUint32(nil, c.New.ID), []byte(c.Path))
		}
		d.count(c.New, +1)
		if c.New.Published() {
			d.expiry.watch(c.New.NotAfter.Add(-d.options.Margin), c.Path)
		}
	}
	changed(c)
}

func (d *Directory) count(f File, n int) {
	if f.ID == 0 && n < 0 {
		return
	}
	if f.Published() {
		d.published += n
		d.expiry.count(f.NotAfter.Add(-d.options.Margin), n)
	}
	if why := f.why(); why != "" {
		if d.failing[why] += n; d.failing[why] == 0 {
			delete(d.failing, why)
		}
	}
}

// withdraw makes withdrawals known, unless the guard holds them back. It
// returns how many it does.
func (d *Directory) withdraw(changes []Change, r *reader, all bool, changed func(Change)) (held int) {
	var ask []Change
	for _, c := range changes {
		if c.Old.Published() {
			ask = append(ask, c)
		}
	}
	if !d.guard.allows(ask, d, r, all) {
		return len(ask)
	}
	for _, c := range changes {
		if c.New.ID == 0 {
			c.Removed = r.removed(c.Path)
		}
		d.put(c, changed)
	}
	return 0
}
