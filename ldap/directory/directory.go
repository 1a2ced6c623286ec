// Package directory is a source of certificates for package ldap: a directory of
// files, judged by the rules by which the server publishes one.
package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"coredns-smimea/certsource"
	files "coredns-smimea/certsource/directory"
	"coredns-smimea/internal/table"
	"coredns-smimea/ldap"
	"coredns-smimea/smimea"
)

// Options say what a Directory has.
type Options struct {
	Dir string
	// Roots, if not nil, are the authorities that certificates must chain to.
	Roots *certsource.Roots
	// Margin is how long before its end a certificate is withdrawn.
	Margin time.Duration
	// Exact leaves out the lower-case forms of local-parts.
	Exact bool
	// Remarked is told what an operator should read of the files, and Failed why
	// the directory cannot be read, if not nil. Neither names an address.
	Remarked func(files.Remark)
	Failed   func(error)
	// OtherCase is told of each address that is asked for and not there, while
	// it is with its local-part in another case, if not nil.
	OtherCase func(smimea.Address)
}

// A Directory has the certificates of a directory, as it is now.
type Directory struct {
	options Options
	files   *files.Directory
	watch   *files.Watch // nil if there is none
	index   atomic.Pointer[table.Table]
	edit    *table.Edit // the next version, of the goroutine that looks
	cancel  context.CancelFunc
	done    chan struct{}
}

const (
	// poll is the time between two looks at everything: not all changes are
	// heard of, on network file systems say.
	poll = time.Minute
	// settle is the time for which a file that was written just now is left.
	settle = 300 * time.Millisecond
)

// Open reads a directory, and follows it until [Directory.Close]. The error is
// that of the directory itself.
func Open(o Options) (*Directory, error) {
	d := &Directory{options: o, done: make(chan struct{})}
	d.index.Store(&table.Table{})
	// Without a watch it is looked at once a minute.
	d.watch, _ = files.NewWatch(o.Dir, nil)
	d.files = files.New(files.Options{
		Dir: o.Dir, Roots: o.Roots, Margin: o.Margin, MaxWithdraw: 100,
		Enter: func(dir string) {
			if d.watch != nil {
				d.watch.Add(dir)
			}
		},
	})
	var ctx context.Context
	ctx, d.cancel = context.WithCancel(context.Background())
	again, err := d.look(ctx)
	if err != nil {
		d.cancel()
		d.closeWatch()
		return nil, err
	}
	go d.follow(ctx, again)
	return d, nil
}

// Close ends the following.
func (d *Directory) Close() {
	d.cancel()
	<-d.done
	d.closeWatch()
}

func (d *Directory) closeWatch() {
	if d.watch != nil {
		d.watch.Close()
	}
}

// Published returns how many certificates there were at the first look.
func (d *Directory) Published() int { return d.files.Published() }

func (d *Directory) follow(ctx context.Context, again []string) {
	defer close(d.done)
	var heard <-chan struct{}
	if d.watch != nil {
		heard = d.watch.C
	}
	for {
		wait := poll
		if len(again) > 0 {
			wait = settle
		}
		timer := time.NewTimer(wait)
		all := false
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-heard:
			var paths []string
			paths, all = d.watch.Take()
			again = append(again, paths...)
		case <-timer.C:
			all = len(again) == 0
		}
		timer.Stop()
		var err error
		if all {
			again, err = d.look(ctx)
		} else {
			again, err = d.check(ctx, again)
		}
		if err != nil && ctx.Err() == nil && d.options.Failed != nil {
			d.options.Failed(err)
		}
	}
}

func (d *Directory) look(ctx context.Context) (again []string, err error) {
	return d.renew(func() (files.Report, error) { return d.files.Look(ctx, time.Now(), d.changed) })
}

func (d *Directory) check(ctx context.Context, paths []string) (again []string, err error) {
	return d.renew(func() (files.Report, error) { return d.files.Check(ctx, paths, time.Now(), d.changed) })
}

