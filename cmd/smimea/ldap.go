package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	certdir "coredns-smimea/certsource/directory"
	"coredns-smimea/discover"
	"coredns-smimea/ldap"
	"coredns-smimea/ldap/bridge"
	"coredns-smimea/ldap/directory"
	"coredns-smimea/ldap/world"
	"coredns-smimea/smimea"
)

var ldapVerb = verb{
	name:     "ldap",
	synopsis: "",
	summary:  "hands certificates to mail programs that look in LDAP directories",
	help: `
Serves a read-only LDAP directory in which everybody is who has published a
certificate. A mail program that lacks a recipient's certificate asks it; the
address is looked up as smimea lookup does, and only what is verified is handed
out. It serves this computer only, unless -listen says more. What to set in the
mail program is printed by

  smimea ldap -print-settings thunderbird
  smimea ldap -print-settings gpgsm
  smimea ldap -print-settings evolution

and written for all users of Thunderbird by

  smimea ldap -write-settings /etc/thunderbird

With -dir, the certificates of a directory of your own are found first. With
-bridge, certificates of authorities that the mail program does not know are
accepted by it, too, once it trusts the root that is made in that directory;
docs/encrypt-to-strangers.md explains it.

A search is answered within three seconds. If the look-up takes longer, the
answer is "busy", and the next search finds what has come. A failure is never
an empty answer. Addresses are not logged without -v. systemd may open the
sockets (LISTEN_FDS); those named ldaps begin with TLS. The TLS certificate is
read again when its files change.
`,
	setup: func(f *flag.FlagSet) action {
		o := ldapOptions{}
		o.define(f)
		f.Var(&o.listen, "listen", "`URL` to listen on, ldap://HOST:PORT or ldaps://HOST:PORT, may be repeated (default "+defaultListen+")")
		f.StringVar(&o.certFile, "tls-cert", "", "`FILE` of the server's TLS certificate, for ldaps:// and StartTLS")
		f.StringVar(&o.keyFile, "tls-key", "", "`FILE` of its key")
		f.StringVar(&o.base, "base", "o=smimea", "`DN` that the directory calls its own; searches may have any")
		f.StringVar(&o.dir, "dir", "", "`DIR` of certificates of your own, as the server publishes them")
		f.StringVar(&o.dirRoots, "dir-roots", "", "`FILE` of authorities that the certificates of -dir must chain to")
		durationVar(f, &o.ttl, "ttl", time.Hour, "`DURATION` before its end that a certificate of -dir is withdrawn (default 1h)")
		f.StringVar(&o.casing, "case", "lower", "`FORMS` in which those of -dir are found: lower, also in lower case, or exact")
		f.BoolVar(&o.world, "world", true, "look addresses up in the DNS; -world=false leaves -dir only")
		f.BoolVar(&o.unverified, "unverified", false, "hand out what nothing signed vouches for, too")
		f.StringVar(&o.bridge, "bridge", "", "`DIR` of the bridge's root, made if it is not there")
		f.StringVar(&o.roots, "roots", "", "`FILE` of certificates of the authorities to trust, in place of the system's")
		f.BoolVar(&o.allowPrivate, "allow-private", false, "let downloads go to private addresses, too")
		f.BoolVar(&o.revocation, "revocation", false, "ask the issuers whether certificates are revoked")
		f.IntVar(&o.connections, "connections", ldap.DefaultLimits.Connections, "`NUMBER` of connections at once")
		f.IntVar(&o.lookups, "lookups", 32, "`NUMBER` of look-ups at once")
		f.StringVar(&o.metrics, "metrics", "", "`ADDR:PORT` to serve metrics on, at /metrics")
		f.BoolVar(&o.verbose, "v", false, "log each look-up, with its address")
		f.StringVar(&o.print, "print-settings", "", "print the settings of a `PROGRAM`: thunderbird, gpgsm or evolution")
		f.StringVar(&o.write, "write-settings", "", "write Thunderbird's settings for all users below `DIR`, such as /etc/thunderbird")
		return func(u *ui, operands []string) (exit, error) {
			if len(operands) > 0 {
				return 0, usageError("no operands are wanted")
			}
			return runLDAP(u, &o)
		}
	},
}

