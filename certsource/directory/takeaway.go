package directory

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/internal/disk"
)

// A look is not one moment: what was moved while it went on may have been in none
// of the places at the time that each was looked at, though it was never gone.
//
// So a certificate that a look does not find is gone at once only if the look has
// seen all as it was at one moment: everything could be read, and nothing has
// changed from when the look began until 100 ms after it. Otherwise, unless it is
// published at another path, it stays until a look at everything that began five
// seconds after it was first missed does not find it either. Where many are missing,
// somebody may be in the middle of moving them, as git(1) is, which removes all files
// before it writes the first one: then it is 5 s in place of at once, and 30 s in
// place of 5.
//
// What a file can hold for a moment only, and a link that leads nowhere, take
// nothing away before those five seconds are over, whatever the look has seen.

const (
	// calm is how long nothing may have changed before what is not there is gone.
	calm = 100 * time.Millisecond
	// patience is how long a certificate is missed before it is gone in spite of
	// changes around it.
	patience     = 5 * time.Second
	patienceMany = 30 * time.Second
	// handful is how many certificates can be missing at once and are not many.
	handful = guardedFrom
	// maxRounds is how often one look looks again at what has changed.
	maxRounds = 4
	// maxReplaced is how many certificates are kept in memory until they are made
	// known. Those of more are read a second time.
	maxReplaced = 4096
)

// missedFor notes that a file was found without what it publishes, and reports
// whether that was so before, long enough ago.
func (l *look) missedFor(id uint32, long time.Duration) bool {
	since, ok := l.missing[id]
	if !ok {
		since = l.system.Elapsed()
		l.missing[id] = since
	}
	return l.start-since >= long
}

// lost returns the certificates that a change takes away.
func (c *Change) lost() (digests [][32]byte) {
	for _, cert := range c.Old.Live() {
		if !c.New.has(cert.Digest) {
			digests = append(digests, cert.Digest)
		}
	}
	return digests
}

// replace keeps a change that takes away a certificate, for the end of the look.
func (l *look) replace(c Change) {
	if len(l.replaced) >= maxReplaced {
		c.Certificates = nil
	}
	l.replaced[c.Old.ID] = c
}

// takesAway reports whether the look has found something to take away.
func (l *look) takesAway() bool {
	l.findGone()
	return len(l.gone) > 0 || len(l.replaced) > 0
}

