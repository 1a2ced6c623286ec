package plugin

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/certsource/directory"
	"coredns-smimea/plugin/internal/certhost"
	"coredns-smimea/plugin/internal/publish"
	"coredns-smimea/smimea"
	"coredns-smimea/smimea/zone"
)

// hostConfig is what a block says of the HTTPS host.
type hostConfig struct {
	https, http string // addresses, or none
	cert, key   string // files
	acme        certhost.ACME
	dns01       bool
	chain       *certsource.Issuers // for what files lack
}

// serves reports whether anything is to be given out.
func (h *hostConfig) serves() bool { return h.https != "" || h.http != "" }

// checkHost looks at what the host's options say together, and completes them.
func (c *config) checkHost() error {
	h := &c.host
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
	for _, option := range optionNames() {
		if c.lines[option] != "" && strings.HasPrefix(option, "acme_") && !acme {
			return c.at(option, errors.New("it is for acme: add acme DOMAIN"))
		}
	}
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

// challenges are the answers to DNS-01 challenges that are waited for.
var challenges certhost.Challenges

// host opens what the block wants to be served over HTTPS and HTTP.
func (s *SMIMEA) host(places []*zone.Place) error {
	h := &s.config.host
	var domains []string
	for _, p := range places {
		if !slices.Contains(domains, p.Domain) {
			domains = append(domains, p.Domain)
		}
	}
	hosts := s.config.hosts(domains)
	open := func(address string, tls *certhost.TLS) error {
		lease, err := certhost.Acquire(certhost.Config{
			Address: address, Domains: domains, Hosts: hosts, Owner: s.instance, TLS: tls, Log: log, Metrics: hostMetrics{},
		})
		if err != nil {
			return err
		}
		s.leases = append(s.leases, lease)
		lease.Publish(files{s.lease, s.config.published.Dir, s.config.published.TTL, h.chain})
		log.Infof("Giving out certificates of %s on %s", strings.Join(domains, ", "), lease.Addr())
		return nil
	}
	if h.http != "" {
		if err := open(h.http, nil); err != nil {
			return s.config.at("http", err)
		}
	}
	if h.https == "" {
		return nil
	}
	tls := &certhost.TLS{CertFile: h.cert, KeyFile: h.key}
	switch {
	case len(h.acme.Domains) > 0:
		acme := h.acme
		if h.dns01 {
			acme.Challenges = &challenges
		}
		tls.ACME = &acme
		countACME()
	case h.cert != "":
	case s.server.TLSConfig != nil:
		tls.Config = s.server.TLSConfig
	default:
		return s.config.at("https", errors.New("it needs a TLS certificate: add tls CERT KEY or acme DOMAIN here, or the directive tls to the block"))
	}
	if err := open(h.https, tls); err != nil {
		return s.config.at("https", err)
	}
	return nil
}

// hosts returns the hosts of our URLs that are not mail domains, such as
// certs.example.net for all of them.
func (c *config) hosts(domains []string) []string {
	var hosts []string
	for _, domain := range domains {
		u, err := url.Parse(c.published.URL.Expand(domain, "a", strings.Repeat("0", 56)))
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

// files gives the host what the snapshot of the moment publishes. It implements
// certhost.Files.
type files struct {
	*publish.Lease
	dir string
	ttl time.Duration
	// issuers are what chains lead over beside what stands in the files.
	issuers *certsource.Issuers
}

func (f files) File(domain, path string) (certhost.Certificate, error) {
	snap := f.Snapshot()
	if snap == nil {
		return certhost.Certificate{}, certhost.ErrNotFound
	}
	file, _ := snap.Files.Get(path)
	var all []found
	for _, cert := range file.Live() {
		if slices.ContainsFunc(cert.Addresses, func(text string) bool { return isOf(text, domain) }) {
			all = append(all, found{f.reader(path), path, file.Modified, file.Version(), cert, false})
		}
	}
	if len(all) == 0 {
		return certhost.Certificate{}, certhost.ErrNotFound
	}
	return f.certificate(slices.MinFunc(all, better)), nil
}

// A reader reads what a file has now, by the digests of the certificates.
type reader func() (map[[32]byte]certsource.Certificate, error)

// A found is a certificate that is published, and where.
type found struct {
	read     reader
	path     string
	modified time.Time
	version  uint64 // of the file
	*directory.Certificate
	bridged bool // the file holds its successor by now
}

// better puts the one to encrypt to first, and of several the one that lasts longest.
func better(a, b found) int {
	switch {
	case a.bridged != b.bridged && b.bridged:
		return -1
	case a.bridged != b.bridged:
		return 1
	case a.Encrypts != b.Encrypts && a.Encrypts:
		return -1
	case a.Encrypts != b.Encrypts:
		return 1
	}
	return cmp.Or(b.NotAfter.Compare(a.NotAfter), strings.Compare(a.path, b.path))
}

// isOf reports whether an address as certified is one of a mail domain.
func isOf(text, domain string) bool {
	if anothers(text, domain) {
		return false
	}
	a, err := smimea.ParseAddress(text)
	return err == nil && a.Domain == domain
}

// anothers reports whether an address is at first sight one of another domain: to
// parse many would take longer than to find no file at all, which could be seen.
func anothers(address, domain string) bool {
	its := strings.ToLower(address[strings.LastIndexByte(address, '@')+1:])
	return its != domain && strings.Trim(its, "abcdefghijklmnopqrstuvwxyz0123456789-.") == "" && !strings.HasSuffix(its, ".")
}

func (f files) ByHash(domain string, hash [28]byte) ([]certhost.Certificate, error) {
	snap := f.Snapshot()
	if snap == nil {
		return nil, certhost.ErrNotFound
	}
	// Each file is looked up once, and each certificate taken once, by however many
	// records and files it is published.
	var all, bridged []found
	seen, paths, digests := map[uint32]bool{}, map[string]bool{}, map[[32]byte]bool{}
	for _, i := range f.ZonesOf(domain) {
		if snap.Zones[i] == nil {
			continue
		}
		for id := range snap.Zones[i].Files(hash) {
			seen[id] = true
		}
	}
	for id := range seen {
		if b, ok := snap.Bridged(id); ok {
			one := &directory.Certificate{ID: id, Digest: b.Digest, NotAfter: b.NotAfter, Encrypts: b.Encrypts}
			if _, held := f.Octets().Get(b.Digest); held {
				bridged = append(bridged, found{nothing, b.Path, b.Modified, 0, one, true})
			}
			continue
		}
		path, ok := snap.Files.Path(id)
		if !ok || paths[path] {
			continue
		}
		paths[path] = true
		file, _ := snap.Files.Get(path)
		read := f.reader(path)
		for _, cert := range file.Live() {
			if seen[cert.ID] {
				all = append(all, found{read, path, file.Modified, file.Version(), cert, false})
			}
		}
	}
	slices.SortFunc(all, better)
	slices.SortFunc(bridged, better)
	var list []certhost.Certificate
	for _, one := range append(all, bridged...) {
		if !digests[one.Digest] {
			digests[one.Digest] = true
			list = append(list, f.certificate(one))
		}
	}
	if len(list) == 0 {
		return nil, certhost.ErrNotFound
	}
	return list, nil
}

// reader returns what reads a file, once.
func (f files) reader(path string) reader {
	return sync.OnceValues(func() (map[[32]byte]certsource.Certificate, error) {
		certs, err := directory.ReadFile(f.dir, path)
		if err != nil {
			return nil, err
		}
		all := map[[32]byte]certsource.Certificate{}
		for _, cert := range certs {
			all[sha256.Sum256(cert.Raw)] = cert
		}
		return all, nil
	})
}

// nothing is the reader of what no file has any more.
func nothing() (map[[32]byte]certsource.Certificate, error) { return nil, nil }

func (f files) certificate(one found) certhost.Certificate {
	version := one.version
	if version != 0 {
		version += f.issuers.Sum()
	}
	return certhost.Certificate{
		Digest:   one.Digest,
		NotAfter: one.NotAfter,
		Modified: one.modified,
		TTL:      f.ttl,
		DER: func() ([]byte, error) {
			all, err := one.read()
			if cert, ok := all[one.Digest]; ok {
				return cert.Raw, nil
			}
			// It is torn, or holds another one by now, and is published all the same.
			if der, ok := f.Octets().Get(one.Digest); ok {
				return der, nil
			}
			return nil, cmp.Or(err, errNotPublished)
		},
		Chain: func(der []byte) [][]byte {
			all, _ := one.read()
			cert, ok := all[one.Digest]
			if !ok {
				cert = certsource.Certificate{Raw: der} // its file has another one by now
			}
			return cert.Chain(f.issuers)
		},
		Version: version,
	}
}

var errNotPublished = errors.New("the file is not the one that was published")
