package crl

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"coredns-smimea/certsource/revocation"
	"coredns-smimea/internal/disk"
)

// A source is a place where lists are, and what was got there.
type source struct {
	name  string // a path or a URL
	point bool   // it is a URL

	contents                         // as got last
	unverified bool                  // it is to be verified
	refused    bool                  // some of it was not; with other issuers known it is verified again
	early      time.Time             // when some of it begins that is from the future; zero if nothing is
	counts     []revocation.Verified // the last that was good

	seen  attributes // of the file when it was read
	next  time.Time  // when the place is to be asked again
	asked bool       // it is being asked

	text    string // the last error
	overdue bool   // it has been said that a newer list should be there
}

// contents are the lists of one place, and certificates of issuers that come with them.
type contents struct {
	lists   []*revocation.List
	issuers []*x509.Certificate
}

func read(data []byte) (c contents, err error) {
	c.lists, c.issuers, err = revocation.Read(data)
	return c, err
}

// attributes tell whether a file has changed.
type attributes struct {
	size    int64
	time    time.Time
	changed time.Time
	inode   uint64
}

// settled is how old a change must be before the attributes tell it from the next.
const settled = time.Second

// lookAt reads a file if it has changed.
func (f *Follower) lookAt(s *source, now time.Time) {
	info, err := f.world.Stat(s.name)
	switch {
	case err != nil:
		f.tell(s, nameless(err))
		s.seen = attributes{}
		return
	case !info.Mode().IsRegular():
		f.tell(s, errors.New("it is no file: name a file of a certificate revocation list"))
		return
	}
	is := attributes{size: info.Size(), time: info.ModTime()}
	is.inode, is.changed = disk.Inode(info)
	if is == s.seen {
		return
	}
	s.seen = attributes{}
	if age := now.Sub(is.time); age > settled || age < -settled {
		s.seen = is
	}
	data, err := f.world.Read(s.name, revocation.MaxSize+1)
	if err != nil {
		s.seen = attributes{}
		f.tell(s, nameless(err))
		return
	}
	c, err := read(data)
	if err != nil {
		f.tell(s, err)
		return
	}
	f.got(s, c)
}

// got takes in what a place has. It is verified when all issuers are known that there
// are: see Set.
func (f *Follower) got(s *source, c contents) {
	s.contents, s.unverified = c, true
	f.dirty = true
}

// nameless returns an error without the path, which whoever logs it knows.
func nameless(err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		if os.IsNotExist(err) {
			return errors.New("there is no such file: put the list there, or correct the name")
		}
		return e.Err
	}
	return err
}

// verify decides which lists of a place count. Where none does, the last ones do that
// did. The error says why one does not.
func (f *Follower) verify(s *source) (failed error) {
	s.unverified, s.early = false, time.Time{}
	var good []revocation.Verified
	for _, l := range s.lists {
		v, err := revocation.Verify(l, slices.Concat(s.issuers, f.issuers[l.IssuerName()]))
		if err == nil && s.point {
			err = s.notOlder(l)
		}
		if err == nil && !f.now.IsZero() {
			begin := l.ThisUpdate.Add(-revocation.Skew)
			if err = l.Begun(f.now); err != nil && (s.early.IsZero() || begin.Before(s.early)) {
				s.early = begin
			}
		}
		if err != nil {
			failed = err
			continue
		}
		good = append(good, v)
	}
	s.refused = failed != nil
	if len(good) > 0 && !slices.Equal(good, s.counts) {
		s.counts, s.overdue = good, false
	}
	return failed
}

// notOlder refuses a list that is older than the one before: whoever sits between here
// and a server can give out again what it gave out once.
func (s *source) notOlder(l *revocation.List) error {
	for _, before := range s.counts {
		if l.Replaces(before.List) && before.Newer(l) {
			return fmt.Errorf("it is older than the one that was there before, of %s: that one counts", before.ThisUpdate.Format(time.DateTime))
		}
	}
	return nil
}

// tell says why a list cannot be got, or does not count, once for each reason.
func (f *Follower) tell(s *source, err error) {
	text, good := "", 1.0
	if err != nil {
		text, good = err.Error(), 0
		failures.WithLabelValues(s.name).Inc()
	}
	usable.WithLabelValues(s.name).Set(good)
	switch {
	case text == s.text:
	case text == "":
		log.Infof("The revocation list %q is all right again", s.name)
	case len(s.counts) > 0:
		log.Warningf("The revocation list %q cannot be used as it is now, and the last good one, of %s, counts: %s", s.name, s.counts[0].ThisUpdate.Format(time.DateTime), text)
	default:
		log.Warningf("The revocation list %q does not count, and nothing is withdrawn for it: %s", s.name, text)
	}
	s.text = text
}

// measure sets the gauges, and says once which lists are overdue.
func (f *Follower) measure(now time.Time) {
	for name, s := range f.sources {
		var next time.Time
		for _, l := range s.counts {
			if !l.NextUpdate.IsZero() && (next.IsZero() || l.NextUpdate.Before(next)) {
				next = l.NextUpdate
			}
		}
		if next.IsZero() {
			nextUpdate.DeleteLabelValues(name)
			continue
		}
		nextUpdate.WithLabelValues(name).Set(float64(next.Unix()))
		if next.Before(now) && !s.overdue {
			s.overdue = true
			log.Warningf("The revocation list %q was to be replaced by %s: it still counts, but what was revoked since then is published; have the issuer publish a new one", name, next.Format(time.DateTime))
		}
	}
}

// Forget deletes the gauges.
func (f *Follower) Forget() {
	if f == nil {
		return
	}
	for name := range f.sources {
		nextUpdate.DeleteLabelValues(name)
		usable.DeleteLabelValues(name)
		failures.DeleteLabelValues(name)
	}
}
