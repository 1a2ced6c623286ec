package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	"time"

	"coredns-smimea/discover"
	"coredns-smimea/discover/dnssec"
)

// resolverFlags say whom to ask, and whom to believe.
type resolverFlags struct {
	server  string
	anchor  list
	trustAD bool
	timeout time.Duration
}

func (o *resolverFlags) define(f *flag.FlagSet) {
	f.StringVar(&o.server, "server", "", "`ADDR[:PORT]`, tls://HOST or https://HOST/PATH of the resolver or name server to ask (default the system's resolvers, in turn)")
	f.Var(&o.anchor, "anchor", "`FILE` of DNSKEY or DS records to trust, may be repeated (default the root's keys)")
	f.BoolVar(&o.trustAD, "trust-ad", false, "believe the server's AD flag, in place of validating; for servers on this machine, tls:// and https:// only")
	durationVar(f, &o.timeout, "timeout", time.Minute, "`DURATION` after which to give up (default 1m)")
}

// context ends with the time-out, or when the user interrupts. A second interrupt ends
// the program, as it does where nobody listens.
func (o *resolverFlags) context() (context.Context, context.CancelFunc) {
	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(interrupted, stop)
	ctx, cancel := context.WithTimeout(interrupted, o.timeout)
	return ctx, func() { cancel(); stop() }
}

func (o *resolverFlags) serverToAsk() (*discover.Server, error) {
	if o.timeout <= 0 {
		return nil, usageError("-timeout 0 leaves no time to ask anybody: want 30s, say")
	}
	if o.server == "" {
		server, err := discover.SystemServer()
		if err != nil {
			return nil, fail(exitTryAgain, err)
		}
		return server, nil
	}
	server, err := discover.ParseServer(o.server)
	if err != nil {
		return nil, fail(exitUsage, err)
	}
	return server, nil
}

func (o *resolverFlags) anchors() (dnssec.Anchors, error) {
	if len(o.anchor) == 0 {
		return dnssec.RootAnchors(), nil
	}
	all := dnssec.Anchors{}
	for _, path := range o.anchor {
		file, err := os.Open(path)
		if err != nil {
			return nil, fail(exitNoInput, err)
		}
		anchors, err := dnssec.ReadAnchors(file)
		file.Close()
		if unread := (*fs.PathError)(nil); errors.As(err, &unread) {
			return nil, fail(exitNoInput, err)
		}
		if err != nil {
			return nil, fail(exitUsage, fmt.Errorf("reading %q: %w", path, err))
		}
		for name, records := range anchors {
			all[name] = append(all[name], records...)
		}
	}
	return all, nil
}

func (o *resolverFlags) resolver() (discover.Resolver, error) {
	server, err := o.serverToAsk()
	if err != nil {
		return nil, err
	}
	if o.trustAD {
		resolver, err := discover.TrustAD(server)
		if err != nil {
			return nil, fail(exitUsage, err)
		}
		return resolver, nil
	}
	anchors, err := o.anchors()
	if err != nil {
		return nil, err
	}
	return &dnssec.Validator{Exchange: server.Exchange, Anchors: anchors}, nil
}
