package test

import (
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestNeighbours puts other plugins into the block: answers stay what they are.
func TestNeighbours(t *testing.T) {
	for _, directives := range []string{
		"bufsize 1232",
		"multisocket 2",
		"minimal",
		"acl {\nallow type * net 127.0.0.1/32\nblock\n}",
		"prometheus 127.0.0.1:0",
		"log",
		"header {\nresponse set aa\n}",
		"view loopback {\nexpr client_ip() == '127.0.0.1'\n}",
		"rewrite stop {\nname exact moved.example.com dave._smime.example.com\nanswer auto\n}",
		"tsig {\nsecret key. " + neighbourSecret + "\nrequire none\n}",
		"dnstap tcp://" + drain(t) + " full",
	} {
		t.Run(directives, func(t *testing.T) {
			dir := t.TempDir()
			pubs := users(t, dir, "example.com")
			k := newKeys(t, "example.com.", signing{dns.ECDSAP256SHA256, true})
			s := startServer(t, block("example.com", directives, k.directive, "smimea "+dir))
			rrs := append(records(t, dir, "example.com.", pubs, "3 1 1"), apexRecords(t, s.addr, "example.com.", "hostmaster.example.com.", 300, "ns.example.com.")...)
			z := newZone(t, "example.com.", true, rrs)
			for _, name := range []string{hashOwner("alice", "example.com."), hashOwner("nobody", "example.com."), "_smime.example.com.", "dave._smime.example.com."} {
				for _, rtype := range []uint16{dns.TypeSMIMEA, dns.TypeTXT, dns.TypeA, dns.TypeDS} {
					for _, q := range transports() {
						q.name, q.qtype = name, rtype
						z.check(t, s.addr, k, q)
					}
				}
			}
			switch first, _, _ := strings.Cut(directives, " "); first {
			case "rewrite":
				m, _ := ask(t, s.addr, question{name: "moved.example.com.", qtype: dns.TypeTXT})
				if len(m.Answer) == 0 || m.Answer[0].Header().Name != "moved.example.com." || m.Question[0].Name != "moved.example.com." {
					t.Errorf("a name that is rewritten to dave's:\n%s", m)
				}
			case "tsig":
				askTSIG(t, s.addr, "dave._smime.example.com.", dns.TypeTXT)
				askTSIG(t, s.addr, "nobody._smime.example.com.", dns.TypeTXT)
			}
		})
	}
}

const neighbourSecret = "NoTCJU+DMqFWywaPyxSijrDEA/eC3nK0xi3AMEZuPVk="

// askTSIG asks with a TSIG, and holds that the reply has one that is right.
func askTSIG(t *testing.T, addr, name string, rtype uint16) {
	t.Helper()
	for _, network := range []string{"udp", "tcp"} {
		m := new(dns.Msg)
		m.SetQuestion(name, rtype)
		m.SetEdns0(1232, true)
		m.SetTsig("key.", dns.HmacSHA256, 300, time.Now().Unix())
		c := &dns.Client{Net: network, Timeout: lostAfter, TsigSecret: map[string]string{"key.": neighbourSecret}}
		reply, _, err := c.Exchange(m, addr) // verifies
		if err != nil || reply.IsTsig() == nil || len(reply.Answer)+len(reply.Ns) == 0 {
			t.Errorf("%s over %s with TSIG: %v\n%v", name, network, err, reply)
		}
	}
}

// drain listens, and throws away what comes.
func drain(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go io.Copy(io.Discard, c)
		}
	}()
	return l.Addr().String()
}

// TestCache puts CoreDNS's cache into the block, and a validating resolver in front.
func TestCache(t *testing.T) {
	l := wholeZone(t, func(t *testing.T, corefile string) *server {
		return startServer(t, strings.Replace(corefile, "\terrors\n", "\terrors\n\tcache\n", 1))
	}, signing{dns.ECDSAP256SHA256, false}, "", "3 1 1")
	l.resolve(t, startUnbound(t, l.at(t)))
}

// TestConcurrent asks from several sides at once, of a server with three keys: a
// slice that two answers share would show to the race detector.
func TestConcurrent(t *testing.T) {
	dir := t.TempDir()
	pubs := users(t, dir, "example.com")
	k := newKeySet(t, "example.com.", dns.ECDSAP256SHA256, 257, 257, 257)
	db := filepath.Join(t.TempDir(), "db.example.com")
	writeFile(t, db, exampleZone(1, 900))
	s := startServer(t, block("example.com", k.directive, "smimea "+dir, "file "+db))
	soa, err := dns.NewRR(exampleSOA(1, 900))
	if err != nil {
		t.Fatal(err)
	}
	z := newZone(t, "example.com.", false, append(records(t, dir, "example.com.", pubs, "3 1 1"), soa))
	l := &layout{name: "beside file", addr: s.addr, keys: k, zones: []*zone{z}}
	names := l.asked(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, name := range slices.Clone(names) {
				for _, rtype := range []uint16{dns.TypeSMIMEA, dns.TypeTXT, dns.TypeA} {
					z.check(t, s.addr, k, question{name: name, qtype: rtype, size: 4096, do: true})
				}
			}
		})
	}
	wg.Wait()
}
