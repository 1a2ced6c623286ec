package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/bench/internal/measure"
)

func makeDir(dir string) error { return os.MkdirAll(dir, 0o755) }

func number(v float64) string { return fmt.Sprintf("%.1f", v) }

// amplification measures how many octets come out of the server over UDP for
// those that go in, by kind of answer: what a forger of addresses can gain.
func (b *bench) amplification() (*measure.Table, error) {
	digests, err := b.start("smimea", b.dnssec(false)+ours(b.users, "denials_per_second 1"), certificate)
	if err != nil {
		return nil, err
	}
	whole, err := b.start("smimea with whole certificates", b.dnssec(false)+ours(b.users, "record 3 0 0"), certificate)
	if err != nil {
		return nil, err
	}
	defer b.stop(digests, whole)
	for _, s := range []*measure.Server{digests, whole} {
		if err := s.Signed(2*b.users.N, 20*time.Minute); err != nil {
			return nil, err
		}
	}
	text, err := measure.Address(1).TextOwner()
	if err != nil {
		return nil, err
	}
	owner, zone := measure.Address(1).Owner(), measure.Domain+"."
	absent := fmt.Sprintf("%056x._smimecert.%s", 0, zone)
	t := measure.NewTable("octets out of the server over UDP for one that goes in (with IP and UDP headers)")
	for _, k := range []struct {
		what  string
		s     *measure.Server
		name  string
		qtype uint16
		do    bool
	}{
		{"SMIMEA 3 1 1", digests, owner, dns.TypeSMIMEA, false},
		{"SMIMEA 3 1 1 with DO", digests, owner, dns.TypeSMIMEA, true},
		{"TXT", digests, text, dns.TypeTXT, false},
		{"TXT with DO", digests, text, dns.TypeTXT, true},
		{"ANY with DO", digests, owner, dns.TypeANY, true},
		{"another type", digests, owner, dns.TypeA, false},
		{"no such name", digests, absent, dns.TypeSMIMEA, false},
		{"no such name with DO", digests, absent, dns.TypeSMIMEA, true},
		{"the same, over the limit of denials", digests, absent, dns.TypeSMIMEA, true},
		{"SOA with DO", digests, zone, dns.TypeSOA, true},
		{"DNSKEY with DO", digests, zone, dns.TypeDNSKEY, true},
		{"SMIMEA 3 0 0 (P-256 certificate)", whole, owner, dns.TypeSMIMEA, false},
		{"SMIMEA 3 0 0 with DO", whole, owner, dns.TypeSMIMEA, true},
	} {
		in, out, reply, err := exchange(k.s.Port, k.name, k.qtype, k.do)
		if err != nil {
			return nil, fmt.Errorf("asking for %s %s: %w", k.name, dns.TypeToString[k.qtype], err)
		}
		state := dns.RcodeToString[reply.Rcode]
		if reply.Truncated {
			state += ", TC"
		}
		t.Row(k.what, fmt.Sprintf("%.1f", float64(out)/float64(in)), fmt.Sprintf("%d for %d, %s", out, in, state))
	}
	return t, nil
}

// headers is what UDP and IPv4 add to a message.
const headers = 28

// exchange returns the octets of a query with EDNS size 1232, where it has EDNS,
// and of its reply.
func exchange(port int, name string, qtype uint16, do bool) (in, out int, reply *dns.Msg, err error) {
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	if do {
		m.SetEdns0(1232, true)
	}
	query, err := m.Pack()
	if err != nil {
		return 0, 0, nil, err
	}
	conn, err := net.Dial("udp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		return 0, 0, nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write(query); err != nil {
		return 0, 0, nil, err
	}
	buf := make([]byte, 65536)
	n, err := conn.Read(buf)
	if err != nil {
		return 0, 0, nil, err
	}
	reply = new(dns.Msg)
	return len(query) + headers, n + headers, reply, reply.Unpack(buf[:n])
}
