package discover

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"coredns-smimea/discover/discovertest"
	"coredns-smimea/discover/dnssec"
)

func TestParseServer(t *testing.T) {
	for text, private := range map[string]bool{
		"127.0.0.1": true, "127.0.0.1:5300": true, "::1": true, "[::1]:53": true, "192.0.2.1": false, "192.0.2.1:53": false,
		"dns.example.net": false, "localhost": false, // by a name, it could be anywhere
		"tls://192.0.2.1": true, "tls://dns.example.net:8853": true, "https://dns.example.net/dns-query": true,
	} {
		s, err := ParseServer(text)
		if err != nil || s.Private() != private || s.String() != text {
			t.Errorf("ParseServer(%q) = %v (private %v), %v; want private %v", text, s, s.Private(), err, private)
		}
	}
	for _, text := range []string{"", "a b", "https://", "tls://", "udp://192.0.2.1", "::1:53:x", ":53", "tls://:853", "192.0.2.1:0", "192.0.2.1:99999", "192.0.2.1:dns", "https://dns.example.net:0/dns-query", "https://:443/"} {
		if s, err := ParseServer(text); err == nil {
			t.Errorf("ParseServer(%q) = %v; want an error", text, s)
		}
	}
}

// TestTrustAD has a resolver that says what is signed, and one that does not.
func TestTrustAD(t *testing.T) {
	names := discovertest.Serve(t, discovertest.Zone{Name: "example.test", Records: []string{
		"x IN TXT \"text\"", "alias IN CNAME x",
	}})
	server, err := ParseServer(names.Address)
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := TrustAD(server)
	if err != nil {
		t.Fatal(err)
	}
	for _, ad := range []bool{false, true} {
		want := dnssec.Insecure
		if ad {
			want = dnssec.Secure
		}
		names.Lie(func(m *dns.Msg) *dns.Msg { m.AuthenticatedData = ad; return m })
		a, err := resolver.Lookup(t.Context(), "x.example.test", dns.TypeTXT)
		if err != nil || a.Security != want || len(a.Records) != 1 {
			t.Errorf("AD %v: %+v, %v; want %v", ad, a, err, want)
		}
	}
	names.Lie(func(m *dns.Msg) *dns.Msg {
		if target, err := dns.NewRR("x.example.test. 300 IN TXT \"text\""); err == nil && len(m.Answer) > 0 {
			m.Answer = append(m.Answer, target) // as a resolver follows the alias
		}
		m.AuthenticatedData = true
		return m
	})
	a, err := resolver.Lookup(t.Context(), "alias.example.test", dns.TypeTXT)
	if err != nil || a.Name != "x.example.test." || len(a.Records) != 1 || len(a.Aliases) != 1 {
		t.Errorf("over an alias: %+v, %v", a, err)
	}
	names.Lie(func(m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeServerFailure; return m })
	if a, err := resolver.Lookup(t.Context(), "x.example.test", dns.TypeTXT); err == nil {
		t.Errorf("SERVFAIL: %+v; want an error", a)
	}
	for _, text := range []string{"192.0.2.1", "localhost"} {
		server, err := ParseServer(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := TrustAD(server); err == nil {
			t.Errorf("the AD flag of %s is trusted", text)
		}
	}
}

// TestTransports asks over all of them: TCP for SMIMEA, UDP and then TCP for
// what is too long for it, HTTPS and TLS.
func TestTransports(t *testing.T) {
	long := strings.Repeat("x", 250)
	names := discovertest.Serve(t, discovertest.Zone{Name: "example.test", Records: []string{
		"long IN TXT " + strings.Repeat(`"`+long+`" `, 10), "short IN TXT \"text\"", "smimea IN SMIMEA 3 1 1 00",
	}})
	plain, err := ParseServer(names.Address)
	if err != nil {
		t.Fatal(err)
	}
	web := discovertest.ServeWeb(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		q := new(dns.Msg)
		if err != nil || q.Unpack(body) != nil || q.Id != 0 || r.Header.Get("Content-Type") != "application/dns-message" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		m, err := plain.Exchange(r.Context(), q)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		packed, err := m.Pack()
		if err == nil {
			w.Header().Set("Content-Type", "application/dns-message")
			w.Write(packed)
		}
	}), "127.0.0.1")
	doh, err := ParseServer("https://127.0.0.1:" + web.Port + "/dns-query")
	if err != nil {
		t.Fatal(err)
	}
	doh.roots = web.Roots
	dot, err := ParseServer("tls://" + tlsServer(t, web, plain))
	if err != nil {
		t.Fatal(err)
	}
	dot.roots = web.Roots
	for _, server := range []*Server{plain, doh, dot} {
		for name, qtype := range map[string]uint16{"long": dns.TypeTXT, "short": dns.TypeTXT, "smimea": dns.TypeSMIMEA} {
			q := new(dns.Msg)
			q.SetQuestion(name+".example.test.", qtype)
			q.SetEdns0(1232, true)
			m, err := server.Exchange(t.Context(), q)
			if err != nil || len(m.Answer) == 0 || m.Truncated || m.Id != q.Id {
				t.Errorf("%v, %s: %v, %v", server, name, m, err)
			}
		}
	}
}

// tlsServer serves DNS over TLS, with the certificate of a web server.
func tlsServer(t *testing.T, web *discovertest.Web, behind *Server) (address string) {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{web.KeyPair}})
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	server := &dns.Server{Listener: listener, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		if m, err := behind.Exchange(t.Context(), q); err == nil {
			w.WriteMsg(m)
		}
	})}
	go server.ActivateAndServe()
	<-started
	t.Cleanup(func() { server.Shutdown() })
	return listener.Addr().String()
}
