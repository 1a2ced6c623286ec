package main

import "time"

// A use is what certificates are renewed for: one that can encrypt is followed by another
// that can.
type use struct {
	owner    string // of the SMIMEA records
	encrypts bool
}

// renewals returns when the first certificate begins that does not end soon, by its use.
// The server's metric of certificates that expire goes by the same rule.
func (c *checker) renewals() map[use]time.Time {
	begins := map[use]time.Time{}
	for _, user := range c.result.Users {
		if user.SMIMEA == "" || user.NotAfter.Sub(c.policy.now) < time.Duration(c.soon) {
			continue
		}
		for _, u := range []use{{user.SMIMEA, user.encrypts}, {user.SMIMEA, false}} {
			if begin, ok := begins[u]; !ok || user.NotBefore.Before(begin) {
				begins[u] = user.NotBefore
			}
		}
	}
	return begins
}
