package certhost

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"slices"
	"strconv"

	lru "github.com/hashicorp/golang-lru/v2"

	"coredns-smimea/internal/pkcs7"
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

// A cache holds recently sent bodies by what they are made of. Being addressed by
// content it cannot be stale: what is published is decided by [Files] before it
// is asked. The bundles of addresses with very many certificates have a few places
// of their own, so that they do not take much memory.
type cache struct {
	bodies, bundles *lru.Cache[cacheKey, *body]
}

type cacheKey struct {
	digest [32]byte
	kind   string // media type
}

const (
	cachedBodies  = 4096
	cachedBundles = 16
	largeBody     = 8 << 10 // octets from which a body is one of the bundles
)

var errDigest = errors.New("the certificate read is not the one published: its digest differs")

func newCache() cache {
	bodies, err := lru.New[cacheKey, *body](cachedBodies)
	if err != nil {
		panic(err) // the size is not positive
	}
	bundles, err := lru.New[cacheKey, *body](cachedBundles)
	if err != nil {
		panic(err)
	}
	return cache{bodies, bundles}
}

// get returns the body of this digest and kind, made by data if it is not there.
func (c *cache) get(digest [32]byte, kind string, data func() ([]byte, error)) (*body, error) {
	key := cacheKey{digest, kind}
	for _, places := range []*lru.Cache[cacheKey, *body]{c.bodies, c.bundles} {
		if b, ok := places.Get(key); ok {
			return b, nil
		}
	}
	read, err := data()
	if err != nil {
		return nil, err
	}
	b := newBody(digest, kind, read)
	if len(read) < largeBody {
		c.bodies.Add(key, b)
	} else {
		c.bundles.Add(key, b)
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

// first returns the body of the first certificate that can be read, and an error
// beside it if that is not the first.
func (c *cache) first(certificates []Certificate, kind string) (*body, error) {
	var failed error
	for i := range certificates {
		b, err := c.one(&certificates[i], kind)
		if err == nil {
			return b, failed
		}
		failed = err
	}
	return nil, failed
}

// all returns the certs-only PKCS#7 body of those certificates that can be read,
// and an error beside it if these are not all.
func (c *cache) all(certificates []Certificate) (*body, error) {
	var ders [][]byte
	var read []Certificate
	b, failed := c.get(combinedDigest(certificates), typeP7C, func() ([]byte, error) {
		var failed error
		for i := range certificates {
			der, err := checked(&certificates[i])
			if err != nil {
				failed = err
				continue
			}
			ders, read = append(ders, der), append(read, certificates[i])
		}
		if failed != nil {
			return nil, failed
		}
		return pkcs7.CertsOnly(ders)
	})
	if failed == nil || len(read) == 0 {
		return b, failed
	}
	b, err := c.get(combinedDigest(read), typeP7C, func() ([]byte, error) { return pkcs7.CertsOnly(ders) })
	return b, errors.Join(failed, err)
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
	digests := make([][32]byte, len(certificates))
	for i := range certificates {
		digests[i] = certificates[i].Digest
	}
	slices.SortFunc(digests, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	h := sha256.New()
	for i := range digests {
		h.Write(digests[i][:])
	}
	return [32]byte(h.Sum(nil))
}