type ldapOptions struct {
	resolverFlags
	listen                   list
	certFile, keyFile, base  string
	dir, dirRoots, casing    string
	ttl                      time.Duration
	world, unverified        bool
	bridge, roots            string
	allowPrivate, revocation bool
	connections, lookups     int
	metrics                  string
	verbose                  bool
	print, write             string
}

func runLDAP(u *ui, o *ldapOptions) (exit, error) {
	if !ldap.IsDN(o.base) {
		return 0, usageError(fmt.Sprintf("-base %s is no distinguished name: want one such as o=smimea", quote(o.base)))
	}
	if o.print != "" || o.write != "" {
		return settings(u, o)
	}
	switch {
	case u.json:
		return 0, usageError("-json is for -print-settings")
	case o.dir == "" && !o.world:
		return 0, usageError("-world=false leaves nothing to look in: add -dir")
	case o.casing != "lower" && o.casing != "exact":
		return 0, usageError(fmt.Sprintf("unknown -case %q: want lower or exact", o.casing))
	case o.ttl < 0 || o.connections < 1 || o.lookups < 1:
		return 0, usageError("-ttl, -connections and -lookups are positive")
	}
	d := &ldapDaemon{u: u, o: o, metrics: newLDAPMetrics()}
	server, err := d.server()
	defer d.close()
	if err != nil {
		return 0, err
	}
	d.metrics.watch(server)
	listeners, err := d.listeners()
	if err != nil {
		return 0, err
	}
	if err := d.serveMetrics(); err != nil {
		return 0, err
	}
	return exitOK, d.serve(server, listeners)
}

// An ldapDaemon is what runs while smimea ldap does.
type ldapDaemon struct {
	u       *ui
	o       *ldapOptions
	metrics *ldapMetrics
	tls     *keyPair // nil without TLS
	closers []func() // the last first
	writing sync.Mutex
}

func (d *ldapDaemon) close() {
	for _, close := range slices.Backward(d.closers) {
		close()
	}
}

// say writes a line of the log; look-ups of several goroutines do.
func (d *ldapDaemon) say(format string, args ...any) {
	d.writing.Lock()
	defer d.writing.Unlock()
	d.u.say(format, args...)
}

// server makes the server with its sources.
func (d *ldapDaemon) server() (*ldap.Server, error) {
	o := d.o
	var sources ldap.Sources
	if o.dir != "" {
		source, err := d.directory()
		if err != nil {
			return nil, err
		}
		sources = append(sources, source)
	}
	if o.world {
		source, err := d.worldSource()
		if err != nil {
			return nil, err
		}
		sources = append(sources, source)
	}
	server := &ldap.Server{
		Source: sources, Base: o.base, Limits: ldap.Limits{Connections: o.connections},
		Searched: d.metrics.searched,
		Failed: func(err error) {
			if o.verbose {
				d.say("a connection failed: %v", err)
			}
			d.metrics.failures.Inc()
		},
	}
	if o.certFile != "" || o.keyFile != "" {
		var err error
		if d.tls, err = newKeyPair(o.certFile, o.keyFile); err != nil {
			return nil, err
		}
		server.TLS = d.tls.config()
	}
	return server, nil
}

func (d *ldapDaemon) directory() (ldap.Source, error) {
	roots, err := readRoots(d.u, d.o.dirRoots)
	if err != nil {
		return nil, err
	}
	o := d.o
	source, err := directory.Open(directory.Options{
		Dir: o.dir, Roots: roots, Margin: o.ttl, Exact: o.casing == "exact",
		Remarked: d.remarked,
		Failed:   func(err error) { d.say("%v", err) },
		OtherCase: func(a smimea.Address) {
			d.say("%s is in %s in another case only, and not found: -case lower would find it", d.name(a), o.dir)
		},
	})
	if err != nil {
		return nil, fail(exitNoInput, err)
	}
	d.closers = append(d.closers, source.Close)
	d.say("%d certificates in %s", source.Published(), d.o.dir)
	return source, nil
}

