package test

import (
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

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
		})
	}
}

// TestCache puts CoreDNS's cache into the block, and a validating resolver in front.
func TestCache(t *testing.T) {
	l := wholeZone(t, func(t *testing.T, corefile string) *server {
		return startServer(t, strings.Replace(corefile, "\terrors\n", "\terrors\n\tcache\n", 1))
	}, signing{dns.ECDSAP256SHA256, false}, "", "3 1 1")
	l.resolve(t, startUnbound(t, l.at()))
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
