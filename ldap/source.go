package ldap

import (
	"cmp"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"slices"
	"time"

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

// BestFirst sorts certificates by how well one can encrypt to them: first those
// to whose key a message's key is enciphered, which every mail program can do,
// then those to agree on one with, and then the others. Of equals, that is first
// which began later.
func BestFirst(certificates []Certificate) {
	type ranked struct {
		rank  int
		begin time.Time
	}
	ranks := map[string]ranked{}
	for _, c := range certificates {
		r := ranked{rank: 2}
		if cert, err := x509.ParseCertificate(c.Raw); err == nil {
			r = ranked{rankOf(cert), cert.NotBefore}
		}
		ranks[string(c.Raw)] = r
	}
	slices.SortStableFunc(certificates, func(a, b Certificate) int {
		x, y := ranks[string(a.Raw)], ranks[string(b.Raw)]
		return cmp.Or(x.rank-y.rank, y.begin.Compare(x.begin))
	})
}

func rankOf(cert *x509.Certificate) int {
	_, isRSA := cert.PublicKey.(*rsa.PublicKey)
	switch {
	case cert.KeyUsage&(x509.KeyUsageKeyEncipherment|x509.KeyUsageDataEncipherment) != 0, cert.KeyUsage == 0 && isRSA:
		return 0
	case cert.KeyUsage&x509.KeyUsageKeyAgreement != 0, cert.KeyUsage == 0:
		return 1
	}
	return 3
}
