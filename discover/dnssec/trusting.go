package dnssec

import (
	"context"
	"errors"

	"github.com/miekg/dns"
)

// A Trusting takes a resolver's word for what is signed (the AD flag), which
// must be on this machine, or asked by TLS, to be worth anything. It is safe for
// concurrent use.
type Trusting struct {
	Exchange Exchange
}

// Lookup asks for the records of a name and type, as [Validator.Lookup] does.
// The answer is Secure, Insecure because of [NoAD], or Bogus because of
// [AliasWrong].
func (t *Trusting) Lookup(ctx context.Context, name string, qtype uint16) (*Answer, error) {
	name, err := canonical(name)
	if err != nil {
		return nil, err
	}
	a := &Answer{Security: Secure, Name: name}
	for {
		asked := a.Name
		m, err := t.ask(ctx, asked, qtype)
		if errors.Is(err, errTooMuch) {
			return a.lower(bogus(TooMuchWork, "%v", err)), nil
		}
		if err != nil {
			return nil, t.without(ctx, asked, err)
		}
		if !m.AuthenticatedData {
			a.lower(insecure(NoAD, "the resolver does not say that it is signed"))
		}
		if fault := a.follow(m, qtype); fault.why != "" {
			return a.lower(fault), nil
		}
		if of := m.answer.get(a.Name, qtype); of != nil {
			a.Records = of.rrs
			return a.lower(of.complete()), nil
		}
		switch {
		case m.Rcode == dns.RcodeNameError:
			a.NameError = true
			return a, nil
		case a.Name != asked:
			// It may have stopped on the way: that the end has nothing is only
			// sure if it says so.
			continue
		case refers(m):
			return nil, notFollowed(asked, qtype)
		}
		return a, nil
	}
}

// follow goes along the aliases of a message.
func (a *Answer) follow(m *message, qtype uint16) judgement {
	for qtype != dns.TypeCNAME {
		of := m.answer.get(a.Name, dns.TypeCNAME)
		switch {
		case of == nil:
			return judgement{}
		case len(of.rrs) > 1:
			return bogus(AliasWrong, "there are several aliases at %s", a.Name)
		case len(a.Aliases) == maxAliases:
			return bogus(AliasWrong, "there are too many aliases")
		}
		a.Aliases, a.Name = append(a.Aliases, a.Name), dns.CanonicalName(of.rrs[0].(*dns.CNAME).Target)
	}
	return judgement{}
}

func (t *Trusting) ask(ctx context.Context, name string, qtype uint16) (*message, error) {
	q := newQuestion(dns.Question{Name: name, Qtype: qtype, Qclass: dns.ClassINET})
	q.AuthenticatedData = true
	return exchange(ctx, t.Exchange, q)
}

// without asks whether the zone is signed of a name whose servers fail.
func (t *Trusting) without(ctx context.Context, name string, failure error) error {
	var server *ServerError
	if !errors.As(failure, &server) {
		return failure
	}
	if m, err := t.ask(ctx, name, dns.TypeSOA); err != nil || m.AuthenticatedData {
		return failure
	}
	return &UnsignedError{Reason: NoAD, Why: "the resolver does not say that its zone is signed", Err: failure}
}
