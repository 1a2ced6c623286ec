package certhost

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"strconv"
	"sync/atomic"
)

// A body is the bytes of an answer with the headers that depend on nothing
// else, in the form net/http wants them. It is immutable.
type body struct {
	digest [32]byte
	kind   string // media type
	data   []byte
	etag   []string
	length []string
}

// A cache holds recently sent bodies by what they are made of, a digest and a
// media type. Being addressed by content it cannot be stale: what is published
// is decided by [Files] before it is asked. It is a table with two places for
// each remainder, so that it needs no lock and its memory is bounded.
type cache [cachePlaces]atomic.Pointer[body]

const (
	cachePlaces  = 4096
	cacheMaxBody = 8 << 10 // what is larger is rare, and is read each time
)

var errDigest = errors.New("the certificate read is not the one published: its digest differs")

// get returns the body of this digest and kind, made by data if it is not there.
func (c *cache) get(digest [32]byte, kind string, data func() ([]byte, error)) (*body, error) {
	// The kinds differ in length: enough to spread one certificate's forms.
	n := binary.LittleEndian.Uint64(digest[:])%cachePlaces ^ uint64(len(kind))<<1
	first, second := &c[n%cachePlaces], &c[(n^1)%cachePlaces]
	for _, place := range [...]*atomic.Pointer[body]{first, second} {
		if b := place.Load(); b != nil && b.digest == digest && b.kind == kind {
			return b, nil
		}
	}
	read, err := data()
	if err != nil {
		return nil, err
	}
	b := newBody(digest, kind, read)
	if len(read) <= cacheMaxBody {
		if old := first.Swap(b); old != nil {
			second.Store(old)
		}
	}
	return b, nil
}

func newBody(digest [32]byte, kind string, data []byte) *body {
	return &body{
		digest: digest,
		kind:   kind,
		data:   data,
		etag:   []string{entityTag(digest, kind)},
		length: []string{strconv.Itoa(len(data))},
	}
}

// entityTag is strong, so it differs between the forms of one certificate.
func entityTag(digest [32]byte, kind string) string {
	tag := make([]byte, 1, 1+64+6+1)
	tag[0] = '"'
	tag = hex.AppendEncode(tag, digest[:])
	switch kind {
	case typePEM:
		tag = append(tag, "-pem"...)
	case typeChain:
		tag = append(tag, "-chain"...)
	}
	return string(append(tag, '"'))
}

// one returns the body of a single certificate in the form kind.
func (c *cache) one(certificate *Certificate, kind string) (*body, error) {
	return c.get(certificate.Digest, kind, func() ([]byte, error) {
		der, err := checked(certificate)
		if err != nil || kind == typeDER {
			return der, err
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
	})
}

// all returns the certs-only PKCS#7 body of several.
func (c *cache) all(certificates []Certificate) (*body, error) {
	return c.get(combinedDigest(certificates), typeP7C, func() ([]byte, error) {
		ders := make([][]byte, len(certificates))
		for i := range certificates {
			var err error
			if ders[i], err = checked(&certificates[i]); err != nil {
				return nil, err
			}
		}
		return certsOnly(ders)
	})
}

// checked reads a certificate and compares its digest, which Files promises to
// have done already: nothing else stands between a swapped file and a sender.
func checked(certificate *Certificate) ([]byte, error) {
	der, err := certificate.DER()
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(der) != certificate.Digest {
		return nil, errDigest
	}
	return der, nil
}

// combinedDigest identifies a set of certificates, whatever its order.
func combinedDigest(certificates []Certificate) [32]byte {
	// Insertion into a small sorted list: an address has one to three.
	digests := make([][32]byte, 0, 4)
	for i := range certificates {
		d := certificates[i].Digest
		at := len(digests)
		for at > 0 && bytes.Compare(d[:], digests[at-1][:]) < 0 {
			at--
		}
		digests = append(digests, d)
		copy(digests[at+1:], digests[at:])
		digests[at] = d
	}
	h := sha256.New()
	for i := range digests {
		h.Write(digests[i][:])
	}
	return [32]byte(h.Sum(nil))
}
