package plugin

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"coredns-smimea/certsource"
	"coredns-smimea/plugin/internal/certhost"
	"coredns-smimea/smimea"
)

// hostConfig is what a block says of the HTTPS host.
type hostConfig struct {
	https, http string // addresses, or none
	cert, key   string // files
	acme        certhost.ACME
	dns01       bool
	chain       *certsource.Issuers // for what files lack
	issuers     [][]byte            // in it, in DER
	issuersFrom []string            // its files and their digests
}

// serves reports whether anything is to be given out.
func (h *hostConfig) serves() bool { return h.https != "" || h.http != "" }

// check looks at what the host's options say together, and completes them. C is the
// config that they are in.
func (h *hostConfig) check(c *config) error {
	acme := len(h.acme.Domains) > 0
	switch {
	case h.https == "" && h.cert != "":
		return c.at("tls", errors.New("it is for https: add the option https"))
	case h.https == "" && acme:
		return c.at("acme", errors.New("it is for https: add the option https"))
	case h.chain != nil && !h.serves():
		return c.at("chain", errors.New("it is for what is given out over https: add the option https or http"))
	case h.cert != "" && acme:
		return c.at("acme", errors.New("there is tls, too, and one certificate is enough: leave out one of them"))
	case acme && h.acme.Storage == "":
		h.acme.Storage = filepath.Join(c.root, ".coredns", "acme")
	}
	if c.published.Lists.On() {
		c.published.Issuers = append(c.published.Issuers, h.issuers...)
		c.published.IssuersFrom = h.issuersFrom
	}
	for _, option := range optionNames() {
		if c.lines[option] != "" && strings.HasPrefix(option, "acme_") && !acme {
			return c.at(option, errors.New("it is for acme: add acme DOMAIN"))
		}
	}
	return nil
}

// addChain reads certificates of intermediate authorities.
func (h *hostConfig) addChain(file string) error {
	if h.chain == nil {
		h.chain = new(certsource.Issuers)
	}
	data, err := readAuthorities("chain", file, "intermediate authorities, which issued those of the users", h.chain)
	if err != nil {
		return err
	}
	certs, _ := certsource.ReadAll(data)
	h.issuers = append(h.issuers, certs...)
	h.issuersFrom = append(h.issuersFrom, version(file, data))
	return nil
}

// trustCA reads certificates of authorities by which the HTTPS of the ACME directory is
// trusted, beside the system's.
func (h *hostConfig) trustCA(file string) error {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	data, err := readAuthorities("acme_root", file, "authorities", certsource.RootsIn(pool))
	if err != nil {
		return err
	}
	h.acme.Roots, h.acme.RootsFrom = pool, version(file, data)
	return nil
}

// listenAddress completes an address: a port alone is one of host, or of all
// addresses if that is empty, a host alone gets the port.
func listenAddress(s, host, port string) (string, error) {
	h, p, err := net.SplitHostPort(s)
	if err != nil {
		if _, number := strconv.Atoi(s); number == nil {
			p = s
		} else {
			h, p = strings.Trim(s, "[]"), port
		}
	}
	if h == "" {
		h = host
	}
	if n, err := net.LookupPort("tcp", p); p == "" || err != nil || n < 0 {
		return "", fmt.Errorf("%q has no port from 1 to 65535: write HOST:PORT, or :PORT", s)
	}
	return net.JoinHostPort(h, p), nil
}

// hostsOf returns the hosts of a template's URLs that are not mail domains, such as
// certs.example.net for all of them.
func hostsOf(template smimea.URLTemplate, domains []string) []string {
	var hosts []string
	for _, domain := range domains {
		u, err := url.Parse(template.Expand(domain, "a", strings.Repeat("0", 2*smimea.HashSize)))
		if err != nil || !strings.HasPrefix(u.Path, certhost.Root) {
			continue // somebody else's
		}
		host := strings.ToLower(u.Hostname())
		if strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-.") == "" && !slices.Contains(domains, host) && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// challenges are the answers to DNS-01 challenges that are waited for.
var challenges certhost.Challenges
