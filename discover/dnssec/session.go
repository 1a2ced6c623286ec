package dnssec

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// A session is one look-up: what it has learned, and how much it has worked.
type session struct {
	*Validator
	now      time.Time
	work     work
	zones    map[string]*zone // by any name in or at the top of them
	messages map[dns.Question]*message
	hashes   map[hashed]string
}

func (s *session) lookup(name string, qtype uint16) (*Answer, error) {
	a := &Answer{Security: Secure, Name: name}
	err := s.find(a, qtype)
	switch {
	case s.work.ctx.Err() != nil:
		// Where the time ended the work, the answer is not what it would be.
		return nil, fmt.Errorf("asking for %s %s: %w", name, dns.Type(qtype), Ended(s.work.ctx))
	case errors.Is(err, errTooMuch):
		return a.lower(bogus(TooMuchWork, "%v", err)), nil
	case err != nil:
		return nil, err
	}
	return a, nil
}

// Ended says in words why a context has ended. The error is the context's to [errors.Is].
func Ended(ctx context.Context) error {
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, context.DeadlineExceeded):
		return &ended{"time was up before there was an answer", ctx.Err()}
	case errors.Is(cause, context.Canceled):
		return &ended{"it was interrupted", ctx.Err()}
	}
	return &ended{cause.Error(), ctx.Err()}
}

type ended struct {
	words string
	err   error
}

func (e *ended) Error() string { return e.words }
func (e *ended) Unwrap() error { return e.err }

// find looks for records of a type at the answer's name, and where that leads.
func (s *session) find(a *Answer, qtype uint16) error {
	for {
		m, err := s.ask(a.Name, qtype)
		if err != nil {
			if m, err = s.without(a.Name, qtype, err); err != nil {
				return err
			}
		}
		if of := m.answer.get(a.Name, qtype); of != nil {
			v, err := s.judge(m, of)
			if err != nil {
				return err
			}
			a.Records, a.Wildcard = of.rrs, v.wildcard
			a.lower(v.judgement).lower(of.complete())
			return nil
		}
		target, v, err := s.alias(m, a.Name)
		if err != nil {
			return err
		}
		if target == "" {
			d, err := s.judgeDenial(m, a.Name, qtype)
			if err != nil {
				return err
			}
			a.NameError = d.kind == nameError
			if d.security == Insecure {
				if refers(m) {
					return notFollowed(a.Name, qtype)
				}
				a.NameError = m.Rcode == dns.RcodeNameError
			}
			a.lower(d.judgement)
			return nil
		}
		if a.lower(v.judgement).Security < Insecure {
			return nil
		}
		if a.Aliases = append(a.Aliases, a.Name); len(a.Aliases) > maxAliases {
			a.lower(bogus(AliasWrong, "there are too many aliases"))
			return nil
		}
		// What follows in the message may be somebody else's: ask anew.
		a.Name = target
	}
}

// without looks at what is known where a question has no answer: nothing that
// came could be trusted if the zone is Insecure, and the alias that leads to
// such a zone is there all the same.
func (s *session) without(name string, qtype uint16, failure error) (*message, error) {
	var server *ServerError
	if !errors.As(failure, &server) && s.cache.empty() {
		return nil, failure // nobody has answered anything yet
	}
	z, err := s.walk(whereJudged(name, qtype))
	if err != nil {
		return nil, failure
	}
	switch z.security {
	case Insecure:
		return nil, &UnsignedError{Reason: z.reason, Why: z.why, Err: failure}
	case Secure:
		if m, err := s.ask(name, dns.TypeCNAME); err == nil && m.answer.get(name, dns.TypeCNAME) != nil {
			return m, nil
		}
	}
	return nil, failure
}

