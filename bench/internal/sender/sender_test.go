package sender

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestRun asks a server that answers each question by its type, and loses one kind.
func TestRun(t *testing.T) {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	signed := 0
	go func() {
		defer close(served)
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			m, reply := new(dns.Msg), new(dns.Msg)
			if err := m.Unpack(buf[:n]); err != nil {
				t.Error(err)
				return
			}
			if m.IsEdns0() != nil && m.IsEdns0().Do() {
				signed++
			}
			reply.SetReply(m)
			switch m.Question[0].Qtype {
			case dns.TypeTXT:
				reply.Truncated = true
			case dns.TypeA:
				reply.Rcode = dns.RcodeNameError
			case dns.TypeNS:
				reply.Answer = []dns.RR{&dns.NS{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeNS, Class: dns.ClassINET}, Ns: "."}}
			case dns.TypeMX:
				reply.Rcode = dns.RcodeRefused
			}
			packed, err := reply.Pack()
			if err == nil {
				_, err = conn.WriteTo(packed, from)
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	}()
	file := filepath.Join(t.TempDir(), "queries")
	if err := os.WriteFile(file, []byte("a.example TXT\na.example. A\n\nexample. NS\nexample. MX\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := Load{Addr: conn.LocalAddr().String(), Queries: file, DO: true, Time: 100 * time.Millisecond, Window: 32, Sockets: 2, Processor: 0}.Run()
	if err != nil {
		t.Fatal(err)
	}
	slow, err := Load{Addr: conn.LocalAddr().String(), Queries: file, DO: true, Time: 100 * time.Millisecond, QPS: 1000, Window: 32, Sockets: 2, Processor: -1}.Run()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	<-served
	if slow.Sent == 0 || slow.Sent > 100 || slow.Answered != slow.Sent {
		t.Errorf("at a rate of 100 in the time %d were sent, %d answered", slow.Sent, slow.Answered)
	}
	if signed -= slow.Sent; r.Answered == 0 || r.Answered != r.Sent || signed != r.Sent {
		t.Errorf("%d sent, %d with DO, %d answered", r.Sent, signed, r.Answered)
	}
	if quarter := r.Answered / 4; r.TC < quarter-1 || r.NXDOMAIN < quarter-1 || r.Records < quarter-1 || r.Other < quarter-1 || r.TC+r.NXDOMAIN+r.Records+r.Other != r.Answered {
		t.Errorf("want a quarter of each: %+v", r)
	}
	if _, err := (Load{Addr: conn.LocalAddr().String(), Queries: file + "x", Sockets: 1}).Run(); err == nil {
		t.Errorf("no error without questions")
	}
}
