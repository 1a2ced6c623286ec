package certhost

import (
	"errors"
	"time"
)

// ErrNotFound is what [Files] returns for what is not published. A client
// sees the same 404 for this and for every other error.
var ErrNotFound = errors.New("no such certificate")

// Files is what is published, as one snapshot sees it. Implementations are
// immutable, or look up their newest version themselves; the methods are called
// for every request, from many goroutines, without a lock.
type Files interface {
	// File returns the certificate whose file, below the certificate
	// directory, has this path. The path is percent-decoded and
	// slash-separated and has passed [CleanPath]: no empty segment, none that
	// starts with a dot, no NUL, control character or backslash. Domain is one
	// of the lease's mail domains. A certificate that is not published for
	// that domain is ErrNotFound.
	File(domain, path string) (Certificate, error)

	// ByHash returns all published certificates of the address with this
	// label (RFC 8162 section 3) in domain, the one to encrypt to first.
	ByHash(domain string, hash [28]byte) ([]Certificate, error)
}

// A Certificate is one published certificate, without its bytes.
type Certificate struct {
	// Digest is the SHA-256 of the DER. It is the entity tag of the certificate alone,
	// and what the bytes are checked against before they are sent.
	Digest [32]byte

	NotAfter time.Time // no answer may be cached beyond this
	Modified time.Time // of the file; zero: no Last-Modified

	// TTL is how long an answer may be cached, that of the DNS records.
	TTL time.Duration

	// DER reads the certificate. The file may have changed a millisecond ago:
	// bytes without the digest above are an error, and an error is a 404.
	DER func() ([]byte, error)

	// Chain reads what is known of the certificate's issuers, DER: each has issued
	// the one before, the first of them der, which is the certificate. nil: none.
	Chain func(der []byte) [][]byte
	// Version is another one whenever Chain may find other issuers; 0: not known.
	Version uint64
}
