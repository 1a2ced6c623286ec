package directory

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"path"
	"runtime"
	"slices"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/certsource/revocation"
	"coredns-smimea/internal/disk"
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
	held   int // withdrawals that the guard holds back

	missing map[uint32]time.Duration // files that were found without what they publish, and since when: see takeAway
	fresh   map[string]reading       // files that had changed just before they were read
	unread  map[string]bool          // directories that could not be read
	folders map[string]bool          // directories that have the name of a certificate file
	heard   []string                 // what a check has heard of, and not come to
	others  map[string]other         // files that are not of certificates
	remarks remarks

	device      uint64 // the file system that the directory was on
	published   int
	revocations int
	cleared     map[revocation.ID]bool // certificates that a list names, but of another issuer of the name; never written to
	failing     map[certsource.Reason]int
}

// Options say where a Directory is and how it is read.
type Options struct {
	Dir string
	// Roots, if not nil, are the authorities that a certificate must chain to.
	Roots *certsource.Roots
	// Revoked says which certificates are revoked. [Directory.Revoke] changes it.
	Revoked *revocation.Set
	// Margin is how long before its end a certificate is withdrawn.
	Margin time.Duration
	// MaxWithdraw is the share of certificates, in percent, above which their
	// withdrawal is held back. 100 lets everything pass.
	MaxWithdraw int
	// Window is the time within which withdrawals count as one, and that lies
	// at least between two looks that count as two.
	Window time.Duration
	// AllRemarks has each remark be made, however many are alike.
	AllRemarks bool
	// Paths keeps paths by the numbers of files, for Files.Path.
	Paths bool
	// Enter, if not nil, is told of each directory before it is listed, by
	// several goroutines at once.
	Enter func(dir string)
	// Heard returns the paths that notifications have told of since it was
	// called last, or true if they tell not of all changes. nil: they do not.
	Heard func() (paths []string, everywhere bool)
	// System is where files and time come from, nil for this machine.
	System disk.System
	// Workers is how many files are read at once, 0 for one a processor.
	Workers int
}

// A Change is a file of which something else is known than before.
type Change struct {
	Path     string
	Old, New File // the zero File where there is none
	// Certificates are those of New, if they were read just now; nil otherwise, for
	// what is known already.
	Certificates []certsource.Certificate
	// Unused is what else there is in a file that was read just now.
	Unused []certsource.Unused
	// Refusal is the reason for New's Reason or Failing.
	Refusal *certsource.Refusal
	// Removed is when the file was removed, as far as its directory tells.
	Removed time.Time
}

// A Report sums up a look.
type Report struct {
	// Read is the number of files that were opened.
	Read int
	// Rested is how long the look waited for what was changing to come to rest.
	Rested time.Duration
	// Held is the number of withdrawals that the guard holds back.
	Held int
	// Unsettled are paths that are to be checked again soon: files that were
	// modified just now, or that keep what they held for a moment; or "." .
	Unsettled []string
	// Newest is the last modification of any of the files and directories
	// that were looked at, or the last time when one of the certificates was
	// to be withdrawn for its end; none of them later than now.
	Newest time.Time
}

