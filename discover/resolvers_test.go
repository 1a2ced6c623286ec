package discover

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/discover/discovertest"
	"coredns-smimea/discover/dnssec"
	"coredns-smimea/internal/harness"
)

// handle serves plain DNS by UDP and TCP, and counts questions.
func handle(t *testing.T, answer func(q *dns.Msg) *dns.Msg) (*Server, *atomic.Int32) {
	t.Helper()
	listener, packets, err := harness.Listen()
	if err != nil {
		t.Fatal(err)
	}
	asked := new(atomic.Int32)
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		asked.Add(1)
		if m := answer(q); m != nil {
			w.WriteMsg(m)
		}
	})
	for _, server := range []*dns.Server{{Listener: listener, Handler: handler}, {PacketConn: packets, Handler: handler}} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go server.ActivateAndServe()
		<-started
		t.Cleanup(func() { server.Shutdown() })
	}
	server, err := ParseServer(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return server, asked
}

// reply answers with a response code, and with what change makes of that.
func reply(rcode int, change func(m *dns.Msg)) func(q *dns.Msg) *dns.Msg {
	return func(q *dns.Msg) *dns.Msg {
		m := new(dns.Msg)
		m.SetRcode(q, rcode)
		if change != nil {
			change(m)
		}
		return m
	}
}

func silent(*dns.Msg) *dns.Msg { return nil }

// TestInTurn puts resolvers of all kinds of trouble before one that works. It is
// asked first from then on.
func TestInTurn(t *testing.T) {
	closed, err := ParseServer(net.JoinHostPort("127.0.0.1", "1"))
	if err != nil {
		t.Fatal(err)
	}
	for what, answer := range map[string]func(q *dns.Msg) *dns.Msg{
		"closed": nil, "silent": silent,
		"SERVFAIL": reply(dns.RcodeServerFailure, nil), "REFUSED": reply(dns.RcodeRefused, nil),
		"NOTIMP without a question": reply(dns.RcodeNotImplemented, func(m *dns.Msg) { m.Question = nil }),
		"another question":          reply(dns.RcodeSuccess, func(m *dns.Msg) { m.Question[0].Name = "other.test." }),
		"another type":              reply(dns.RcodeSuccess, func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeA }),
		"a question":                reply(dns.RcodeSuccess, func(m *dns.Msg) { m.Response = false }),
		"another ID":                reply(dns.RcodeSuccess, func(m *dns.Msg) { m.Id++ }),
		"always cut short":          reply(dns.RcodeSuccess, func(m *dns.Msg) { m.Truncated = true }),
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			bad, asked := closed, new(atomic.Int32)
			if answer != nil {
				bad, asked = handle(t, answer)
			}
			good, answered := handle(t, reply(dns.RcodeNameError, nil))
			server := inTurn([]*Server{bad, good})
			for i, qtype := range []uint16{dns.TypeTXT, dns.TypeSMIMEA, dns.TypeDNSKEY} {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				q := new(dns.Msg)
				q.SetQuestion("x.test.", qtype)
				before := asked.Load()
				m, err := server.Exchange(ctx, q)
				if err != nil || m.Rcode != dns.RcodeNameError || m.Id != q.Id {
					t.Fatalf("%v, %v; want the second one's answer", m, err)
				}
				if i > 0 && asked.Load() != before {
					t.Errorf("the first one is asked again before the one that answers")
				}
			}
			if answered.Load() < 3 {
				t.Errorf("the second one has answered %d questions", answered.Load())
			}
		})
	}
}

// TestAllInTrouble holds what is said if no resolver has an answer.
func TestAllInTrouble(t *testing.T) {
	refuses, _ := handle(t, reply(dns.RcodeRefused, nil))
	fails, _ := handle(t, reply(dns.RcodeServerFailure, nil))
	other, _ := handle(t, reply(dns.RcodeSuccess, func(m *dns.Msg) { m.Question[0].Name = "other.test." }))
	q := new(dns.Msg)
	q.SetQuestion("x.test.", dns.TypeTXT)
	if m, err := inTurn([]*Server{other, refuses, fails}).Exchange(t.Context(), q); err != nil || m.Rcode != dns.RcodeRefused {
		t.Errorf("%v, %v; want REFUSED", m, err)
	}
	if m, err := inTurn([]*Server{other, other}).Exchange(t.Context(), q); err == nil {
		t.Errorf("%v; want an error", m)
	}
}

