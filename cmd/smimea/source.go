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
)

// A sourceFile is one certificate file that was read.
type sourceFile struct {
	path    string                  // with slashes, below the directory; the name of a file
	cert    *certsource.Certificate // nil if it cannot be published
	refusal *certsource.Refusal     // why
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
	o.Dir, o.MaxWithdraw = dir, 100
	_, err := directory.New(o).Look(context.Background(), s.now, func(c directory.Change) {
		f := sourceFile{path: c.Path, refusal: c.Refusal}
		if c.New.Published() {
			f.cert, f.refusal = c.Certificate, nil
		}
		found(f)
	})
	if err != nil {
		return fail(exitNoInput, err)
	}
	return nil
}

// readFile judges one file as those of a directory are judged.
func (s *source) readFile(name string) sourceFile {
	f := sourceFile{path: filepath.Base(name)}
	data, err := readRegular(name)
	if err == nil {
		f.cert, err = certsource.Parse(data)
	}
	if err == nil && s.Roots != nil {
		err = f.cert.Chains(s.Roots, s.now)
	}
	if err == nil && !s.now.Before(f.cert.NotAfter.Add(-s.Margin)) {
		err = &certsource.Refusal{Reason: certsource.Expired}
	}
	if err != nil {
		f.cert = nil
		if !errors.As(err, &f.refusal) {
			f.refusal = &certsource.Refusal{Reason: certsource.Unreadable, Detail: unreadable(err)}
		}
	}
	return f
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
