package world

import (
	"errors"
	"time"

	"coredns-smimea/discover"
	"coredns-smimea/ldap"
)

// This file is where package discover's results become package ldap's.

// Verdicts are kept for so long if the DNS does not say.
const keep = 5 * time.Minute

// judge returns what to hand out of a result, and for how long that holds. The
// error says that nothing is known.
func (w *World) judge(r *discover.Result) (ldap.Found, time.Duration, error) {
	if r.Verdict == discover.Unknown {
		return ldap.Found{}, 0, errors.New(r.Why)
	}
	found, lasts := ldap.Found{Why: r.Why}, lifetime(r)
	handOut := r.Verdict == discover.Verified || r.Verdict == discover.Unverified && w.options.Unverified
	for _, c := range r.Certificates {
		if !handOut || len(c.Problems) > 0 || r.Verdict == discover.Verified && c.Match == discover.Unmatched {
			continue
		}
		certificate := ldap.Certificate{Raw: c.Raw, Chain: chainOf(c)}
		if w.options.Bridge != nil && r.Verdict == discover.Verified {
			certificate.Chain = w.bridge(r, c, certificate.Chain)
		}
		found.Certificates = append(found.Certificates, certificate)
		lasts = min(lasts, time.Until(c.NotAfter))
	}
	ldap.BestFirst(found.Certificates)
	return found, lasts, nil
}

// chainOf returns the certificates that lead from one upwards.
func chainOf(*discover.Certificate) [][]byte { return nil }

// unknownAuthority reports whether a certificate chains to none of the roots.
func unknownAuthority(c *discover.Certificate) bool { return c.Chain != "" }

// errNoIssuer is why a certificate cannot be bridged whose issuer did not come
// with it.
var errNoIssuer = errors.New("its issuer's certificate was not found")

// lifetime is for how long a verdict holds.
func lifetime(*discover.Result) time.Duration { return keep }
