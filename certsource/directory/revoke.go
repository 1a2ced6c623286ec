package directory

import (
	"time"

	"coredns-smimea/certsource/revocation"
)

// Revoke has certificates judged by other lists from the next look on. It reads no file,
// and makes nothing known.
func (d *Directory) Revoke(by *revocation.Set) { d.options.Revoked, d.cleared = by, nil }

// Concerned returns the paths of the files that other lists say something else of than
// what is known, and how many certificates that are published they would withdraw. It
// takes a pass over all files, and reads none.
func (d *Directory) Concerned(by *revocation.Set) (paths []string, withdrawn int) {
	for path, record := range d.Files().table.All() {
		concerned := false
		for c := range recordCertificates(record) {
			if revoked := by.Concerns(c.issued); revoked != c.revoked && (c.revoked || !c.ended) {
				concerned = true
				if revoked && recordPublished(record) {
					withdrawn++
				}
			}
		}
		if concerned {
			paths = append(paths, string(path))
		}
	}
	return paths, withdrawn
}

// Names reports whether a list names a certificate, by what it is known by, and it is not
// known that this list is another issuer's.
func (d *Directory) Names(issued revocation.ID) bool {
	return d.options.Revoked.Concerns(issued) && !d.cleared[issued]
}

// Revoked returns the number of certificates that are not published because they are
// revoked.
func (d *Directory) Revoked() int { return d.revocations }

// Confirmed reports whether the operator has touched [ConfirmFile] since a time.
func (d *Directory) Confirmed(since time.Time) bool {
	root, err := d.options.System.Open(d.options.Dir)
	if err != nil {
		return false
	}
	defer root.Close()
	info, err := root.Stat(ConfirmFile)
	return err == nil && !info.ModTime().Before(since)
}
