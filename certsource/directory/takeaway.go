package directory

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"time"

	"coredns-smimea/internal/disk"
)

// A look is not one moment. What was moved while it went on may have been in none
// of the places at the time that each was looked at, though it was never gone. So
// before a certificate is taken away the look waits a little, looks again at
// what has changed since it began, and does that until nothing has. Where that
// does not end soon, or something cannot be read that may be what is missed, what
// is at no other place is kept for now, but not for ever.

const (
	// calm is how long nothing may have changed before what is not there is gone.
	calm = 100 * time.Millisecond
	// maxRounds is how often one look looks again.
	maxRounds = 4
	// A certificate is taken away in spite of all changes around it once as many
	// looks have not found it, and it is that long since the first of them.
	looksToMiss = 3
	timeToMiss  = 5 * time.Second
	// timeOfTrouble is how long what could not be read may be what is missed.
	timeOfTrouble = time.Minute
	// maxReplaced is how many certificates are kept in memory until they are made
	// known. Those of more are read a second time.
	maxReplaced = 4096
)

// missed is a certificate that looks have not found, while others changed.
type missed struct {
	since, last time.Time
	looks       int
}

// replace keeps a change that takes away a certificate, for the end of the look.
func (l *look) replace(c Change) {
	if len(l.replaced) >= maxReplaced {
		c.Certificate = nil
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
	undisturbed, err := l.rest(ctx)
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
	switch {
	case !undisturbed || l.now.Sub(l.trouble).Abs() < timeOfTrouble:
		l.spareMissing()
	case l.all:
		clear(l.missing)
	}
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
		l.system.Sleep(ctx, calm)
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
// was anything.
func (l *look) again(ctx context.Context) (bool, error) {
	var heard []string
	everywhere := false
	if !l.all {
		everywhere = true
		if l.options.Heard != nil {
			heard, everywhere = l.options.Heard()
		}
	}
	switch {
	case everywhere && !l.everywhere:
		l.everywhere = true
		return true, l.walk(ctx, ".")
	case everywhere && l.options.Heard != nil:
		l.report.Unsettled = append(l.report.Unsettled, ".") // not once more now
	}
	changed := l.changedDirs()
	if len(changed) == 0 && len(heard) == 0 {
		return false, nil
	}
	for _, dir := range changed {
		if err := l.walkFrom(ctx, job{dir: dir, alone: true}); err != nil {
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
	for dir, was := range l.listed {
		info, err := l.root.Stat(dir)
		if err == nil && was != 0 && stamp(info) == was {
			continue
		}
		if err != nil && leadsNowhere(err) {
			delete(l.listed, dir)
			continue
		}
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs)
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

// spareDangling keeps for a moment what is below a link that leads nowhere, as a
// link does that is being made anew.
func (l *look) spareDangling() {
	dangling := map[string]bool{}
	l.gone = slices.DeleteFunc(l.gone, func(p string) bool {
		link := l.danglingAbove(p)
		if link == "" {
			return false
		}
		if _, known := dangling[link]; !known {
			dangling[link] = l.doubts(link)
			if dangling[link] {
				l.report.Unsettled = append(l.report.Unsettled, link)
			}
		}
		return dangling[link]
	})
	for link, spared := range dangling {
		if !spared {
			delete(l.doubted, link)
		}
	}
}

// danglingAbove returns the link above a path that leads nowhere, if there is one.
func (l *look) danglingAbove(p string) string {
	for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
		info, err := l.root.Lstat(dir)
		if err != nil {
			continue
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			if _, err := l.root.Stat(dir); err != nil && leadsNowhere(err) {
				return dir
			}
		}
		return ""
	}
	return ""
}

// doubts reports whether what is seen at a path has been so for a moment only.
func (l *look) doubts(p string) bool {
	since, ok := l.doubted[p]
	if !ok || l.now.Before(since) {
		l.doubted[p] = l.now
		return true
	}
	return l.now.Sub(since) < doubt
}

// spareMissing keeps the certificates that are at no other path, as long as they have
// not been missed for long.
func (l *look) spareMissing() {
	lost := l.lost()
	var soon []string
	spared := func(p string, digest [32]byte) bool {
		if !lost[digest] {
			return false
		}
		m := l.missing[p]
		if m.looks == 0 || l.now.Before(m.last) || l.now.Sub(m.last) > timeToMiss {
			m = missed{since: l.now}
		}
		m.looks++
		m.last = l.now
		l.missing[p] = m
		if m.looks >= looksToMiss && l.now.Sub(m.since) >= timeToMiss {
			return false
		}
		soon = append(soon, p)
		return true
	}
	l.gone = slices.DeleteFunc(l.gone, func(p string) bool {
		record, ok := l.record(p)
		return ok && recordPublished(record) && spared(p, recordDigest(record))
	})
	maps.DeleteFunc(l.replaced, func(_ uint32, c Change) bool { return spared(c.Path, c.Old.Digest) })
	if len(soon) > 0 && (l.all || l.everywhere || len(l.unread)+len(l.Directory.unread) > 0) {
		soon = []string{"."}
	}
	slices.Sort(soon)
	l.report.Unsettled = append(l.report.Unsettled, soon...)
}

// lost returns the certificates to be taken away that are at no other path. It
// takes a pass over all files.
func (l *look) lost() map[[32]byte]bool {
	lost, taken := map[[32]byte]bool{}, bitmap{}
	for _, p := range l.gone {
		if record, ok := l.record(p); ok && recordPublished(record) {
			lost[recordDigest(record)] = true
			taken.set(recordID(record))
		}
	}
	for id, c := range l.replaced {
		lost[c.Old.Digest] = true
		taken.set(id)
	}
	for _, record := range l.Files().table.All() {
		if recordPublished(record) && !taken.has(recordID(record)) {
			delete(lost, recordDigest(record))
		}
	}
	for _, c := range l.replaced {
		if c.New.Published() {
			delete(lost, c.New.Digest)
		}
	}
	return lost
}

// withdraw makes known what is taken away. What would be a withdrawal passes the
// guard first.
func (l *look) withdraw() {
	w := l.weigh()
	allowed := l.guard.allows(w, l.now, l.options, l.reader)
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
			continue
		}
		delete(l.missing, p)
		delete(l.doubted, p)
		l.put(Change{Path: p, Old: decodeFile(record), Removed: l.removed(p)}, l.changed)
	}
	byPath := func(a, b Change) int { return cmp.Compare(a.Path, b.Path) }
	for _, c := range slices.SortedFunc(maps.Values(l.replaced), byPath) {
		record, ok := l.record(c.Path)
		if !ok || !recordPublished(record) || !c.New.Published() && !allowed {
			continue
		}
		c.Old = decodeFile(record)
		if c.New.Published() && c.Certificate == nil && !l.readAgain(&c) {
			l.report.Unsettled = append(l.report.Unsettled, c.Path)
			continue
		}
		delete(l.missing, c.Path)
		delete(l.doubted, c.Path)
		l.put(c, l.changed)
	}
}

// readAgain reads a certificate again that was not kept, and reports whether it is
// the same.
func (l *look) readAgain(c *Change) bool {
	info, err := l.root.Stat(c.Path)
	if err != nil {
		return false
	}
	f := l.reader.read(l.root, c.Path, c.Path, nil, info)
	c.Certificate = f.cert
	return f.refusal == nil && f.digest == c.New.Digest
}
