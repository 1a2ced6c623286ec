package plugin

import (
	"errors"
	"fmt"
	"io/fs"

	"coredns-smimea/certsource"
	"coredns-smimea/internal/disk"
)

// A mistake is an error that says where in the Corefile its reason stands.
type mistake struct {
	where string // file and line
	err   error
}

func (m mistake) Error() string { return m.where + " - " + m.err.Error() }
func (m mistake) Unwrap() error { return m.err }

// remedied adds to the error of a file that cannot be read what to do about it. What says
// which file is wanted.
func remedied(err error, what string) error {
	remedy := "name "
	switch {
	case errors.Is(err, fs.ErrNotExist):
		remedy = "create it, or name "
	case errors.Is(err, fs.ErrPermission):
		remedy = "let the server read it, or name "
	}
	return fmt.Errorf("%w: %s%s", err, remedy, what)
}

// readFile reads a file that an option names.
func readFile(file, what string) ([]byte, error) {
	data, err := disk.ReadFile(file, disk.MaxSettings)
	if err != nil {
		return nil, remedied(err, what)
	}
	return data, nil
}

// readAuthorities reads a file of certificates, and logs what of it is not used. What says
// whose certificates are wanted.
func readAuthorities(option, file, what string, into interface {
	Read(data []byte) (used int, unused []certsource.Unused)
}) (data []byte, err error) {
	what = "a file of the certificates of " + what
	if data, err = readFile(file, what); err != nil {
		return nil, err
	}
	used, unused := into.Read(data)
	if used == 0 {
		why := ""
		if len(unused) > 0 {
			why = " (" + certsource.Unuseds(unused) + ")"
		}
		return nil, fmt.Errorf("%q has no certificate that can be used%s: name %s", file, why, what)
	}
	for _, u := range unused {
		log.Warningf("%s: of %q not used: %s", option, file, u)
	}
	return data, nil
}