// renew makes the next version of the index.
func (d *Directory) renew(look func() (files.Report, error)) (again []string, err error) {
	d.edit = d.index.Load().Edit()
	report, err := look()
	d.index.Store(d.edit.Table())
	for _, r := range d.files.Remarks() {
		if d.options.Remarked != nil {
			d.options.Remarked(r)
		}
	}
	return report.Unsettled, err
}

// changed takes a change into the next version of the index.
func (d *Directory) changed(c files.Change) {
	for _, cert := range c.Old.Live() {
		d.putAll(cert.Addresses, c.Path, false)
	}
	if c.Removed.IsZero() {
		for _, cert := range c.New.Live() {
			d.putAll(cert.Addresses, c.Path, true)
		}
	}
}

// putAll adds a path to those of all addresses of a file, or takes it out.
func (d *Directory) putAll(certified []string, path string, in bool) {
	for _, a := range d.addresses(certified) {
		d.put([]byte(a.String()), path, in)
		if lower := a.Lower(); lower != a && d.options.Exact {
			d.put(otherCase(lower), path, in)
		}
	}
}

// otherCase is the key of what is only found under another case.
func otherCase(lower smimea.Address) []byte { return []byte("\x00" + lower.String()) }

// put adds a path to those of a key, or takes it out.
func (d *Directory) put(key []byte, path string, in bool) {
	old, _ := d.edit.Get(key)
	paths := slices.DeleteFunc(splitPaths(old), func(p string) bool { return p == path })
	if in {
		paths = append(paths, path)
	}
	if len(paths) == 0 {
		d.edit.Delete(key)
		return
	}
	d.edit.Set(key, []byte(strings.Join(paths, "\x00")))
}

func splitPaths(value []byte) []string {
	if len(value) == 0 {
		return nil
	}
	return strings.Split(string(value), "\x00")
}

// addresses returns the addresses under which a certificate is found.
func (d *Directory) addresses(certified []string) (all []smimea.Address) {
	for _, text := range certified {
		a, err := smimea.ParseAddress(text)
		if err != nil {
			continue
		}
		for _, form := range []smimea.Address{a, a.Lower()} {
			if (form == a || !d.options.Exact) && !slices.Contains(all, form) {
				all = append(all, form)
			}
		}
	}
	return all
}

// Find is that of [ldap.Source].
func (d *Directory) Find(_ context.Context, address smimea.Address) (ldap.Found, error) {
	value, _ := d.index.Load().Get([]byte(address.String()))
	found := ldap.Found{Why: "the directory has no certificate of the address"}
	for _, path := range splitPaths(value) {
		certs, err := files.ReadFile(d.options.Dir, path)
		var refusal *certsource.Refusal
		switch {
		case errors.As(err, &refusal) && refusal.Reason != certsource.Unreadable:
			// It has changed, and the look that sees it is under way.
		case err != nil:
			return ldap.Found{}, fmt.Errorf("the file %q: %w", path, err)
		}
		for i := range certs {
			if cert := &certs[i]; d.holds(cert, address) {
				found.Certificates = append(found.Certificates, ldap.Certificate{Raw: cert.Raw, Chain: cert.Chain(nil)})
			}
		}
	}
	if len(found.Certificates) == 0 {
		_, exact := d.index.Load().Get(otherCase(address.Lower()))
		_, lower := d.index.Load().Get([]byte(address.Lower().String()))
		if exact || lower && address != address.Lower() {
			found.Why = "the directory has the address only with its local-part in another case"
		}
		if exact && d.options.OtherCase != nil {
			d.options.OtherCase(address)
		}
	}
	ldap.BestFirst(found.Certificates)
	return found, nil
}

// holds judges what was read just now by the rules that the index was made by.
func (d *Directory) holds(cert *certsource.Certificate, address smimea.Address) bool {
	now := time.Now()
	return slices.Contains(d.addresses(cert.Addresses), address) && now.Before(cert.NotAfter.Add(-d.options.Margin)) &&
		(d.options.Roots == nil || cert.Chains(d.options.Roots, now) == nil)
}
