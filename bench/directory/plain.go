package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
)

// plainLoop is what a cold load is compared with: it reads all files below a
// directory, decodes and parses them and hashes their keys, with all processors,
// and keeps nothing.
func plainLoop(dir string) (n int, err error) {
	paths := make(chan []string, 16)
	var count atomic.Int64
	var workers sync.WaitGroup
	errs := make([]error, runtime.GOMAXPROCS(0))
	for w := range errs {
		workers.Go(func() {
			for batch := range paths {
				for _, path := range batch {
					if err := plainFile(path); err != nil {
						errs[w] = err
						continue
					}
					count.Add(1)
				}
			}
		})
	}
	var batch []string
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if batch = append(batch, path); len(batch) == 200 {
			paths <- batch
			batch = nil
		}
		return nil
	})
	paths <- batch
	close(paths)
	workers.Wait()
	for _, failed := range errs {
		if err == nil {
			err = failed
		}
	}
	return int(count.Load()), err
}

// sums keeps the compiler from leaving the digest out.
var sums atomic.Uint64

func plainFile(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return fmt.Errorf("%s is not PEM", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	sums.Add(uint64(sum[0]))
	return nil
}