// New returns a Directory that nothing is known of yet.
func New(o Options) *Directory {
	if o.System == nil {
		o.System = disk.OS
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	return &Directory{
		options: o, remarks: remarks{all: o.AllRemarks}, failing: map[certsource.Reason]int{}, expiry: newExpiry(),
		missing: map[uint32]time.Duration{}, fresh: map[string]reading{}, folders: map[string]bool{}, others: map[string]other{}, unread: map[string]bool{},
	}
}

// Published returns the number of certificates that can be published.
func (d *Directory) Published() int { return d.published }

// Failing returns the number of files by the reason for which they are left
// out, or have not been read again.
func (d *Directory) Failing() map[certsource.Reason]int { return d.failing }

// Files returns what is known now.
func (d *Directory) Files() Files {
	if d.edit != nil {
		d.files = Files{d.edit.Table(), d.paths.Table()}
		d.edit, d.paths = nil, nil
	}
	return d.files
}

func (d *Directory) open(now time.Time) (*reader, error) {
	o := d.options
	root, err := o.System.Open(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("reading the directory %q: %s", o.Dir, cause(err))
	}
	return &reader{
		root: root, system: o.System, now: now, began: o.System.Now(), start: o.System.Elapsed(),
		roots: o.Roots, revoked: o.Revoked, cleared: d.cleared, margin: o.Margin, enter: o.Enter, workers: o.Workers, files: d.Files(), fresh: d.fresh, others: d.others,
	}, nil
}

// Look looks at every file below the directory, reads those that are new or
// have changed, and passes on every change. An error means that the directory
// itself could not be read: then nothing is withdrawn.
func (d *Directory) Look(ctx context.Context, now time.Time, changed func(Change)) (Report, error) {
	return d.Check(ctx, []string{"."}, now, changed)
}

// Check looks at some paths below the directory only: files, and directories
// with all that is below them. It is for those who are told what has changed.
// It looks at everything where nothing is known yet, or the directory is not on
// the file system any more that it was on.
func (d *Directory) Check(ctx context.Context, paths []string, now time.Time, changed func(Change)) (Report, error) {
	r, err := d.open(now)
	if err != nil {
		return Report{Held: d.held}, err
	}
	defer r.close()
	info, err := r.root.Stat(".")
	if err != nil {
		return Report{Held: d.held}, fmt.Errorf("reading the directory %q: %s", d.options.Dir, cause(err))
	}
	device := disk.Device(info)
	l := newLook(d, r, changed)
	l.unmounted = d.device != 0 && d.device != device
	l.heard, d.heard = d.heard, nil
	paths = slices.Concat(paths, l.heard)
	if d.device != device || slices.Contains(paths, ".") {
		err = l.everything(ctx)
	} else {
		err = l.some(ctx, paths)
	}
	if len(l.cleared) > 0 {
		cleared := maps.Clone(l.cleared)
		maps.Copy(cleared, d.cleared)
		d.cleared = cleared
	}
	if err == nil {
		d.remarkFolders(l)
	}
	switch {
	case err != nil:
		d.heard = l.heard
		if l.all {
			d.unread["."] = true
		}
	case l.all:
		d.others, d.unread, d.fresh = l.others, l.unread, l.fresh
		if !l.unmounted || l.report.Held == 0 {
			d.device = device
		} // else what is there now may be a file in an empty mount point
	default:
		maps.Copy(d.fresh, l.fresh)
		for dir := range l.listed {
			if dir != "." { // that takes all that is below it
				delete(d.unread, dir)
			}
		}
		maps.Copy(d.unread, l.unread)
		if len(l.others) > 0 {
			others := maps.Clone(d.others)
			maps.Copy(others, l.others)
			d.others = others
		}
	}
	return l.report, err
}

// remarkFolders says which directories a look could not read that were read before, and
// which it could that were not. It comes before what is known of them is renewed.
func (d *Directory) remarkFolders(l *look) {
	for _, dir := range slices.Sorted(maps.Keys(l.unread)) {
		if dir != "." && !d.unread[dir] {
			d.remarks.add(Remark{Kind: Locked, Path: dir, Refusal: certsource.Refuse(certsource.Unreadable, l.causes[dir])})
		}
	}
	var again []string
	for dir := range l.listed {
		if dir != "." && d.unread[dir] && !l.unread[dir] {
			again = append(again, dir)
		}
	}
	slices.Sort(again)
	for _, dir := range again {
		d.remarks.add(Remark{Kind: Restored, Path: dir})
	}
}

// record returns what is known of a path, the changes in progress included.
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
	d.count(&c.Old, -1)
	if !c.New.Same(&c.Old) {
		delete(d.missing, c.Old.ID)
	}
	if !c.Removed.IsZero() {
		d.edit.Delete([]byte(c.Path))
		d.forget(c.Old.ID)
		for _, gone := range c.Old.More {
			d.forget(gone.ID)
		}
	} else {
		d.number(&c)
		d.edit.Set([]byte(c.Path), c.New.append(nil))
		d.count(&c.New, +1)
		for _, cert := range c.New.Live() {
			d.expiry.watch(cert.NotAfter.Add(-d.options.Margin), c.Path)
		}
	}
	d.inFolder(c.Path)
	d.remark(c)
	changed(c)
}

// inFolder notes the directories on the way to a file that have the name of a
// certificate file: where there is one by then, what they held is gone.
func (d *Directory) inFolder(p string) {
	for dir := above(p); dir != "."; dir = above(dir) {
		if certsource.IsCertificateName(path.Base(dir)) {
			d.folders[dir] = true
		}
	}
}

// number gives the certificates of a file the numbers of those that were at their
// places before, and new ones.
func (d *Directory) number(c *Change) {
	if c.New.ID == 0 {
		c.New.ID = d.take(c.Path)
	}
	for i := range c.New.More {
		if i < len(c.Old.More) {
			c.New.More[i].ID = c.Old.More[i].ID
		} else {
			c.New.More[i].ID = d.take(c.Path)
		}
	}
	for i := len(c.New.More); i < len(c.Old.More); i++ {
		d.forget(c.Old.More[i].ID)
	}
}

// take takes a number for a certificate of the file at a path.
func (d *Directory) take(path string) uint32 {
	id := d.ids.take()
	if d.options.Paths {
		d.paths.Set(binary.LittleEndian.AppendUint32(nil, id), []byte(path))
	}
	return id
}

// forget gives a number back.
func (d *Directory) forget(id uint32) {
	d.paths.Delete(binary.LittleEndian.AppendUint32(nil, id))
	d.ids.give(id)
}

// count counts a file in or out.
func (d *Directory) count(f *File, n int) {
	if f.ID == 0 {
		return
	}
	for _, c := range f.Certificates() {
		if c.Revoked {
			d.revocations += n
		}
	}
	for _, c := range f.Live() {
		d.published += n
		d.expiry.count(c.NotAfter.Add(-d.options.Margin), n)
	}
	if why := f.why(); why != "" {
		if d.failing[why] += n; d.failing[why] == 0 {
			delete(d.failing, why)
		}
	}
}
