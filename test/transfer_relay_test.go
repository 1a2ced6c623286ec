package test

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"coredns-smimea/internal/harness"
)

// roundRobin relays queries to servers in turn, over UDP and TCP, and returns
// where.
func roundRobin(t *testing.T, servers []string) string {
	t.Helper()
	addr := harness.Loopback(freePort(t))
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	u, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Close()
		u.Close()
	})
	var turn atomic.Uint64
	next := func() string { return servers[turn.Add(1)%uint64(len(servers))] }
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
	go func() {
		for {
			b := make([]byte, 65535)
			n, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			go func() {
				server, err := net.Dial("udp", next())
				if err != nil {
					return
				}
				defer server.Close()
				server.SetDeadline(time.Now().Add(5 * time.Second))
				server.Write(b[:n])
				if n, err = server.Read(b); err == nil {
					u.WriteTo(b[:n], from)
				}
			}()
		}
	}()
	return addr
}
