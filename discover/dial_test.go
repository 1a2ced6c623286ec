package discover

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/discover/dnssec"
)

// hosts is a resolver of addresses, each after a while.
type hosts map[uint16]struct {
	after time.Duration
	list  []string
	err   error
}

func (h hosts) Lookup(ctx context.Context, name string, qtype uint16) (*dnssec.Answer, error) {
	of := h[qtype]
	select {
	case <-time.After(of.after):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	a := &dnssec.Answer{Security: dnssec.Insecure, Name: name}
	for _, text := range of.list {
		header := dns.RR_Header{Name: name, Rrtype: qtype, Class: dns.ClassINET}
		if ip := net.ParseIP(text); qtype == dns.TypeA {
			a.Records = append(a.Records, &dns.A{Hdr: header, A: ip})
		} else {
			a.Records = append(a.Records, &dns.AAAA{Hdr: header, AAAA: ip})
		}
	}
	return a, of.err
}

// TestRace holds which address wins, and when.
func TestRace(t *testing.T) {
	const six, six2, four, four2 = "2001:db8::6", "2001:db8::7", "192.0.2.4", "192.0.2.5"
	never := time.Hour
	type behaviour struct {
		after time.Duration
		err   error
	}
	refused := behaviour{0, errors.New("refused")}
	silent := behaviour{never, nil}
	for _, test := range []struct {
		name  string
		hosts hosts
		does  map[string]behaviour
		want  string // the address, or the error
		takes time.Duration
	}{
		{"IPv6 first", hosts{dns.TypeAAAA: {list: []string{six}}, dns.TypeA: {list: []string{four}}}, nil, six, 0},
		{"IPv6 a moment later", hosts{dns.TypeAAAA: {after: 20 * time.Millisecond, list: []string{six}}, dns.TypeA: {list: []string{four}}}, nil, six, 20 * time.Millisecond},
		{"no answer for AAAA", hosts{dns.TypeAAAA: {after: never}, dns.TypeA: {list: []string{four}}}, nil, four, resolutionDelay},
		{"no answer for A", hosts{dns.TypeAAAA: {list: []string{six}}, dns.TypeA: {after: never}}, nil, six, 0},
		{"IPv6 leads nowhere", hosts{dns.TypeAAAA: {list: []string{six, six2}}, dns.TypeA: {list: []string{four}}},
			map[string]behaviour{six: silent, six2: silent}, four, attemptDelay},
		{"IPv6 leads nowhere, A comes late", hosts{dns.TypeAAAA: {list: []string{six}}, dns.TypeA: {after: time.Second, list: []string{four}}},
			map[string]behaviour{six: silent}, four, time.Second},
		{"IPv4 leads nowhere, AAAA comes late", hosts{dns.TypeAAAA: {after: time.Second, list: []string{six}}, dns.TypeA: {list: []string{four}}},
			map[string]behaviour{four: silent}, six, time.Second},
		{"the first refuses", hosts{dns.TypeA: {list: []string{four, four2}}}, map[string]behaviour{four: refused}, four2, 0},
		{"the first is slow", hosts{dns.TypeA: {list: []string{four, four2}}},
			map[string]behaviour{four: {400 * time.Millisecond, nil}, four2: {400 * time.Millisecond, nil}}, four, 400 * time.Millisecond},
		{"all refuse", hosts{dns.TypeAAAA: {list: []string{six}}, dns.TypeA: {list: []string{four, four2}}},
			map[string]behaviour{six: refused, four: refused, four2: refused}, "refused", 0},
		{"no address", hosts{}, nil, "host.test has no address", 0},
		{"no resolver", hosts{dns.TypeAAAA: {err: errors.New("SERVFAIL")}, dns.TypeA: {err: errors.New("SERVFAIL")}}, nil, "SERVFAIL", 0},
		{"one family fails", hosts{dns.TypeAAAA: {err: errors.New("SERVFAIL")}, dns.TypeA: {list: []string{four}}}, nil, four, 0},
		{"all are silent", hosts{dns.TypeA: {list: []string{four}}}, map[string]behaviour{four: silent}, "deadline exceeded", 10 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				began := time.Now()
				conn, err := (&race{host: "host.test", waiting: 2}).run(ctx, test.hosts, func(ctx context.Context, a netip.Addr) (net.Conn, error) {
					does := test.does[a.String()]
					select {
					case <-time.After(does.after):
					case <-ctx.Done():
						return nil, ctx.Err()
					}
					if does.err != nil {
						return nil, does.err
					}
					return &connTo{a}, nil
				})
				took := time.Since(began)
				got := ""
				switch {
				case err != nil:
					got = err.Error()
				default:
					got = conn.(*connTo).to.String()
				}
				if !strings.Contains(got, test.want) || took != test.takes {
					t.Errorf("%s after %v; want %s after %v", got, took, test.want, test.takes)
				}
			})
		})
	}
}

// connTo is a connection that is none.
type connTo struct{ to netip.Addr }

func (*connTo) Close() error                     { return nil }
func (*connTo) Read([]byte) (int, error)         { return 0, io.EOF }
func (*connTo) Write(p []byte) (int, error)      { return len(p), nil }
func (*connTo) LocalAddr() net.Addr              { return nil }
func (*connTo) RemoteAddr() net.Addr             { return nil }
func (*connTo) SetDeadline(time.Time) error      { return nil }
func (*connTo) SetReadDeadline(time.Time) error  { return nil }
func (*connTo) SetWriteDeadline(time.Time) error { return nil }

// TestManyAddresses holds how many addresses are tried.
func TestManyAddresses(t *testing.T) {
	var many []string
	for range 1000 {
		many = append(many, "192.0.2.1")
	}
	tried := 0
	_, err := (&race{host: "host.test", waiting: 2}).run(t.Context(), hosts{dns.TypeA: {list: many}}, func(context.Context, netip.Addr) (net.Conn, error) {
		tried++ // one after the other, since each fails at once
		return nil, errors.New("refused")
	})
	if err == nil || tried != maxAttempts {
		t.Errorf("tried %d addresses, %v; want %d", tried, err, maxAttempts)
	}
}

// TestSilentTLS has a host whose first address accepts, and says nothing.
func TestSilentTLS(t *testing.T) {
	w := newWorld(t)
	silent, err := net.Listen("tcp", "127.0.0.2:"+w.web.Port)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	w.files["/u"] = user(t, "u@example.test")
	w.zone = []string{"keys IN A 127.0.0.2", "keys IN A 127.0.0.1", "@ IN A 127.0.0.3", "@ IN A 127.0.0.4", "@ IN A 127.0.0.1"} // nobody is at .4
	w.publish("u@example.test", w.files["/u"], []string{"3 1 1"}, w.url("keys.example.test", "/u"))
	resets, err := net.Listen("tcp", "127.0.0.3:"+w.web.Port)
	if err != nil {
		t.Fatal(err)
	}
	defer resets.Close()
	go func() {
		for {
			conn, err := resets.Accept()
			if err != nil {
				return
			}
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}
	}()
	w.files["/r"] = user(t, "r@example.test")
	w.publish("r@example.test", w.files["/r"], []string{"3 1 1"}, w.url("example.test", "/r"))
	c := w.client()
	w.expect(c, "u@example.test", Verified)
	w.expect(c, "r@example.test", Verified)
}