// takeAway ends a look: it makes known what is gone.
func (l *look) takeAway(ctx context.Context) error {
	still, err := l.rest(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil || l.takesAway() {
		same, trouble := l.sameDirectory()
		if trouble == nil && !same {
			l.report.Unsettled = append(l.report.Unsettled, ".")
			return nil
		}
		if err = cmp.Or(err, trouble); err != nil {
			return err
		}
	}
	l.spareDangling()
	l.spareLost(still && l.complete())
	l.withdraw()
	return nil
}

// rest looks again until nothing has changed for a moment, and reports whether
// that came to be.
func (l *look) rest(ctx context.Context) (bool, error) {
	for range maxRounds {
		if !l.takesAway() {
			return true, nil
		}
		began := l.system.Elapsed()
		l.system.Sleep(ctx, calm)
		l.report.Rested += l.system.Elapsed() - began
		again, err := l.again(ctx)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || !again {
			return !again, err
		}
	}
	return !l.takesAway(), nil
}

// again looks at what has changed since the look began, and reports whether there
// was anything. A look at some paths has the notifications to know that from.
// Where they do not tell, it becomes a look at everything.
func (l *look) again(ctx context.Context) (bool, error) {
	var heard []string
	if !l.all {
		everywhere := true
		if l.options.Heard != nil {
			heard, everywhere = l.options.Heard()
		}
		if everywhere {
			l.all = true
			l.heard = []string{"."}
			return true, l.walk(ctx, ".")
		}
		l.heard = slices.Concat(l.heard, heard)
	}
	torn := l.torn
	l.torn = nil
	if err := l.these(ctx, torn); err != nil {
		return true, err
	}
	changed := l.changedDirs()
	if len(changed) == 0 && len(heard) == 0 {
		return false, nil
	}
	for _, dir := range changed {
		depth, err := l.reach(dir)
		if err != nil {
			continue // who looks at what is above it finds that out
		}
		if err := l.walkFrom(ctx, job{dir: dir, depth: depth, alone: true}); err != nil {
			return true, err
		}
	}
	below := l.below
	l.below = nil
	for _, j := range below {
		if _, known := l.listed[j.dir]; !known {
			if err := l.walkFrom(ctx, j); err != nil {
				return true, err
			}
		}
	}
	return true, l.these(ctx, heard)
}

// changedDirs returns the directories that are not as they were when they were
// listed, without those that are gone.
func (l *look) changedDirs() (dirs []string) {
	for _, dir := range slices.Sorted(maps.Keys(l.listed)) {
		was := l.listed[dir]
		info, err := l.root.Stat(dir)
		if err == nil && was.settled && stamp(info) == was.stamp {
			continue
		}
		if err != nil && leadsNowhere(err) {
			delete(l.listed, dir)
			continue
		}
		dirs = append(dirs, dir)
	}
	return dirs
}

// sameDirectory reports whether what was looked at is the directory still. If it
// was replaced meanwhile, it says nothing of what is there now.
func (l *look) sameDirectory() (bool, error) {
	failed := func(err error) (bool, error) {
		return false, fmt.Errorf("reading the directory %q: %s", l.options.Dir, cause(err))
	}
	root, err := l.system.Open(l.options.Dir)
	if err != nil {
		return failed(err)
	}
	defer root.Close()
	now, err := root.Stat(".")
	if err != nil {
		return failed(err)
	}
	was, err := l.root.Stat(".")
	if err != nil {
		return false, nil // it is deleted
	}
	a, _ := disk.Inode(was)
	b, _ := disk.Inode(now)
	return a == b && disk.Device(was) == disk.Device(now), nil
}

// complete reports whether everything could be read, as far as is known: what
// could not may be what is missed.
func (l *look) complete() bool {
	if len(l.unread) > 0 {
		return false
	}
	if !l.all {
		for dir := range l.Directory.unread {
			if _, ok := l.listed[dir]; !ok || dir == "." {
				return false
			}
		}
	}
	unreadable := l.failing[certsource.Unreadable]
	for _, p := range l.gone {
		if record, ok := l.record(p); ok && recordWhy(record) == certsource.Unreadable {
			unreadable--
		}
	}
	for _, c := range l.replaced {
		if c.Old.why() == certsource.Unreadable {
			unreadable--
		}
	}
	return unreadable == 0
}

// spareDangling keeps for a moment what is below a link that leads nowhere, as a
// link does that is being made anew.
func (l *look) spareDangling() {
	links := map[string]string{".": ""} // by directory: the link above it that leads nowhere
	l.gone = slices.DeleteFunc(l.gone, func(p string) bool {
		record, ok := l.record(p)
		if !ok || !recordPublished(record) {
			return false
		}
		link := l.dangling(above(p), links)
		if link == "" || l.missedFor(recordID(record), patience) {
			return false
		}
		l.unsettled(link)
		return true
	})
}

// dangling returns the link on the way to a directory that leads nowhere, if there
// is one, and keeps in links what it has found out.
func (l *look) dangling(dir string, links map[string]string) string {
	link, known := links[dir]
	if known {
		return link
	}
	info, err := l.root.Lstat(dir)
	switch {
	case err != nil:
		link = l.dangling(above(dir), links)
	case info.Mode()&fs.ModeSymlink != 0:
		if _, err := l.root.Stat(dir); err != nil && leadsNowhere(err) {
			link = dir
		}
	}
	links[dir] = link
	return link
}

// unsettled notes a path that is to be looked at again soon.
func (l *look) unsettled(p string) {
	if n := len(l.report.Unsettled); n == 0 || l.report.Unsettled[n-1] != p {
		l.report.Unsettled = append(l.report.Unsettled, p)
	}
}

// spareLost keeps the certificates that would be published nowhere any more, as
// long as they have not been missed for long. certain is true if all was seen as it
// was at one moment.
func (l *look) spareLost(certain bool) {
	if certain && len(l.gone)+len(l.replaced) <= handful {
		return
	}
	left := l.left()
	losses := l.losses(left)
	many := losses > handful
	long := patience
	switch {
	case certain && (!many || l.guard.suspects(losses, l.Directory.published, l.options)):
		return // the guard has a patience of its own
	case !certain && many:
		long = patienceMany
	}
	spared := func(id uint32, p string, lost [][32]byte) bool {
		if !slices.ContainsFunc(lost, func(digest [32]byte) bool { return left[digest] == 0 }) {
			return false
		}
		if over := l.missedFor(id, long); over && l.all {
			return false
		} else if over {
			p = "."
		}
		l.unsettled(p)
		for _, digest := range lost {
			left[digest]++
		}
		return true
	}
	// Where a file is to keep what it held, what it holds now is not published
	// there, and may be lost itself.
	for more := true; more; {
		more = false
		l.gone = slices.DeleteFunc(l.gone, func(p string) bool {
			record, ok := l.record(p)
			return ok && recordPublished(record) && spared(recordID(record), p, slices.Collect(recordLive(record)))
		})
		for _, id := range slices.Sorted(maps.Keys(l.replaced)) {
			c := l.replaced[id]
			if certain && c.New.live() >= c.Old.live() {
				continue // renewed
			}
			if spared(id, c.Path, c.lost()) {
				delete(l.replaced, id)
				for _, cert := range c.New.Live() {
					left[cert.Digest]--
				}
				more = true
			}
		}
	}
}

// left counts for each certificate to be taken away the paths at which it stays
// published. It takes a pass over all files.
func (l *look) left() map[[32]byte]int {
	left, taken := map[[32]byte]int{}, bitmap{}
	for _, p := range l.gone {
		if record, ok := l.record(p); ok && recordPublished(record) {
			for digest := range recordLive(record) {
				left[digest] = 0
			}
			taken.set(recordID(record))
		}
	}
	for id, c := range l.replaced {
		for _, digest := range c.lost() {
			left[digest] = 0
		}
		taken.set(id)
	}
	for _, record := range l.Files().table.All() {
		if !recordPublished(record) || taken.has(recordID(record)) {
			continue
		}
		for digest := range recordLive(record) {
			if n, ok := left[digest]; ok {
				left[digest] = n + 1
			}
		}
	}
	for _, c := range l.replaced {
		for _, cert := range c.New.Live() {
			if n, ok := left[cert.Digest]; ok {
				left[cert.Digest] = n + 1
			}
		}
	}
	return left
}

// withdraw makes known what is taken away. What would be a withdrawal passes the
// guard first.
func (l *look) withdraw() {
	w := l.weigh()
	allowed := l.guard.allows(w, l.options, l.reader)
	switch {
	case !allowed && l.all:
		l.held = w.count
	case !allowed:
		l.held = max(l.held, w.count)
	case l.all:
		l.held = 0
	}
	l.report.Held = l.held
	for _, p := range l.gone {
		record, ok := l.record(p)
		if !ok || recordPublished(record) && !allowed {
			l.hold(p)
			continue
		}
		l.put(Change{Path: p, Old: decodeFile(record), Removed: l.removed(p)}, l.changed)
	}
	byPath := func(a, b Change) int { return cmp.Compare(a.Path, b.Path) }
	for _, c := range slices.SortedFunc(maps.Values(l.replaced), byPath) {
		record, ok := l.record(c.Path)
		if !ok || !recordPublished(record) || c.New.live() < c.Old.live() && !allowed {
			l.hold(c.Path)
			continue
		}
		c.Old = decodeFile(record)
		if c.New.Published() && c.Certificates == nil && !l.readAgain(&c) {
			l.unsettled(c.Path)
			continue
		}
		l.put(c, l.changed)
	}
}

// hold makes known that what a file published is kept, and is not in it any more: who
// gives out certificates by their path has to know. For others it is as before.
func (l *look) hold(p string) {
	record, ok := l.record(p)
	if !ok || !l.options.Paths || !recordPublished(record) {
		return
	}
	old := decodeFile(record)
	if old.Failing != "" {
		return
	}
	kept := old
	kept.Failing = certsource.HeldBack
	l.put(Change{Path: p, Old: old, New: kept, Refusal: certsource.Refuse(certsource.HeldBack, "")}, l.changed)
}

// release makes known that a file is back as it was.
func (l *look) release(p string) {
	record, ok := l.record(p)
	if !ok || !recordHeld(record) {
		return
	}
	old := decodeFile(record)
	back := old
	back.Failing = ""
	l.put(Change{Path: p, Old: old, New: back}, l.changed)
}

// readAgain reads a certificate again that was not kept, and reports whether it is
// the same.
func (l *look) readAgain(c *Change) bool {
	info, err := l.root.Stat(c.Path)
	if err != nil {
		return false
	}
	f := l.reader.read(l.root, c.Path, c.Path, nil, info)
	c.Certificates = f.certs
	n := f.file()
	return n.Same(&c.New)
}
