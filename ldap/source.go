package ldap

import (
	"context"
	"errors"

	"coredns-smimea/smimea"
)

// A Source finds the certificates of addresses.
type Source interface {
	// Find returns what there is of an address. An error means that nothing is
	// known, and never that there is nothing: [ErrBusy] if it is worth asking
	// again soon, that of the context if it has ended, or any other.
	//
	// It is called by several goroutines at once.
	Find(ctx context.Context, address smimea.Address) (Found, error)
}

// ErrBusy is the error of a source that has too much to do.
var ErrBusy = errors.New("too many look-ups are under way")

// Found is what a source has of an address.
type Found struct {
	// Certificates are those to hand out, the best to encrypt to first.
	Certificates []Certificate
	// Why says, if there are none, why; for the one who asked, since it may
	// name the address.
	Why string
}

// A Certificate is one to hand out.
type Certificate struct {
	Raw []byte // DER
	// Chain are certificates that lead from it upwards, DER, in order.
	Chain [][]byte
}

// Sources asks several sources in turn, until one has certificates.
type Sources []Source

// Find is that of [Source]. If no source has certificates, the error of one
// that failed counts: it could have had some.
func (s Sources) Find(ctx context.Context, address smimea.Address) (Found, error) {
	var last Found
	var failed error
	for _, source := range s {
		found, err := source.Find(ctx, address)
		if err != nil {
			failed = err
			continue
		}
		if len(found.Certificates) > 0 {
			return found, nil
		}
		last = found
	}
	if failed != nil {
		return Found{}, failed
	}
	return last, nil
}
