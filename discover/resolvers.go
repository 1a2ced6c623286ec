package discover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/discover/dnssec"
)

// resolverTime is for one of several resolvers. One that is dead is then asked
// last.
const resolverTime = 3 * time.Second

// SystemServer is the resolvers of /etc/resolv.conf, which are asked in turn:
// the next one if one does not answer, or answers SERVFAIL, REFUSED or the like.
func SystemServer() (*Server, error) { return systemServer("/etc/resolv.conf") }

func systemServer(file string) (*Server, error) {
	config, err := dns.ClientConfigFromFile(file)
	if err != nil {
		return nil, fmt.Errorf("finding the system's resolvers: %w", err)
	}
	var several []*Server
	for _, address := range config.Servers {
		server, err := ParseServer(net.JoinHostPort(address, config.Port))
		if err != nil {
			return nil, fmt.Errorf("finding the system's resolvers: %w", err)
		}
		several = append(several, server)
	}
	switch len(several) {
	case 0:
		return nil, fmt.Errorf("%s names no resolver", file)
	case 1:
		return several[0], nil
	}
	return inTurn(several), nil
}

// inTurn makes several servers, which know the same, one.
func inTurn(several []*Server) *Server {
	var texts []string
	for _, server := range several {
		texts = append(texts, server.text)
	}
	return &Server{text: strings.Join(texts, ", "), several: several}
}

// exchangeInTurn asks the server that answered last, and then the others, until
// one has an answer. If none has, it returns what the first one said that said
// anything.
func (s *Server) exchangeInTurn(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	var trouble *dns.Msg
	var failures []error
	first := int(s.turn.Load())
	for i := range s.several {
		at := (first + i) % len(s.several)
		m, err := s.exchangeWith(ctx, s.several[at], q, len(s.several)-i)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			failures = append(failures, err)
		case usable(m):
			s.turn.Store(uint32(at))
			return m, nil
		case trouble == nil:
			trouble = m
		}
	}
	if trouble != nil {
		return trouble, nil
	}
	return nil, errors.Join(failures...)
}

// exchangeWith asks one server, when so many are left.
func (s *Server) exchangeWith(ctx context.Context, one *Server, q *dns.Msg, left int) (*dns.Msg, error) {
	if left > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, share(ctx, left, resolverTime))
		defer cancel()
	}
	return one.Exchange(ctx, q)
}

// usable reports whether a message says something about what was asked for.
func usable(m *dns.Msg) bool {
	return (m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError) && !m.Truncated
}

// TrustAD returns a Resolver that takes the server's word for what is signed
// (the AD flag), which is only worth something if the server is [Server.Private]:
// for others it is an error. Of several, only those that are private are asked.
func TrustAD(s *Server) (Resolver, error) {
	if private := slices.DeleteFunc(slices.Clone(s.several), func(one *Server) bool { return !one.Private() }); len(private) > 0 {
		s = inTurn(private)
	}
	if !s.Private() {
		return nil, fmt.Errorf("anybody on the way to %s could set its AD flag: use a resolver on this machine, or tls:// or https://", s)
	}
	return &dnssec.Trusting{Exchange: s.Exchange}, nil
}
