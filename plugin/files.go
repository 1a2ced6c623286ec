package plugin

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/certsource/directory"
	"coredns-smimea/plugin/internal/certhost"
	"coredns-smimea/plugin/internal/publish"
	"coredns-smimea/smimea"
)

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
