package test

import (
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"coredns-smimea/internal/harness"
)

// roundRobin relays queries to servers in turn, over UDP and TCP, and returns
// where.
func roundRobin(t *testing.T, servers []string) string {
	t.Helper()
	var turn atomic.Uint64
	next := func() string { return servers[turn.Add(1)%uint64(len(servers))] }
	return relay(t, next, func(query []byte) ([]byte, error) { return exchange(next(), "udp", query, lostAfter) })
}

// bothWays relays queries to a server, and holds that all of those over UDP have the
// same answer by the fast lane and by the plugins. It returns where.
func bothWays(t *testing.T, server string) string {
	t.Helper()
	return relay(t, func() string { return server }, func(query []byte) ([]byte, error) {
		return exchangeBothWays(t, server, query)
	})
}

// relay relays connections to the servers that next returns, and packets by exchange,
// and returns where.
func relay(t *testing.T, next func() string, exchange func(query []byte) ([]byte, error)) string {
	t.Helper()
	l, u, err := harness.Listen()
	if err != nil {
		t.Fatal(err)
	}
	var packets sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		u.Close()
		packets.Wait()
	})
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer client.Close()
				server, err := net.Dial("tcp", next())
				if err != nil {
					return
				}
				defer server.Close()
				go func() {
					io.Copy(server, client)
					server.Close()
				}()
				io.Copy(client, server)
			}()
		}
	}()
	packets.Go(func() {
		b := make([]byte, 65535)
		for {
			n, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			query := slices.Clone(b[:n])
			packets.Go(func() {
				if reply, err := exchange(query); err == nil {
					u.WriteTo(reply, from)
				}
			})
		}
	})
	return l.Addr().String()
}
