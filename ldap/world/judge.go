package world

import (
	"errors"
	"time"

	"coredns-smimea/discover"
	"coredns-smimea/ldap"
)

// This file is where package discover's results become package ldap's.

// judge returns what to hand out of a result, and for how long that holds. The
// error says that nothing is known.
func (w *World) judge(r *discover.Result) (ldap.Found, time.Duration, error) {
	if r.Verdict == discover.Unknown {
		return ldap.Found{}, 0, errors.New(r.Why.Text)
	}
	found := ldap.Found{Why: r.Why.Text}
	handOut := r.Verdict == discover.Verified || r.Verdict == discover.Unverified && w.options.Unverified
	for _, c := range r.Certificates {
		if !handOut || len(c.Problems) > 0 || r.Verdict == discover.Verified && c.Match == discover.Unmatched {
			continue
		}
		certificate := ldap.Certificate{Raw: c.Raw, Chain: c.Chain}
		if w.options.Bridge != nil && r.Verdict == discover.Verified {
			certificate.Chain = w.bridge(r, c)
		}
		found.Certificates = append(found.Certificates, certificate)
	}
	ldap.BestFirst(found.Certificates)
	return found, time.Until(r.Expires), nil
}
