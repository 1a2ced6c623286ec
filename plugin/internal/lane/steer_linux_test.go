package lane

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin/pkg/reuseport"
	"github.com/miekg/dns"

	"coredns-smimea/internal/harness"
)

// TestBack has a lane come and go beside sockets as CoreDNS has them, of which another
// one comes later, as with *multisocket* and a reload. All of them get packets then.
func TestBack(t *testing.T) {
	for _, c := range []struct {
		host  string
		cores int
		ask   []string
	}{
		{"127.0.0.1", 1, []string{"127.0.0.1"}},
		{"127.0.0.1", 2, []string{"127.0.0.1"}},
		{"::1", 2, []string{"::1"}},
		{"0.0.0.0", 2, []string{"127.0.0.1", "127.1.2.3"}},
		{"", 2, []string{"127.0.0.1", "::1"}},
	} {
		t.Run(fmt.Sprintf("%d of %s", c.cores, c.host), func(t *testing.T) {
			port, err := harness.FreePort()
			if err != nil {
				t.Fatal(err)
			}
			addr := net.JoinHostPort(c.host, fmt.Sprint(port))
			var own []*net.UDPConn
			listen := func() {
				t.Helper()
				p, err := reuseport.ListenPacket("udp", addr)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { p.Close() })
				own = append(own, p.(*net.UDPConn))
			}
			for range c.cores {
				listen()
			}
			l, err := Open(newOptions(&dnsserver.Server{Addr: "dns://" + addr}, c.cores, new(logs)))
			if err != nil {
				t.Fatal(err)
			}
			for _, host := range c.ask {
				wantLane(t, net.JoinHostPort(host, fmt.Sprint(port)), dns.TypeTXT, true)
			}
			l.Close()
			for range 2 {
				for _, host := range c.ask {
					wantShares(t, net.JoinHostPort(host, fmt.Sprint(port)), own)
				}
				listen()
			}
		})
	}
}

// wantShares sends packets from many ports, and wants each of the sockets to get some,
// and all of them together to get all.
func wantShares(t *testing.T, addr string, sockets []*net.UDPConn) {
	t.Helper()
	const sent = 200
	for range sent {
		conn, err := net.Dial("udp", addr)
		if err == nil {
			_, err = conn.Write([]byte("packet"))
			conn.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	from := make(chan int)
	var readers sync.WaitGroup
	for i, s := range sockets {
		s.SetReadDeadline(time.Now().Add(time.Minute))
		readers.Go(func() {
			buf := make([]byte, 16)
			for {
				if _, _, err := s.ReadFrom(buf); err != nil {
					return
				}
				from <- i
			}
		})
	}
	ended := make(chan struct{})
	go func() { readers.Wait(); close(ended) }()
	got, sum := make([]int, len(sockets)), 0
	for sum < sent {
		select {
		case i := <-from:
			got[i]++
			sum++
			continue
		case <-ended:
		}
		break
	}
	for _, s := range sockets {
		s.SetReadDeadline(time.Now())
	}
	<-ended
	if sum < sent || slices.Min(got) < sent/len(sockets)/4 {
		t.Errorf("of %d packets to %s CoreDNS's sockets got %v", sent, addr, got)
	}
}
