package certhost

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
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

// A cache holds recently sent bodies by what they are made of: a digest, and of chains
// the version of what they were read from. So it cannot be stale: what is published is
// decided by [Files] before it is asked. Few of the bundles of addresses with very many
// certificates are kept, and apart from the others, so that they do not take much memory.
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

// get returns the body that is kept for this digest and kind, or else makes it. For the
// zero digest none is kept.
func (c *cache) get(digest [32]byte, kind string, made func() (*body, error)) (*body, error) {
	if digest == ([32]byte{}) {
		return made()
	}
	key := cacheKey{digest, kind}
	for _, kept := range []*lru.Cache[cacheKey, *body]{c.bodies, c.bundles} {
		if b, ok := kept.Get(key); ok {
			return b, nil
		}
	}
	b, err := made()
	if err != nil {
		return b, err
	}
	if len(b.data) < largeBody {
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
	if kind == typeChain {
		return c.get(sources([]Certificate{*certificate}), kind, func() (*body, error) {
			chain, err := certificate.withChain()
			if err != nil {
				return nil, err
			}
			digest := certificate.Digest
			if len(chain) > 1 {
				digest = digestOf(chain)
			}
			return newBody(digest, kind, inPEM(chain)), nil
		})
	}
	return c.get(certificate.Digest, kind, func() (*body, error) {
		der, err := checked(certificate)
		if err != nil {
			return nil, err
		}
		if kind != typeDER {
			der = inPEM([][]byte{der})
		}
		return newBody(certificate.Digest, kind, der), nil
	})
}

// inPEM writes certificates in their order.
func inPEM(ders [][]byte) (text []byte) {
	for _, der := range ders {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return text
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

// all returns the certs-only PKCS#7 body of those certificates that can be read, with
// their issuers, and an error beside it if these are not all.
func (c *cache) all(certificates []Certificate) (*body, error) {
	return c.get(sources(certificates), typeP7C, func() (*body, error) {
		var ders [][]byte // each once: users of one authority share it
		var failed error
		for i := range certificates {
			chain, err := certificates[i].withChain()
			if err != nil {
				failed = err
				continue
			}
			ders = append(ders, chain...)
		}
		if len(ders) == 0 {
			return nil, failed
		}
		slices.SortFunc(ders, bytes.Compare)
		ders = slices.CompactFunc(ders, bytes.Equal)
		data, err := pkcs7.CertsOnly(ders)
		if err != nil {
			return nil, errors.Join(failed, err)
		}
		return newBody(digestOf(ders), typeP7C, data), failed
	})
}

// withChain reads a certificate and what is known of its issuers.
func (c *Certificate) withChain() ([][]byte, error) {
	der, err := checked(c)
	if err != nil {
		return nil, err
	}
	chain := [][]byte{der}
	if c.Chain != nil {
		chain = append(chain, c.Chain(der)...)
	}
	return chain, nil
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

// digestOf identifies certificates in their order. It is the entity tag of what holds
// issuers, too.
func digestOf(ders [][]byte) [32]byte {
	h := sha256.New()
	for _, der := range ders {
		digest := sha256.Sum256(der)
		h.Write(digest[:])
	}
	return [32]byte(h.Sum(nil))
}

// sources identifies what certificates and their issuers are read from, whatever the
// order; it is zero if that cannot be known.
func sources(certificates []Certificate) [32]byte {
	lines := make([][]byte, len(certificates))
	for i := range certificates {
		c := &certificates[i]
		if c.Chain != nil && c.Version == 0 {
			return [32]byte{}
		}
		lines[i] = binary.BigEndian.AppendUint64(bytes.Clone(c.Digest[:]), c.Version)
	}
	slices.SortFunc(lines, bytes.Compare)
	return digestOf(lines)
}