// TestDeadResolver has the first of three resolvers dead: a look-up of several
// questions still ends well in its time.
func TestDeadResolver(t *testing.T) {
	names := discovertest.Serve(t, discovertest.Zone{Name: "example.test", Records: []string{"x IN TXT \"text\""}})
	anchors, err := dnssec.ReadAnchors(strings.NewReader(names.Anchors))
	if err != nil {
		t.Fatal(err)
	}
	dead, _ := handle(t, silent)
	refuses, _ := handle(t, reply(dns.RcodeRefused, nil))
	good, err := ParseServer(names.Address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	v := &dnssec.Validator{Exchange: inTurn([]*Server{dead, refuses, good}).Exchange, Anchors: anchors}
	a, err := v.Lookup(ctx, "x.example.test", dns.TypeTXT)
	if err != nil || a.Security != dnssec.Secure || len(a.Records) != 1 {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestWays has a server that is silent by TCP or by UDP only: the other way has
// its share of the time.
func TestWays(t *testing.T) {
	for _, network := range []string{"tcp", "udp"} {
		listener, packets, err := harness.Listen() // which accepts in the kernel, and says nothing
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		defer packets.Close()
		server := &dns.Server{Listener: listener, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { w.WriteMsg(reply(0, nil)(q)) })}
		qtype := dns.TypeTXT // by UDP first
		if network == "tcp" {
			server.Listener, server.PacketConn, qtype = nil, packets, dns.TypeSMIMEA // by TCP first
		}
		go server.ActivateAndServe()
		defer server.Shutdown()
		one, err := ParseServer(listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		q := new(dns.Msg)
		q.SetQuestion("x.test.", qtype)
		if m, err := one.Exchange(ctx, q); err != nil || one.noDatagrams.Load() != (network == "udp") {
			t.Errorf("silent by %s: %v, %v", network, m, err)
		}
	}
}

// TestCancel ends a question that has no answer with its context, not at its own
// time.
func TestCancel(t *testing.T) {
	for _, qtype := range []uint16{dns.TypeSMIMEA, dns.TypeTXT} {
		ctx, cancel := context.WithCancel(t.Context())
		server, _ := handle(t, func(*dns.Msg) *dns.Msg { cancel(); return nil })
		q := new(dns.Msg)
		q.SetQuestion("x.test.", qtype)
		for _, s := range []*Server{server, inTurn([]*Server{server, server})} {
			if m, err := s.Exchange(ctx, q); !errors.Is(err, context.Canceled) {
				t.Errorf("%v, %v; want that it was cancelled", m, err)
			}
		}
	}
}

// TestTrustADInTurn asks only those of several resolvers that can be believed.
func TestTrustADInTurn(t *testing.T) {
	fails, asked := handle(t, reply(dns.RcodeServerFailure, nil))
	good, _ := handle(t, reply(dns.RcodeNameError, func(m *dns.Msg) { m.AuthenticatedData = true }))
	anybody, err := ParseServer("192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := TrustAD(inTurn([]*Server{anybody, fails, good}))
	if err != nil {
		t.Fatal(err)
	}
	if a, err := resolver.Lookup(t.Context(), "x.test", dns.TypeTXT); err != nil || !a.NameError || a.Security != dnssec.Secure || asked.Load() == 0 {
		t.Errorf("%+v, %v; %d questions to the first one", a, err, asked.Load())
	}
	if _, err := TrustAD(inTurn([]*Server{anybody, anybody})); err == nil {
		t.Error("the AD flag of others is trusted")
	}
}

func TestSystemServer(t *testing.T) {
	for text, want := range map[string]string{
		"nameserver 192.0.2.1\n": "192.0.2.1:53",
		"# none\nnameserver 127.0.0.1\nnameserver ::1\noptions edns0\n": "127.0.0.1:53, [::1]:53",
		"nameserver 127.0.0.1\nnameserver 192.0.2.1\n":                  "127.0.0.1:53, 192.0.2.1:53",
		"nameserver fe80::1%eth0\n":                                     "[fe80::1%eth0]:53",
		"search example.com\n":                                          "",
	} {
		file := filepath.Join(t.TempDir(), "resolv.conf")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		server, err := systemServer(file)
		if want == "" {
			if err == nil {
				t.Errorf("%q: %v; want an error", text, server)
			}
			continue
		}
		// The AD flag is believed only if none of them can be anybody.
		if err != nil || server.String() != want || server.Private() == (strings.Contains(want, "192.0.2.1") || strings.Contains(want, "fe80")) {
			t.Errorf("%q: %v (private: %v), %v; want %s", text, server, err == nil && server.Private(), err, want)
		}
	}
	if server, err := systemServer(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Errorf("%v; want an error", server)
	}
}
