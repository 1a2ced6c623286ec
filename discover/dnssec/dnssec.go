// Package dnssec validates answers of the DNS from a trust anchor, whoever
// brought them: a resolver that is not trusted, or a server that has the zone.
//
//	v := &dnssec.Validator{Exchange: server.Exchange, Anchors: dnssec.RootAnchors()}
//	a, err := v.Lookup(ctx, "example.com.", dns.TypeMX)
//	switch {
//	case err != nil || a.Err() != nil: // nothing is known: try again later
//	case a.Security == dnssec.Secure: // a.Records are the domain's, or a denial is
//	default: // dnssec.Insecure: anybody on the way could have made this up
//	}
//
// [Validator.Lookup] asks for records, for all keys on the way to them from a
// trust anchor, and says whether what it got is [Secure] (RFC 4033 section 5).
// So is a denial: only if it is Secure do the records really not exist. Compact
// denials (RFC 9824) are understood, as are NSEC and NSEC3. [Trusting] believes
// a resolver instead, with the same answers.
//
// What strangers send costs a bounded number of signatures, digests and hashes,
// and stops with the context.
//
// RSASHA1 and RSASHA1-NSEC3-SHA1 are unsupported on purpose, as RFC 9905 section
// 2 demands: a zone that has nothing better is Insecure. NSEC3 with more than 150
// iterations is Insecure too (RFC 9276 section 3.2).
//
// A Validator remembers the keys of zones for as long as their TTLs say, and no
// other answers: the resolver that it asks has a cache for those. There was no
// kept Go library that validates denials when this was written.
package dnssec

import (
	"context"
	"time"

	"github.com/miekg/dns"
)

// An Answer is what is known about the records of one name and type.
type Answer struct {
	Security Security
	// Reason and Why say what is amiss, for programs and for people, if
	// Security is not Secure.
	Reason Reason
	Why    string
	// Name has the records. It is not the name that was asked for if that is
	// an alias.
	Name string
	// Aliases are the names that led to Name, as CNAME or through DNAME.
	Aliases []string
	// Records are of the type asked for. Without any, the answer is a denial.
	Records []dns.RR
	// NameError is true if the denial is of the name, not only of the type.
	NameError bool
	// Wildcard is true if the records are those of a wildcard above Name.
	Wildcard bool
}

// Err is nil if the answer can be used, for what its Security says, and else a
// [SecurityError]: it is Bogus or Indeterminate.
func (a *Answer) Err() error {
	if a.Security >= Insecure {
		return nil
	}
	return &SecurityError{a.Security, a.Reason, a.Why}
}

// lower notes how far a part of the answer can be trusted. The whole can be no
// further.
func (a *Answer) lower(j judgement) *Answer {
	if j.security < a.Security {
		a.Security, a.Reason, a.Why = j.security, j.reason, j.why
	}
	if a.Security < Insecure {
		a.Records = nil // nobody shall use them
	}
	return a
}

// Exchange sends a question to a resolver or server and returns its answer.
type Exchange func(ctx context.Context, question *dns.Msg) (*dns.Msg, error)

// A Validator looks up records and validates them. It is safe for concurrent
// use if its fields are not changed.
type Validator struct {
	// Exchange sends a question to the resolver or server, over TCP if the
	// answer is cut short otherwise.
	Exchange Exchange
	// Anchors are trusted as they are.
	Anchors Anchors
	// Now is the time at which signatures must hold, time.Now if nil.
	Now func() time.Time

	cache cache
}

// Lookup asks for the records of a name and type. An error means that nothing
// can be said, since no answer came: [ServerError], or what Exchange or the
// context says. [UnsignedError] is one that says more. [Bogus] is not an error,
// but means the same.
func (v *Validator) Lookup(ctx context.Context, name string, qtype uint16) (*Answer, error) {
	name, err := canonical(name)
	if err != nil {
		return nil, err
	}
	return v.session(ctx).lookup(name, qtype)
}

func (v *Validator) session(ctx context.Context) *session {
	s := &session{
		Validator: v, now: time.Now(), work: work{ctx: ctx}, zones: map[string]*zone{},
		messages: map[dns.Question]*message{}, hashes: map[hashed]string{},
	}
	if v.Now != nil {
		s.now = v.Now()
	}
	return s
}
