package certhost

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
)

// registry is the process's listeners. One lock guards it, the leases of each
// host and the shared sources; requests and handshakes do not take it.
var registry = struct {
	sync.Mutex
	hosts   map[string]*host
	sources map[sourceKey]*shared
}{hosts: map[string]*host{}, sources: map[sourceKey]*shared{}}

// A Lease is one user's part of a listener.
type Lease struct {
	config  Config
	domains map[string]bool // of config.Domains
	host    *host
	source  source // nil for plain HTTP
	release func() // of the source

	published atomic.Pointer[Files] // nil until Publish
	active    bool                  // in the routes, its ACME names managed; guarded by the registry
	released  bool                  // guarded by the registry
}

// Acquire checks a configuration, opens the listener if its address has none
// yet, and reads certificate files. Clients see nothing of it before
// [Lease.Publish]. An error leaves nothing behind.
func Acquire(config Config) (*Lease, error) {
	config, err := config.normalized()
	if err != nil {
		return nil, err
	}
	key, err := addressKey(config.Address)
	if err != nil {
		return nil, err
	}
	registry.Lock()
	defer registry.Unlock()
	h := registry.hosts[key]
	if h != nil {
		if err := h.admits(&config); err != nil {
			return nil, err
		}
	} else if h, err = listen(key, &config); err != nil {
		return nil, err
	}
	lease := &Lease{config: config, domains: map[string]bool{}, host: h, release: func() {}}
	for _, domain := range config.Domains {
		lease.domains[domain] = true
	}
	if config.TLS != nil {
		if lease.source, lease.release, err = acquireSource(&config, h.listener.Addr()); err != nil {
			if len(h.leases) == 0 {
				h.close()
			}
			return nil, err
		}
	}
	registry.hosts[key] = h
	h.leases = append(h.leases, lease)
	return lease, nil
}

// admits reports what in config contradicts a lease of the same owner.
func (h *host) admits(config *Config) error {
	for _, other := range h.leases {
		if other.config.Owner != config.Owner {
			continue
		}
		if (other.config.TLS == nil) != (config.TLS == nil) {
			return fmt.Errorf("%s is used with TLS and without it: give one of them another port", config.Address)
		}
		for _, domain := range config.Domains {
			if other.domains[domain] {
				return fmt.Errorf("mail domain %s is served twice on %s: let one block serve it, or give the other another port", domain, config.Address)
			}
		}
	}
	return nil
}

// addressKey makes spellings of one address equal.
func addressKey(address string) (string, error) {
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return "", fmt.Errorf("resolving listen address %q: %w", address, err)
	}
	if len(a.IP) == 0 || a.IP.IsUnspecified() && a.IP.To4() == nil {
		return fmt.Sprintf(":%d", a.Port), nil // "" and "::" listen alike
	}
	return a.String(), nil
}

// Addr is where the listener listens, with the port that the kernel chose if
// it was asked to.
func (l *Lease) Addr() net.Addr { return l.host.listener.Addr() }

// Publish makes files what the lease's domains serve, from the next request
// on. The first call makes the domains known and starts ACME for them, in the
// background; later ones are an atomic store. After Release it does nothing.
func (l *Lease) Publish(files Files) {
	if l.published.Swap(&files) != nil {
		return
	}
	registry.Lock()
	defer registry.Unlock()
	if l.released || l.active {
		return
	}
	l.active = true
	if l.source != nil {
		l.source.activate(&l.config) // before handshakes can choose it
	}
	l.host.update()
}

// current is what is published. It is called on leases in the routes only, and
// these are published.
func (l *Lease) current() Files { return *l.published.Load() }

// names are those that a client may put into its handshake.
func (l *Lease) names() []string {
	names := slices.Concat(l.config.Domains, l.config.Hosts)
	if l.config.TLS != nil && l.config.TLS.ACME != nil {
		names = append(names, l.config.TLS.ACME.Domains...)
	}
	return names
}

// Release gives the lease back; further calls do nothing. With the last lease
// of an address its listener closes: requests in progress get a few seconds to
// finish, and the port is free when Release returns.
func (l *Lease) Release() {
	registry.Lock()
	if l.released {
		registry.Unlock()
		return
	}
	l.released = true
	h := l.host
	h.leases = slices.DeleteFunc(h.leases, func(other *Lease) bool { return other == l })
	last := len(h.leases) == 0
	if last {
		delete(registry.hosts, h.key)
		h.listener.Close() // so that an Acquire during the wait below finds the port free
	} else {
		h.update()
	}
	if l.source != nil && l.active {
		l.source.deactivate(&l.config)
	}
	l.release()
	registry.Unlock()
	if last {
		h.close()
	}
}

// ReleaseOthers releases all leases of the process but those of owner. It is
// for the instance that stays when a reload has failed: the one that failed is
// never told, and would keep its leases.
func ReleaseOthers(owner any) {
	var leases []*Lease
	registry.Lock()
	for _, h := range registry.hosts {
		for _, lease := range h.leases {
			if lease.config.Owner != owner {
				leases = append(leases, lease)
			}
		}
	}
	registry.Unlock()
	for _, lease := range leases {
		lease.Release()
	}
}

// update is called with the registry's lock held.
func (h *host) update() {
	published := make([]*Lease, 0, len(h.leases))
	for _, lease := range h.leases {
		if lease.active {
			published = append(published, lease)
		}
	}
	h.routes.Store(newRoutes(published))
}
