package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const defaultListen = "ldap://127.0.0.1:3890"

// A listener is where smimea ldap listens.
type listener struct {
	net.Listener
	url    string
	secure bool // its connections begin with TLS
}

// listeners opens those of -listen, or takes those that systemd has opened: of these the
// ones named ldaps begin with TLS.
func (d *ldapDaemon) listeners() ([]listener, error) {
	var all []listener
	for _, f := range activation.Files(true) {
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return nil, fail(exitNoInput, fmt.Errorf("the socket %q that systemd has opened cannot be listened on (%w): want ListenStream in its unit, and no Accept", f.Name(), err))
		}
		scheme := "ldap"
		if f.Name() == "ldaps" {
			scheme = "ldaps"
		}
		all = append(all, listener{l, scheme + "://" + l.Addr().String(), scheme == "ldaps"})
	}
	if len(all) > 0 && len(d.o.listen) > 0 {
		return nil, usageError("systemd has opened sockets already: leave -listen away")
	}
	if len(all) == 0 {
		if len(d.o.listen) == 0 {
			d.o.listen = list{defaultListen}
		}
		for _, text := range d.o.listen {
			l, err := listen(text)
			if err != nil {
				return nil, err
			}
			all = append(all, l)
		}
	}
	for _, l := range all {
		if l.secure && d.tls == nil {
			return nil, usageError("ldaps needs -tls-cert and -tls-key")
		}
		if address, err := netip.ParseAddrPort(l.Addr().String()); err == nil && !address.Addr().IsLoopback() && d.tls == nil {
			d.u.warn("%s is reached from elsewhere, without TLS: who is on the way sees whom your users write to, and can exchange certificates", l.url)
		}
	}
	return all, nil
}

func listen(text string) (listener, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "ldap" && u.Scheme != "ldaps" || u.Host == "" || u.Path != "" && u.Path != "/" {
		return listener{}, usageError(fmt.Sprintf("-listen %s: want ldap://HOST:PORT or ldaps://HOST:PORT", quote(text)))
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"ldap": "389", "ldaps": "636"}[u.Scheme]
	}
	l, err := net.Listen("tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return listener{}, fail(exitNoInput, fmt.Errorf("-listen %s: %w", quote(text), err))
	}
	return listener{l, u.Scheme + "://" + l.Addr().String(), u.Scheme == "ldaps"}, nil
}

// serveMetrics serves them, if -metrics says where.
func (d *ldapDaemon) serveMetrics() error {
	if d.o.metrics == "" {
		return nil
	}
	l, err := net.Listen("tcp", d.o.metrics)
	if err != nil {
		return fail(exitNoInput, fmt.Errorf("-metrics: %w", err))
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(d.metrics.registry, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			d.say("metrics: %v", err)
		}
	}()
	d.closers = append(d.closers, func() { server.Close(); <-done })
	d.say("metrics are at http://%s/metrics", l.Addr())
	return nil
}
