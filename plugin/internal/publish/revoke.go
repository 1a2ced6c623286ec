package publish

import (
	"context"
	"time"

	"coredns-smimea/certsource/directory"
	"coredns-smimea/certsource/revocation"
)

const (
	// A list that would withdraw more than max_withdraw percent of more than so many
	// certificates at once is held back until as many looks at it have found the same.
	heldFrom  = 20
	heldLooks = 3
)

// revoking is which lists count, and which are held back.
type revoking struct {
	by *revocation.Set // what the directory goes by

	held  *revocation.Set // what is held back, nil if nothing is
	count int             // certificates that it would withdraw
	looks int             // at lists that have found it
	since time.Time
}

// beginRevoking has the directory go by the lists that the publisher before, or the
// process before, went by.
func (p *Publisher) beginRevoking() {
	p.revoking.by = p.lists.Set()
	p.directory.Revoke(p.revoking.by)
}

// lookAtLists looks at lists once every reload.
func (p *Publisher) lookAtLists(ctx context.Context) []string {
	p.lists.Look(p.world.System.Now())
	if p.revoking.held != nil {
		p.revoking.looks++
	}
	return p.revised(ctx)
}

// revised publishes what other lists have changed. Until everything has been looked at
// once, the look at everything does that.
func (p *Publisher) revised(ctx context.Context) (again []string) {
	if !p.State().looked() {
		return nil
	}
	was := p.revoking.by
	again = p.revoke(ctx)
	p.measure(false)
	if p.revoking.by != was {
		p.commit()
	}
	return again
}

// revoke has the directory go by the lists as they are now. It returns the files to be
// looked at again. Only those that the lists concern are read.
func (p *Publisher) revoke(ctx context.Context) []string {
	by := p.lists.Set()
	if by == p.revoking.by {
		p.revoking.letGo()
		return nil
	}
	paths, withdrawn := p.directory.Concerned(by)
	if p.holdsBack(by, withdrawn) {
		return nil
	}
	p.revoking.letGo()
	p.revoking.by = by
	p.directory.Revoke(by)
	p.unbridgeRevoked()
	if len(paths) == 0 {
		return nil
	}
	report, err := p.directory.Check(ctx, paths, p.world.System.Now(), p.apply)
	if err != nil {
		return paths
	}
	return report.Unsettled
}

// holdsBack reports whether lists would withdraw so much at once that it may be an
// accident of who has issued or installed them. Where nothing was published before, nothing
// is withdrawn. The guard of the directory has no say
// in revocations, nor they in what it counts.
func (p *Publisher) holdsBack(by *revocation.Set, withdrawn int) bool {
	r, published := &p.revoking, p.directory.Published()
	if p.State() == Unread || p.config.MaxWithdraw == 100 || published <= heldFrom || withdrawn*100 <= p.config.MaxWithdraw*published {
		return false
	}
	if r.held == nil || r.count != withdrawn {
		r.looks, r.since = 1, p.world.System.Now()
		log.Errorf("Holding back the revocation of %d of %d certificates in %q: more than %d percent at once may be a mistake of the issuer; it is done if it stays for three looks, or at the next one if you touch %s there",
			withdrawn, published, p.config.Dir, p.config.MaxWithdraw, directory.ConfirmFile)
	}
	r.held, r.count = by, withdrawn
	return r.looks < heldLooks && !p.directory.Confirmed(r.since)
}

// letGo ends that something is held back.
func (r *revoking) letGo() { *r = revoking{by: r.by} }
