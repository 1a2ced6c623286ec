package publish

import (
	"context"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/certsource/directory"
)

// A loop waits for what happens, and has the publisher do what it leads to.
type loop struct {
	p       *Publisher
	again   []string // files that were being written: to be looked at once more
	waiting bool     // for settled
	settled Timer    // what was heard of is to be looked at
	poll    Timer    // the next look at everything
	expire  Timer    // the next certificate expires
	lists   Timer    // the next look at lists of revoked certificates
}

func newLoop(p *Publisher) *loop {
	return &loop{p: p, settled: p.world.Timer(), poll: p.world.Timer(), expire: p.world.Timer(), lists: p.world.Timer()}
}

// run goes on until ctx ends.
func (l *loop) run(ctx context.Context) {
	defer l.settled.Stop()
	defer l.poll.Stop()
	defer l.expire.Stop()
	defer l.lists.Stop()
	l.look(ctx)
	l.nextLists()
	for ctx.Err() == nil {
		l.wait(ctx)
	}
}

// wait waits for one event, and does what it leads to.
func (l *loop) wait(ctx context.Context) {
	p := l.p
	if len(l.again) > 0 {
		l.soon()
	}
	var heard <-chan struct{}
	if p.watch != nil {
		heard = p.watch.C
	}
	if next := p.nextExpiry(); !next.IsZero() {
		// The wall clock may be set: look at it once in a while.
		l.expire.Reset(min(next.Sub(p.world.System.Now()), time.Minute))
	}
	select {
	case <-ctx.Done():
	case <-heard:
		l.soon()
	case <-l.settled.C():
		l.waiting = false
		l.heard(ctx)
	case <-l.poll.C():
		l.look(ctx)
	case <-l.expire.C():
		p.expire(ctx)
	case <-l.lists.C():
		l.again = append(l.again, p.lookAtLists(ctx)...)
		l.nextLists()
	case got := <-p.lists.C():
		p.lists.Take(got, p.world.System.Now())
		l.again = append(l.again, p.revised(ctx)...)
	case b := <-p.batches:
		p.keep(b)
	case task := <-p.tasks:
		task()
	case <-p.saver.due():
		p.saver.save()
	case r := <-p.saver.ended():
		p.saver.end(r)
	}
}

// nextLists has lists of revoked certificates looked at again.
func (l *loop) nextLists() {
	if l.p.lists != nil {
		l.lists.Reset(l.p.config.Reload)
	}
}

// soon has what was heard of looked at. Whatever comes in meanwhile, it does not
// put the look off.
func (l *loop) soon() {
	if !l.waiting {
		l.waiting = true
		l.settled.Reset(settle(l.p.world.System.Now()))
	}
}

// look looks at everything, and says when to do so again.
func (l *loop) look(ctx context.Context) {
	l.again = l.p.look(ctx)
	l.poll.Reset(l.p.pause())
}

// heard looks at what was heard of.
func (l *loop) heard(ctx context.Context) {
	p := l.p
	paths, all := p.takeHeard(l.again)
	if all {
		l.look(ctx)
		return
	}
	if len(paths) == 0 {
		return
	}
	was := p.State()
	l.again = p.check(ctx, paths)
	if p.State() != was {
		l.poll.Reset(p.pause())
	}
}

// takeHeard returns the paths that are to be looked at, with those to be looked at
// again, or all if everything is.
func (p *Publisher) takeHeard(again []string) (paths []string, all bool) {
	paths = again
	folders := 0
	if p.watch != nil {
		var heard []string
		heard, all = p.watch.Take()
		paths = append(paths, heard...)
		folders = p.watch.Folders()
	}
	// To look at one path costs as much as at several files where all are looked at,
	// or at one directory.
	many := max(1000, p.directory.Files().Len()/8+folders)
	return paths, all || len(paths) > many || len(paths) > 0 && !p.State().looked()
}

// nextExpiry returns when the next certificate that is served expires, or is bridged
// no more; zero if none does.
func (p *Publisher) nextExpiry() time.Time {
	if p.State() == Unread {
		return time.Time{}
	}
	next := p.directory.NextExpiry()
	if end := p.nextBridgeEnd(); !end.IsZero() && (next.IsZero() || end.Before(next)) {
		return end
	}
	return next
}

// pause returns how long to wait for the next look at everything. Where changes
// are heard of it only makes sure, and takes a 250th of all processors at most;
// but it is never put off for long, as after a first look that had to read all. Nobody
// is told when a file can be read that could not: for these it takes a 25th.
func (p *Publisher) pause() time.Duration {
	const long = 15 * time.Minute
	pause := p.config.Reload
	if p.watch != nil && p.watch.Deaf() == nil && p.State() == Serving {
		times := time.Duration(250)
		if p.directory.Failing()[certsource.Unreadable] > 0 {
			times = 25
		}
		pause = max(pause, min(times*p.duration, long))
	}
	return pause
}

// openWatch begins to watch the directory, if it is not watched yet: one look
// after the other, since what is in the way may go away.
func (p *Publisher) openWatch() {
	if p.watch != nil || p.config.Unwatched {
		return
	}
	watch, err := directory.NewWatch(p.config.Dir, p.world.System)
	if err != nil {
		p.tellDeaf(err)
		return
	}
	p.watch = watch
}

// tellDeaf logs why not all changes are heard of, once for each reason.
func (p *Publisher) tellDeaf(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch {
	case text == p.watchErr:
	case text != "":
		log.Warningf("There are no notifications of some changes below %q, which are found by looking every %v: %s", p.config.Dir, p.config.Reload, text)
	default:
		log.Infof("There are notifications of all changes below %q again", p.config.Dir)
	}
	p.watchErr = text
}

func (p *Publisher) closeWatch() {
	if p.watch != nil {
		p.watch.Close()
	}
}