// alias returns where the message says that name leads, "" if nowhere.
func (s *session) alias(m *message, name string) (target string, v verdict, err error) {
	wrong := func(format string) (string, verdict, error) {
		return name, verdict{judgement: bogus(AliasWrong, format, name)}, nil
	}
	// The CNAME beside a DNAME is made from it, and not signed.
	of := m.answer.getAbove(name, dns.TypeDNAME)
	if of == nil {
		of = m.answer.get(name, dns.TypeCNAME)
	}
	switch {
	case of == nil:
		return "", verdict{}, nil
	case len(of.rrs) > 1:
		return wrong("there are several aliases at %s")
	}
	switch rr := of.rrs[0].(type) {
	case *dns.CNAME:
		target = dns.CanonicalName(rr.Target)
	case *dns.DNAME:
		var ok bool
		if target, ok = moved(name, of.owner, dns.CanonicalName(rr.Target)); !ok {
			return wrong("the alias of %s is too long to be a name")
		}
	}
	v, err = s.judge(m, of)
	return target, v, err
}

// ask sends one question, once.
func (s *session) ask(name string, qtype uint16) (*message, error) {
	question := dns.Question{Name: name, Qtype: qtype, Qclass: dns.ClassINET}
	if m := s.messages[question]; m != nil {
		return m, nil
	}
	if len(s.messages) == maxQuestions {
		return nil, errTooMuch
	}
	q := newQuestion(question)
	// We validate ourselves, and want to see what does not validate, too.
	q.CheckingDisabled = true
	m, err := exchange(s.work.ctx, s.Exchange, q)
	if err != nil {
		return nil, err
	}
	s.messages[question] = m
	return m, nil
}

// newQuestion returns a message that asks for signatures, too.
func newQuestion(question dns.Question) *dns.Msg {
	q := new(dns.Msg)
	q.Id = dns.Id()
	q.Question = []dns.Question{question}
	q.RecursionDesired = true
	q.SetEdns0(1232, true)
	return q
}

// exchange sends a question, and returns what is an answer to it.
func exchange(ctx context.Context, send Exchange, q *dns.Msg) (*message, error) {
	name, qtype := q.Question[0].Name, q.Question[0].Qtype
	m, err := send(ctx, q)
	switch {
	case err != nil:
		return nil, fmt.Errorf("asking for %s %s: %w", name, dns.Type(qtype), err)
	case m.Response && len(m.Question) == 0 && failed(m): // it has not understood the question
		return nil, &ServerError{Name: name, Type: qtype, Rcode: m.Rcode, Extra: extendedError(m)}
	case !m.Response || len(m.Question) != 1 || m.Question[0].Qtype != qtype || m.Question[0].Qclass != dns.ClassINET ||
		dns.CanonicalName(m.Question[0].Name) != name:
		return nil, fmt.Errorf("asking for %s %s: the answer is to another question", name, dns.Type(qtype))
	case failed(m):
		return nil, &ServerError{Name: name, Type: qtype, Rcode: m.Rcode, Extra: extendedError(m)}
	case m.Truncated:
		return nil, fmt.Errorf("asking for %s %s: the answer is cut short", name, dns.Type(qtype))
	case len(m.Answer)+len(m.Ns) > maxMessage:
		return nil, fmt.Errorf("asking for %s %s: there are %d records: %w", name, dns.Type(qtype), len(m.Answer)+len(m.Ns), errTooMuch)
	}
	return newMessage(m), nil
}

// failed reports whether a server has no answer.
func failed(m *dns.Msg) bool { return m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError }

// refers reports whether a message only says whom else to ask. A resolver would
// have asked them.
func refers(m *message) bool {
	if m.Rcode != dns.RcodeSuccess || m.Authoritative || len(m.answer.order) > 0 {
		return false
	}
	referral := false
	for _, of := range m.authority.order {
		if of.rrtype == dns.TypeSOA {
			return false
		}
		referral = referral || of.rrtype == dns.TypeNS
	}
	return referral
}

func notFollowed(name string, qtype uint16) error {
	return fmt.Errorf("asking for %s %s: the server names others to ask: it is no resolver, and does not have the zone", name, dns.Type(qtype))
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
