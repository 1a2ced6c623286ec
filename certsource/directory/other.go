package directory

import (
	"io"
	"io/fs"
	"path"

	"coredns-smimea/certsource"
	"coredns-smimea/internal/disk"
)

// Files whose names are not those of certificates are not looked at, but for one
// thing: a private key among certificates that are published is a mistake, or
// about to become one. Of each such file the beginning is read, once.

const (
	// maxHead is how much of a file is read to know whether it is a private key.
	maxHead = 4 << 10
	// maxOthers is how many other files are remembered, and so read.
	maxOthers = 10_000
)

// other is a file that is not one of certificates.
type other struct {
	path  string
	stamp uint64
	key   string // which kind of private key is in it, "" for none
}

// lookAtOther notes a file that is not one of certificates.
func (r *reader) lookAtOther(b *batch, in disk.Root, name, p string, info fs.FileInfo) {
	if !info.Mode().IsRegular() {
		return
	}
	o := other{path: p, stamp: stamp(info)}
	known, ok := r.others[p]
	switch {
	case ok && known.stamp == o.stamp:
		o.key = known.key
	case isKeyName(path.Base(p)):
		o.key = "by its name"
	case len(r.others) < maxOthers:
		o.key = keyAtHead(in, name)
	}
	b.others = append(b.others, o)
}

// keyAtHead says which kind of private key a file begins with.
func keyAtHead(in disk.Root, name string) string {
	file, err := in.Open(name)
	if err != nil {
		return ""
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	head := make([]byte, maxHead)
	n, err := io.ReadFull(file, head)
	if err != nil && err != io.ErrUnexpectedEOF {
		return ""
	}
	defer clear(head)
	return certsource.PrivateKeyIn(head[:n])
}

// takeOther remembers a file that is not one of certificates.
func (l *look) takeOther(o other) {
	_, twice := l.others[o.path]
	if len(l.others) < maxOthers || o.key != "" {
		l.others[o.path] = o
	}
	if known := l.reader.others[o.path]; o.key != "" && known.key == "" && !twice {
		l.remarks.add(Remark{Kind: Secret, Path: o.path, Refusal: certsource.Refuse(certsource.PrivateKey, o.key)})
	}
}
