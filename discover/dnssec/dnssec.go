// Package dnssec validates answers of the DNS from a trust anchor, whoever
// brought them: a resolver that is not trusted, or a server that has the zone.
//
// [Validator.Lookup] asks for records, for all keys on the way to them from a
// trust anchor, and says whether what it got is [Secure] (RFC 4033 section 5).
// So is a denial: only if it is Secure do the records really not exist. Compact
// denials (RFC 9824) are understood, as are NSEC and NSEC3.
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
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// A Security is how far an answer can be trusted. The greater the better.
type Security int

// The states of RFC 4033 section 5.
const (
	// Indeterminate: there is no trust anchor above the name.
	Indeterminate Security = iota
	// Bogus: there should be signatures that hold, and there are not. The
	// answer is a forgery, or the zone is broken: nothing is known.
	Bogus
	// Insecure: a parent zone says, signed, that there are no signatures.
	Insecure
	// Secure: signed, all the way from a trust anchor.
	Secure
)

func (s Security) String() string {
	return [...]string{"indeterminate", "bogus", "insecure", "secure"}[s]
}

// An Answer is what is known about the records of one name and type.
type Answer struct {
	Security Security
	// Why says what is amiss, in words, if Security is not Secure.
	Why string
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

// A Validator looks up records and validates them. It is safe for concurrent
// use if its fields are not changed.
type Validator struct {
	// Exchange sends a question to the resolver or server, over TCP if the
	// answer is cut short otherwise.
	Exchange func(ctx context.Context, question *dns.Msg) (*dns.Msg, error)
	// Anchors are trusted as they are.
	Anchors Anchors
	// Now is the time at which signatures must hold, time.Now if nil.
	Now func() time.Time

	cache cache
}

// A ServerError is an answer that is none: SERVFAIL, REFUSED and the like. It
// says nothing about the name: ask again later, or ask somebody else.
type ServerError struct {
	Name  string
	Type  uint16
	Rcode int
	Extra string // what the server said about it (RFC 8914)
}

func (e *ServerError) Error() string {
	s := fmt.Sprintf("the server answers %s to %s %s", dns.RcodeToString[e.Rcode], e.Name, dns.Type(e.Type))
	if e.Extra != "" {
		s += " (" + e.Extra + ")"
	}
	return s
}

// Limits of one look-up, against answers that are made to keep us busy
// (CVE-2023-50387) or that go round in circles.
const (
	maxAliases    = 16
	maxQuestions  = 100
	maxSignatures = 200
)

var errTooMuch = errors.New("the answers ask for more work than a look-up is worth")

// Lookup asks for the records of a name and type. An error means that nothing
// can be said, since no answer came; [Bogus] is not an error, but means the same.
func (v *Validator) Lookup(ctx context.Context, name string, qtype uint16) (*Answer, error) {
	name, err := canonical(name)
	if err != nil {
		return nil, err
	}
	s := &session{Validator: v, now: time.Now(), zones: map[string]*zone{}, messages: map[dns.Question]*dns.Msg{}}
	if v.Now != nil {
		s.now = v.Now()
	}
	return s.lookup(ctx, name, qtype)
}

// A session is one look-up: what it has learned, and how much it has worked.
type session struct {
	*Validator
	now        time.Time
	zones      map[string]*zone // by any name in or at the top of them
	messages   map[dns.Question]*dns.Msg
	signatures int // that were verified
}

func (s *session) lookup(ctx context.Context, name string, qtype uint16) (*Answer, error) {
	a := &Answer{Security: Secure, Name: name}
	for {
		m, err := s.ask(ctx, a.Name, qtype)
		if err != nil {
			return nil, err
		}
		if set := find(m.Answer, a.Name, qtype); len(set) > 0 {
			v, err := s.judge(ctx, m, set)
			if err != nil {
				return nil, err
			}
			a.Records, a.Wildcard = set, v.wildcard
			return a.lower(v.security, v.why), nil
		}
		target, v, err := s.alias(ctx, m, a.Name)
		if err != nil {
			return nil, err
		}
		if target == "" {
			v, err := s.judgeDenial(ctx, m, a.Name, qtype)
			if err != nil {
				return nil, err
			}
			a.NameError = v.kind == nameError
			if v.security == Insecure {
				a.NameError = m.Rcode == dns.RcodeNameError
			}
			return a.lower(v.security, v.why), nil
		}
		if a.lower(v.security, v.why).Security < Insecure {
			return a, nil
		}
		if a.Aliases = append(a.Aliases, a.Name); len(a.Aliases) > maxAliases {
			return a.lower(Bogus, "there are too many aliases"), nil
		}
		// What follows in the message may be somebody else's: ask anew.
		a.Name = target
	}
}

// lower notes how far a part of the answer can be trusted. The whole can be no
// further.
func (a *Answer) lower(security Security, why string) *Answer {
	if security < a.Security {
		a.Security, a.Why = security, why
	}
	if a.Security < Insecure {
		a.Records = nil // nobody shall use them
	}
	return a
}

// alias returns where the message says that name leads, "" if nowhere.
func (s *session) alias(ctx context.Context, m *dns.Msg, name string) (target string, v verdict, err error) {
	var set []dns.RR
	if dname := findAncestor(m.Answer, name, dns.TypeDNAME); len(dname) > 0 {
		// The CNAME beside it is made from it, and not signed.
		set = dname
		owner := dns.CanonicalName(dname[0].Header().Name)
		target = strings.TrimSuffix(name, owner) + dns.CanonicalName(dname[0].(*dns.DNAME).Target)
		if owner == "." || strings.HasSuffix(target, "..") {
			target = strings.TrimSuffix(target, ".")
		}
	} else if cname := find(m.Answer, name, dns.TypeCNAME); len(cname) > 0 {
		set = cname
		target = dns.CanonicalName(cname[0].(*dns.CNAME).Target)
	} else {
		return "", verdict{}, nil
	}
	if len(set) > 1 {
		return name, verdict{security: Bogus, why: "there are several aliases at " + name}, nil
	}
	if _, ok := dns.IsDomainName(target); !ok {
		return name, verdict{security: Bogus, why: "the alias of " + name + " is too long to be a name"}, nil
	}
	v, err = s.judge(ctx, m, set)
	return target, v, err
}

// ask sends one question, once.
func (s *session) ask(ctx context.Context, name string, qtype uint16) (*dns.Msg, error) {
	question := dns.Question{Name: name, Qtype: qtype, Qclass: dns.ClassINET}
	if m := s.messages[question]; m != nil {
		return m, nil
	}
	if len(s.messages) == maxQuestions {
		return nil, errTooMuch
	}
	q := new(dns.Msg)
	q.Id = dns.Id()
	q.Question = []dns.Question{question}
	q.RecursionDesired = true
	// We validate ourselves, and want to see what does not validate, too.
	q.CheckingDisabled = true
	q.SetEdns0(1232, true)
	m, err := s.Exchange(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("asking for %s %s: %w", name, dns.Type(qtype), err)
	}
	if !m.Response || len(m.Question) != 1 || m.Question[0].Qtype != qtype || m.Question[0].Qclass != dns.ClassINET ||
		dns.CanonicalName(m.Question[0].Name) != name {
		return nil, fmt.Errorf("asking for %s %s: the answer is to another question", name, dns.Type(qtype))
	}
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return nil, &ServerError{Name: name, Type: qtype, Rcode: m.Rcode, Extra: extendedError(m)}
	}
	if m.Truncated {
		return nil, fmt.Errorf("asking for %s %s: the answer is cut short", name, dns.Type(qtype))
	}
	s.messages[question] = m
	return m, nil
}

func extendedError(m *dns.Msg) string {
	opt := m.IsEdns0()
	if opt == nil {
		return ""
	}
	for _, option := range opt.Option {
		if ede, ok := option.(*dns.EDNS0_EDE); ok {
			text := dns.ExtendedErrorCodeToString[ede.InfoCode]
			if ede.ExtraText != "" {
				text = strings.TrimPrefix(text+": "+ede.ExtraText, ": ")
			}
			return text
		}
	}
	return ""
}