// remarked logs what there is to say of a file.
func (d *ldapDaemon) remarked(r certdir.Remark) {
	what := r.Path
	if r.More > 0 {
		what = fmt.Sprintf("%d more", r.More)
	}
	switch r.Kind {
	case certdir.Gone:
		d.say("%s: gone, and not handed out any more", what)
	case certdir.Restored:
		d.say("%s: all right again", what)
	case certdir.Kept:
		d.say("%s: what it held before is kept: %v", what, r.Refusal)
	case certdir.Secret:
		d.say("%s, which nobody is given, lies beside the certificates: %v", what, r.Refusal)
	default:
		d.say("%s is left out: %v", what, r.Refusal)
	}
}

func (d *ldapDaemon) worldSource() (ldap.Source, error) {
	o := d.o
	options := world.Options{
		Client:     &discover.Client{AllowPrivate: o.allowPrivate, Revocation: o.revocation},
		Unverified: o.unverified, Time: o.timeout, Lookups: o.lookups,
		Looked: d.looked,
		Unbridged: func(a smimea.Address, err error) {
			d.say("a certificate of %s is not bridged: %v", d.name(a), err)
		},
	}
	var err error
	if options.Client.Resolver, err = o.resolver(); err != nil {
		return nil, err
	}
	roots, err := readRoots(d.u, o.roots)
	if err != nil {
		return nil, err
	}
	options.Client.Roots = roots.Pool()
	if o.bridge != "" {
		if options.Bridge, err = bridge.Open(o.bridge); err != nil {
			return nil, fail(exitCannotWrite, err)
		}
		root := filepath.Join(o.bridge, bridge.RootFile)
		d.say("the bridge's root, to be installed in mail programs, is %s", root)
		if end := options.Bridge.Ends(); time.Until(end) < 30*24*time.Hour {
			d.u.warn("the bridge's root %s ends on %s, and nothing is bridged then: remove it and its key in time to make a new one, and install that", root, end.Format(time.DateOnly))
		}
	}
	source := world.New(options)
	d.closers = append(d.closers, source.Close)
	return source, nil
}

// name is what an address is called in the log.
func (d *ldapDaemon) name(a smimea.Address) string {
	if d.o.verbose {
		return a.String()
	}
	return "somebody at " + a.Domain
}

// looked logs a look-up. Without -v only what failed is told, and not what it
// says: the names of TXT records have the address in them.
func (d *ldapDaemon) looked(l world.Lookup) {
	d.metrics.looked(l)
	switch {
	case d.o.verbose:
		d.say("%s: %s: %s (%v)", l.Address, l.Verdict, l.Why, l.Took.Round(time.Millisecond))
	case l.Verdict == discover.Unknown || l.Verdict == discover.Wrong:
		d.say("looking up %s: %s; -v says why", d.name(l.Address), l.Verdict)
	}
	if l.Suggestion != "" {
		found := "it in lower case"
		if d.o.verbose {
			found = l.Suggestion
		}
		d.say("%s has no certificate, but %s has: the mail program asks in another case", d.name(l.Address), found)
	}
}

// serve answers until a signal comes.
func (d *ldapDaemon) serve(server *ldap.Server, listeners []listener) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)

	ended := make(chan error, len(listeners))
	for _, l := range listeners {
		serve := server.Serve
		if l.secure {
			serve = server.ServeTLS
		}
		go func() { ended <- serve(l.Listener) }()
		d.say("listening on %s", l.url)
	}
	// Without systemd there is nobody to tell.
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
	status := time.NewTicker(5 * time.Second)
	defer status.Stop()
	told := ""
	var err error
	for err == nil && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-reload:
			d.followTLS(true)
		case <-status.C:
			d.followTLS(false)
			if line := d.metrics.status(server); line != told {
				told = line
				_, _ = daemon.SdNotify(false, "STATUS="+line)
			}
		case err = <-ended:
			ended <- err
		}
	}
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	server.Close()
	for range listeners {
		if e := <-ended; !errors.Is(e, ldap.ErrClosed) {
			err = e
		}
	}
	d.say("%s", d.metrics.status(server))
	if errors.Is(err, ldap.ErrClosed) {
		err = nil
	}
	return err
}
