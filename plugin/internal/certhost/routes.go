package certhost

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
)

// routes are what one listener serves at a moment, by the names that clients ask for.
// They are never modified; a change of the published leases stores new ones.
type routes struct {
	plain   bool                // the listener speaks HTTP without TLS
	domains map[string]*Lease   // by mail domain
	hosts   map[string][]*Lease // by other host name, newest first, of one owner
	servers map[string]*Lease   // by name in the handshake: all of these, and ACME's wildcards
	newest  *Lease              // for a handshake without a name, or with an unknown one
	log     Logger
	metrics Metrics
}

var errNoCertificate = errors.New("no certificate for the name in the handshake")

// newRoutes returns the routes to published leases, oldest first: a newer one
// takes over the names it shares with an older.
func newRoutes(leases []*Lease) *routes {
	t := &routes{
		domains: map[string]*Lease{}, hosts: map[string][]*Lease{}, servers: map[string]*Lease{},
		log: silent{}, metrics: silent{},
	}
	for _, lease := range leases {
		for name := range lease.domains {
			t.domains[name] = lease
		}
		for _, name := range lease.config.Hosts {
			others := t.hosts[name]
			if len(others) > 0 && others[0].config.Owner != lease.config.Owner {
				others = nil // those of the Corefile before this one
			}
			t.hosts[name] = append([]*Lease{lease}, others...)
		}
		for _, name := range lease.names() {
			t.servers[name] = lease
		}
		t.newest, t.plain = lease, lease.config.TLS == nil
		t.log, t.metrics = lease.config.Log, lease.config.Metrics
	}
	return t
}

// A site is what a Host header names: a mail domain of one lease, or a host
// name that stands for all mail domains of some leases.
type site struct {
	domain string // empty for such a host name
	lease  *Lease
	others []*Lease
}

func (t *routes) site(host string) (site, bool) {
	// Most clients send the name as it is compared.
	if lease := t.domains[host]; lease != nil {
		return site{domain: host, lease: lease}, true
	}
	name, ok := hostName(host)
	if !ok {
		return site{}, false
	}
	if lease := t.domains[name]; lease != nil {
		return site{domain: name, lease: lease}, true
	}
	leases := t.hosts[name]
	return site{others: leases}, len(leases) > 0
}

// sole returns the only mail domain there is, if there is just one.
func (t *routes) sole() (site, bool) {
	if len(t.domains) != 1 {
		return site{}, false
	}
	for domain, lease := range t.domains {
		return site{domain: domain, lease: lease}, true
	}
	return site{}, false
}

// in returns the lease that serves domain on this site.
func (s site) in(domain string) *Lease {
	if s.lease != nil && s.lease.domains[domain] {
		return s.lease
	}
	for _, lease := range s.others {
		if lease.domains[domain] {
			return lease
		}
	}
	return nil
}

// file finds a file under the mail domain, or under any that the site stands for.
func (s site) file(path string) (Certificate, error) {
	if s.lease != nil {
		return s.lease.current().File(s.domain, path)
	}
	for _, lease := range s.others {
		files := lease.current()
		for _, domain := range lease.config.Domains {
			if certificate, err := files.File(domain, path); err == nil {
				return certificate, nil
			}
		}
	}
	return Certificate{}, ErrNotFound
}

// tls chooses the configuration for a handshake.
func (t *routes) tls(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	lease := t.newest
	if hello.ServerName != "" {
		name, ok := hostName(hello.ServerName)
		if !ok {
			return nil, fmt.Errorf("%w: %q is no host name", errNoCertificate, hello.ServerName)
		}
		if named := t.servers[name]; named != nil {
			lease = named
		} else if _, parent, ok := strings.Cut(name, "."); ok && t.servers["*."+parent] != nil {
			lease = t.servers["*."+parent]
		}
	}
	if lease == nil || lease.source == nil {
		return nil, errNoCertificate
	}
	return lease.source.config(len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == acmeProtocol)
}
