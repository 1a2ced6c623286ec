package directory

import (
	"hash/fnv"
	"time"
)

// ConfirmFile is the name of the file below the directory that lets withdrawals
// pass that the guard holds back, once it is touched.
const ConfirmFile = ".withdraw"

// looksToConfirm is how often in a row the same withdrawals must be found
// before they are taken for meant.
const looksToConfirm = 3

// guardedFrom is the number of certificates up to which all can go at once.
const guardedFrom = 20

// A guard holds back withdrawals that look like an accident: many at once.
type guard struct {
	open      bool
	began     time.Duration // of the window: see disk.System
	published int           // when it began
	withdrawn int           // since

	since   time.Time     // when something was held back first; zero if nothing is
	held    uint64        // digest of what the last look has held back
	looks   int           // in a row that have found just that
	counted time.Duration // the last of them
}

// A withdrawal is all that one look would withdraw.
type withdrawal struct {
	count     int        // certificates that are published at a path now
	lost      func() int // those of them that are published at no other path
	digest    uint64     // of the paths, in whatever order
	published int        // certificates that are
	all       bool       // it is all that a look at everything has found
}

// weigh sums up what the look would withdraw.
func (l *look) weigh() withdrawal {
	w := withdrawal{published: l.Directory.published, all: l.all, lost: func() int { return l.losses(l.left()) }}
	for p := range l.withdrawals() {
		h := fnv.New64a()
		h.Write([]byte(p))
		w.digest += h.Sum64()
		w.count++
	}
	return w
}

// withdrawals yields the certificates to be withdrawn, with their paths. One that
// another one takes the place of is none.
func (l *look) withdrawals() func(yield func(string, [32]byte) bool) {
	return func(yield func(string, [32]byte) bool) {
		for _, p := range l.gone {
			record, ok := l.record(p)
			if !ok {
				continue
			}
			for digest := range recordLive(record) {
				if !yield(p, digest) {
					return
				}
			}
		}
		for _, c := range l.replaced {
			record, ok := l.record(c.Path)
			if !ok || !recordPublished(record) {
				continue
			}
			fewer := max(0, c.Old.live()-c.New.live())
			for _, digest := range c.lost()[:min(fewer, len(c.lost()))] {
				if !yield(c.Path, digest) {
					return
				}
			}
		}
	}
}

// losses counts the certificates to be withdrawn that stay at no other path: files
// that were moved are no loss.
func (l *look) losses(left map[[32]byte]int) int {
	lost := 0
	for _, digest := range l.withdrawals() {
		if left[digest] == 0 {
			lost++
		}
	}
	return lost
}

// allows reports whether a withdrawal may be made known.
func (g *guard) allows(w withdrawal, o Options, r *reader) bool {
	if !g.open || r.start-g.began >= o.Window {
		g.open, g.began, g.published, g.withdrawn = true, r.start, w.published, 0
	}
	count := w.count
	if g.suspects(count, w.published, o) {
		count = w.lost()
	}
	if g.suspects(count, w.published, o) {
		g.suspect(r.now)
		if !g.confirmed(r) && !g.persists(w, r.start, o.Window) {
			return false
		}
	}
	g.withdrawn += count
	if w.all {
		g.since, g.held, g.looks = time.Time{}, 0, 0
	}
	return true
}

// suspects reports whether a number of withdrawals looks like an accident.
func (g *guard) suspects(n, published int, o Options) bool {
	total := max(g.published, published)
	return n > 0 && o.MaxWithdraw < 100 && total > guardedFrom && (g.withdrawn+n)*100 > o.MaxWithdraw*total
}

// suspect notes when something was held back first.
func (g *guard) suspect(now time.Time) {
	if g.since.IsZero() {
		g.since = now
	}
}

// confirmed reports whether the operator has said that it is meant.
func (g *guard) confirmed(r *reader) bool {
	info, err := r.root.Stat(ConfirmFile)
	return err == nil && !info.ModTime().Before(g.since)
}

// persists reports whether enough looks have found the same. They count only
// with a window between them: notifications bring looks forward.
func (g *guard) persists(w withdrawal, now, window time.Duration) bool {
	if !w.all {
		return false
	}
	if w.digest != g.held {
		g.held, g.looks = w.digest, 0
	}
	if g.looks == 0 || now-g.counted >= window {
		g.looks++
		g.counted = now
	}
	return g.looks >= looksToConfirm
}
