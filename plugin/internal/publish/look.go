package publish

import (
	"context"
	"time"

	"coredns-smimea/certsource/directory"
)

// look looks at the whole directory, and publishes what has changed. It returns
// the files to be looked at again.
func (p *Publisher) look(ctx context.Context) []string {
	p.openWatch()
	p.lists.Look(p.world.System.Now())
	began := p.world.System.Now()
	report, err := p.directory.Look(ctx, began, p.apply)
	if ctx.Err() != nil {
		return nil
	}
	took := p.world.System.Now().Sub(began)
	p.duration = took - report.Rested
	if err == nil {
		report.Unsettled = append(report.Unsettled, p.revoke(ctx)...)
	}
	p.report(report, err)
	first := !p.State().looked()
	p.afterLook(err)
	p.settleDeparted(report, err)
	if err != nil && first {
		p.cannotBegin(err)
		return nil
	}
	p.directory.Expire(ctx, began, p.apply)
	p.unbridgeDue(began)
	if first {
		p.completed(report.Newest)
	}
	p.commit()
	p.serves()
	lookDuration.WithLabelValues(p.config.Dir).Observe(took.Seconds())
	return report.Unsettled
}

// cannotBegin is for a first look that has failed. Of what it has found nothing is
// known for sure: that is not the same as nobody being there.
func (p *Publisher) cannotBegin(err error) {
	p.remark()
	if p.State() == Restored {
		p.commit()
		p.serves() // what was served before
		return
	}
	select {
	case p.trouble <- err:
	default:
	}
}

// completed is for the first look that has succeeded: every zone has a version now.
func (p *Publisher) completed(newest time.Time) {
	for i := range p.config.Places {
		if p.current.Load() == nil || p.Zone(i) == nil {
			// Of what is not there any more only the newest time of all tells.
			p.edit(i, newest)
		}
	}
}

// serves says that what there is to serve is served.
func (p *Publisher) serves() {
	if !p.isReady {
		p.isReady = true
		close(p.ready)
	}
}

// check looks at some paths only, unless everything has yet to be looked at: what
// has never been read is never denied.
func (p *Publisher) check(ctx context.Context, paths []string) []string {
	if !p.State().looked() {
		return p.look(ctx)
	}
	report, err := p.directory.Check(ctx, paths, p.world.System.Now(), p.apply)
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		report.Unsettled = append(report.Unsettled, p.revoke(ctx)...)
	}
	p.report(report, err)
	p.afterLook(err)
	p.commit()
	if err != nil {
		return paths
	}
	return report.Unsettled
}

// expire withdraws what has expired.
func (p *Publisher) expire(ctx context.Context) {
	if p.State() == Unread {
		return // nothing is served
	}
	p.directory.Expire(ctx, p.world.System.Now(), p.apply)
	p.unbridgeDue(p.world.System.Now())
	p.commit()
}

// report tells the operator how a look went.
func (p *Publisher) report(report directory.Report, err error) {
	if report.Held > 0 && report.Held != p.held {
		log.Errorf("Holding back the withdrawal of %d of %d certificates in %q: more than %d percent at once looks like an accident; it is done if it stays for three looks, or at once if you touch %s there",
			report.Held, p.directory.Published(), p.config.Dir, p.config.MaxWithdraw, directory.ConfirmFile)
	}
	p.held = report.Held
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != p.lastErr && text != "" {
		log.Errorf("What is published stays as it is: %s", text)
	} else if text == "" && p.lastErr != "" {
		log.Infof("The directory %q can be read again", p.config.Dir)
	}
	p.lastErr = text
	if p.watch != nil && err == nil {
		p.tellDeaf(p.watch.Deaf())
	}
	filesRead.WithLabelValues(p.config.Dir).Add(float64(report.Read))
	p.measure(err == nil)
}
