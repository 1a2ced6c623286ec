package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"coredns-smimea/certsource"
)

// A sourceFile is one certificate file that was read.
type sourceFile struct {
	path string // with slashes, below the directory; as given for a file
	cert *certsource.Certificate
	err  error // why cert is nil
}

// workers read files at once: enough for one to wait for the disk while others
// parse, and the order of a small machine's cores.
const workers = 2

// readSources reads the certificate files of the operands: directories at any
// depth, and files by whatever name. Files are sorted by path. An error is of a
// directory; a bad file is in the result.
func readSources(u *ui, operands []string) ([]sourceFile, error) {
	type job struct{ full, path string }
	var jobs []job
	for _, operand := range operands {
		stat, err := os.Stat(operand)
		if err != nil {
			return nil, fail(exitNoInput, err)
		}
		if !stat.IsDir() {
			jobs = append(jobs, job{operand, filepath.Base(operand)})
			continue
		}
		err = walk(operand, func(path string) {
			jobs = append(jobs, job{filepath.Join(operand, filepath.FromSlash(path)), path})
		})
		if err != nil {
			return nil, fail(exitNoInput, fmt.Errorf("reading the directory: %w", err))
		}
	}
	slices.SortStableFunc(jobs, func(a, b job) int { return strings.Compare(a.path, b.path) })

	files := make([]sourceFile, len(jobs))
	var next, done atomic.Int64
	var wait sync.WaitGroup
	for range workers - 1 {
		wait.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(jobs); i = next.Add(1) - 1 {
				files[i] = readSource(jobs[i].full, jobs[i].path)
				done.Add(1)
			}
		})
	}
	p := u.progress("reading certificates")
	for i := next.Add(1) - 1; int(i) < len(jobs); i = next.Add(1) - 1 {
		files[i] = readSource(jobs[i].full, jobs[i].path)
		p.at(int(done.Add(1)), len(jobs))
	}
	wait.Wait()
	p.end()
	return files, nil
}

// walk calls found for each certificate file below dir, with its path below it.
// Names that start with a dot are left out, and with them the ..data folders
// of Kubernetes mounts, whose files are seen through the links beside them.
func walk(dir string, found func(path string)) error {
	// The trailing slash has a dir that is a link followed.
	root := os.DirFS(dir + "/")
	return fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path != "." && strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
		case d.IsDir():
		case certsource.IsCertificateName(d.Name()):
			found(path)
		}
		return nil
	})
}

func readSource(full, path string) sourceFile {
	file, err := os.Open(full)
	if err != nil {
		return sourceFile{path: path, err: unreadable(err)}
	}
	defer file.Close()
	if stat, err := file.Stat(); err != nil || !stat.Mode().IsRegular() {
		return sourceFile{path: path, err: unreadable(err)}
	}
	data, err := io.ReadAll(io.LimitReader(file, certsource.MaxFileSize+1))
	if err != nil {
		return sourceFile{path: path, err: unreadable(err)}
	}
	cert, err := certsource.Parse(data)
	return sourceFile{path: path, cert: cert, err: err}
}

func unreadable(err error) error {
	detail := "not a regular file"
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		detail = pathErr.Err.Error()
	}
	return &certsource.Refusal{Reason: certsource.Unreadable, Detail: detail}
}

// reason returns the refusal's word, for scripts.
func reason(err error) string {
	var refusal *certsource.Refusal
	if errors.As(err, &refusal) {
		return string(refusal.Reason)
	}
	return "other"
}
