package certsource

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
	began     time.Time // of the window
	published int       // when it began
	withdrawn int       // since

	since time.Time // when something was held back first; zero if nothing is
	held  uint64    // digest of what the last look has held back
	looks int       // in a row that have found just that
}

// allows reports whether changes, which each withdraw a certificate, may be
// made known. All is set if they are all that a look at everything has found.
func (g *guard) allows(changes []Change, d *Directory, r *reader, all bool) bool {
	if r.now.Sub(g.began) >= d.options.Window || r.now.Before(g.began) {
		g.began, g.published, g.withdrawn = r.now, d.published, 0
	}
	total := max(g.published, d.published)
	sum := g.withdrawn + len(changes)
	if total > guardedFrom && len(changes) > 0 && sum*100 > d.options.MaxWithdraw*total {
		if g.since.IsZero() {
			g.since = r.now
		}
		if !g.confirmed(changes, r, all) {
			return false
		}
	}
	g.withdrawn = sum
	if all {
		g.since, g.held, g.looks = time.Time{}, 0, 0
	}
	return true
}

// confirmed reports whether what is held back has been the same for some
// looks, or the operator has said that it is meant.
func (g *guard) confirmed(changes []Change, r *reader, all bool) bool {
	if info, err := r.root.Stat(ConfirmFile); err == nil && !info.ModTime().Before(g.since) {
		return true
	}
	if !all {
		return false
	}
	var digest uint64 // of the paths, in whatever order
	for _, c := range changes {
		h := fnv.New64a()
		h.Write([]byte(c.Path))
		digest += h.Sum64()
	}
	if digest != g.held {
		g.held, g.looks = digest, 0
	}
	g.looks++
	return g.looks >= looksToConfirm
}
