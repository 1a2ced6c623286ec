package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/certsource/directory"
	"coredns-smimea/smimea"
)

// A sourceFile is one certificate file that was read.
type sourceFile struct {
	path    string                   // with slashes, below the directory; the name of a file
	certs   []certsource.Certificate // to be published, none if nothing can be
	unused  []certsource.Unused      // what else there is in the file
	refusal *certsource.Refusal      // why nothing can be published
}

// source returns what the publication of one of the file's certificates depends on.
func (f *sourceFile) source(cert *certsource.Certificate) smimea.Source {
	return smimea.Source{Path: f.path, Shared: f.shared(), Encrypts: cert.Encrypts}
}

// shared reports whether the certificates are of several users.
func (f *sourceFile) shared() bool {
	var addresses [][]string
	for _, cert := range f.certs {
		addresses = append(addresses, cert.Addresses)
	}
	return smimea.Shared(addresses...)
}

// A source reads certificate files as the server does.
type source struct {
	directory.Options // Dir is set for each operand
	now               time.Time
	progress          *progress
}

// read passes on each file of the operands: directories at any depth, and files
// by whatever name. The error is of an operand; bad files are passed on.
func (s *source) read(operands []string, found func(sourceFile)) error {
	n := 0
	each := func(f sourceFile) {
		n++
		s.progress.at(n, 0)
		found(f)
	}
	defer s.progress.end()
	for _, operand := range operands {
		stat, err := os.Stat(operand)
		if err != nil {
			return fail(exitNoInput, err)
		}
		if stat.IsDir() {
			err = s.readDirectory(operand, each)
		} else {
			each(s.readFile(operand))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *source) readDirectory(dir string, found func(sourceFile)) error {
	o := s.Options
	o.Dir, o.MaxWithdraw, o.AllRemarks = dir, 100, true
	d := directory.New(o)
	_, err := d.Look(context.Background(), s.now, func(c directory.Change) {
		found(judged(c))
	})
	if err != nil {
		return fail(exitNoInput, err)
	}
	// The changes have all but private keys in files that are not of certificates, and
	// directories that cannot be read.
	for _, r := range d.Remarks() {
		switch {
		case r.Kind != directory.Secret && r.Kind != directory.Locked:
		case r.Kind == directory.Locked:
			found(sourceFile{path: r.Path + "/", refusal: r.Refusal})
		default:
			found(sourceFile{path: r.Path, refusal: r.Refusal})
		}
	}
	return nil
}

// judged is what is published of a file, as the server has it.
func judged(c directory.Change) sourceFile {
	f := sourceFile{path: c.Path, unused: c.Unused, refusal: c.Refusal}
	for i := range c.New.Live() {
		f.certs = append(f.certs, c.Certificates[i])
	}
	if len(f.certs) > 0 {
		f.refusal = nil
	}
	return f
}

// readFile judges one file as those of a directory are judged.
func (s *source) readFile(name string) sourceFile {
	data, err := readRegular(name)
	if err != nil {
		return sourceFile{path: filepath.Base(name), refusal: certsource.Refuse(certsource.Unreadable, unreadable(err))}
	}
	return judged(directory.Judge(filepath.Base(name), data, s.Options, s.now))
}

func readRegular(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if stat, err := file.Stat(); err != nil || !stat.Mode().IsRegular() {
		return nil, errors.Join(errors.New("not a regular file"), err)
	}
	return io.ReadAll(io.LimitReader(file, certsource.MaxFileSize+1))
}

// unreadable is the error without the path, which is printed before it.
func unreadable(err error) string {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err.Error()
	}
	return fmt.Sprint(err)
}
