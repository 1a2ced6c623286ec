package test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"coredns-smimea/internal/harness"
)

// inLane asks for a name until the fast lane of the address answers.
func inLane(t *testing.T, addr, server, name string, qtype uint16) {
	t.Helper()
	inLaneAs(t, addr, server, question{name: name, qtype: qtype})
}

func inLaneAs(t *testing.T, addr, server string, q question) {
	t.Helper()
	waitFor(t, "the fast lane of "+server, func() bool {
		before := metric(t, "lane_queries_total", "server="+server, "how=answered")
		ask(t, addr, q)
		return metric(t, "lane_queries_total", "server="+server, "how=answered") > before
	})
}

// TestLaneEqual asks two servers of the same directory everything, one with a fast
// lane and one without, and wants the same octets.
func TestLaneEqual(t *testing.T) {
	for _, s := range []signing{{}, {dns.ED25519, false}} { // deterministic signatures
		t.Run(s.String(), func(t *testing.T) {
			dir := t.TempDir()
			users(t, dir, "example.com")
			k := newKeys(t, "example.com.", s)
			other := freePort(t)
			without := harness.Loopback(other)
			off := strings.ReplaceAll(block("example.com", k.directive, smimea(dir, "lane off")), "PORT", strconv.Itoa(other))
			db := filepath.Join(t.TempDir(), "db.example.com")
			writeFile(t, db, strings.ReplaceAll(exampleZone(1, 900), "example.com.", "sub.example.com."))
			sub := block("sub.example.com", "file "+db)
			with := startServer(t, block("example.com", k.directive, smimea(dir, ""))+sub+off+strings.ReplaceAll(sub, "PORT", strconv.Itoa(other))).addr
			inLane(t, with, "dns://"+with, "alice._smime.example.com.", dns.TypeTXT)
			answered, passed := metric(t, "lane_queries_total", "how=answered"), metric(t, "lane_queries_total", "how=passed")
			names := []string{
				"example.com.", "_smime.example.com.", "_smimecert.example.com.", "alice._smime.example.com.", hashOwner("alice", "example.com."),
				hashOwner("nobody", "example.com."), "nobody._smime.example.com.", "www.example.com.", "ns.example.com.", "a.b.c.example.com.",
				"sub.example.com.", "www.sub.example.com.", "absent.sub.example.com.", "example.net.", ".", `a\032b._smime.example.com.`, "localhost.example.com.",
			}
			for _, name := range names {
				for _, rtype := range append(slices.Clone(types), dns.TypeDNSKEY, dns.TypeNSEC, dns.TypeRRSIG, dns.TypeOPT, dns.TypeANY, dns.TypeAXFR, dns.TypeDS) {
					for _, q := range transports() {
						if q.tcp || q.randoms {
							continue
						}
						q.name, q.qtype = name, rtype
						query := q.pack(t)
						got, err := exchange(with, "udp", query, lostAfter)
						want, wantErr := exchange(without, "udp", query, lostAfter)
						if err != nil || wantErr != nil {
							t.Fatalf("%s: %v with a lane, %v without", q, err, wantErr)
						}
						if got, want := timeless(t, got), timeless(t, want); !bytes.Equal(got, want) {
							t.Errorf("%s:\n with a lane %x\n  without it %x", q, got, want)
						}
					}
				}
			}
			for i, query := range oddPackets() {
				wait := lostAfter
				if len(query) < 12 || query[2]&0x80 != 0 { // no query: there is nothing to wait for
					wait = 500 * time.Millisecond
				}
				got, err := exchange(with, "udp", query, wait)
				want, wantErr := exchange(without, "udp", query, wait)
				if !bytes.Equal(got, want) || (err == nil) != (wantErr == nil) {
					t.Errorf("odd packet %d, %x:\n with a lane %x, %v\n  without it %x, %v", i, query, got, err, want, wantErr)
				}
			}
			if n := metric(t, "lane_queries_total", "how=answered") - answered; n < 100 {
				t.Errorf("the lane answered %.0f queries, want more", n)
			}
			if n := metric(t, "lane_queries_total", "how=passed") - passed; n < 100 {
				t.Errorf("the lane passed %.0f queries, want more", n)
			}
		})
	}
}

// oddPackets are packets that are no ordinary queries.
func oddPackets() [][]byte {
	name := labels("alice", "_smime", "example", "com")
	plain := rawQuery(0x0100, name, dns.TypeTXT, dns.ClassINET)
	packets := [][]byte{
		plain[:5], plain[:12], plain[:len(plain)-1], append(slices.Clone(plain), 1, 2, 3),
		rawQuery(0x8100, name, dns.TypeTXT, dns.ClassINET), // a reply
		rawQuery(0x0100, name, dns.TypeTXT, dns.ClassCHAOS),
		rawQuery(0x0100, []byte{0xc0, 0x0c}, dns.TypeTXT, dns.ClassINET),
		rawQuery(0x0100, append([]byte{70}, make([]byte, 80)...), dns.TypeTXT, dns.ClassINET),
		withOPT(plain, 0, 1, 0), withOPT(plain, 3, 0, 0x8000), withOPT(plain, 0, 0, 0, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8),
		withOPT(plain, 0, 0, 0, 0, 10, 0, 80), // an option that ends too early
		withOPT(withOPT(plain, 0, 0, 0), 0, 0, 0),
		append(slices.Clone(plain), make([]byte, 600)...),
		withCount(plain, 0), withCount(plain, 2),
	}
	for opcode := range byte(16) {
		b := slices.Clone(plain)
		b[2] = b[2]&0x87 | opcode<<3
		packets = append(packets, b)
	}
	for i := 6; i < 12; i++ { // records that are not there
		b := slices.Clone(plain)
		b[i] = 1
		packets = append(packets, b)
	}
	return packets
}

// TestLaneAddresses wants replies from the address that was asked, whatever a
// server listens on.
func TestLaneAddresses(t *testing.T) {
	dir := t.TempDir()
	users(t, dir, "example.com")
	for _, c := range []struct {
		name, bind string
		server     string // before the port, if it is not the address that is asked
		ask        []string
	}{
		{"IPv4", "bind 127.0.0.1", "", []string{"127.0.0.1"}},
		{"IPv6", "bind ::1", "", []string{"::1"}},
		{"several", "bind 127.0.0.1 127.0.0.2 ::1", "", []string{"127.0.0.1", "127.0.0.2", "::1"}},
		{"all", "", ":", []string{"127.0.0.1", "127.0.0.2", "127.1.2.3", "::1"}},
		{"all of IPv4", "bind 0.0.0.0", "0.0.0.0:", []string{"127.0.0.1", "127.1.2.3"}},
		{"several sockets", "bind 127.0.0.1\nmultisocket 3", "", []string{"127.0.0.1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := startServer(t, "example.com:PORT {\n"+c.bind+"\nsmimea "+dir+"\n}\nexample.net:PORT {\n"+c.bind+"\nheader {\nresponse set aa\n}\n}\n")
			for _, host := range c.ask {
				addr := net.JoinHostPort(host, portOf(s.addr))
				server := "dns://" + addr
				if c.server != "" {
					server = "dns://" + c.server + portOf(s.addr)
				}
				inLane(t, addr, server, "alice._smime.example.com.", dns.TypeTXT)
				// exchange takes replies of the address only that it asks.
				for range 20 {
					ask(t, addr, question{name: hashOwner("alice", "example.com."), qtype: dns.TypeSMIMEA})
					ask(t, addr, question{name: "example.com.", qtype: dns.TypeSOA, size: 1232})
					ask(t, addr, question{name: "elsewhere.example.", qtype: dns.TypeA}) // by the chain
				}
			}
		})
	}
}

// TestLaneReloads reloads a server under load, to Corefiles with and without a lane,
// and wants an answer to every query.
func TestLaneReloads(t *testing.T) {
	dir := t.TempDir()
	users(t, dir, "example.com")
	corefiles := []string{
		block("example.com", smimea(dir, "")),
		block("example.com", smimea(dir, "udp_limit 1000")),
		block("example.com", smimea(dir, "lane off")),
		block("example.com", "multisocket 2", smimea(dir, "")),
		block("example.com", "no such directive"),
		block("example.com", "log", smimea(dir, "")),
	}
	s := startServer(t, corefiles[0])
	inLane(t, s.addr, "dns://"+s.addr, "alice._smime.example.com.", dns.TypeTXT)
	var stop atomic.Bool
	var asked, lost, reloads atomic.Int64
	done := make(chan error)
	const clients = 4
	for range clients {
		go func() { done <- askSteadily(t, s.addr, &stop, &asked, &lost, &reloads) }()
	}
	for i := 0; i < 200 || asked.Load() < 1000 && !t.Failed(); i++ {
		reloads.Store(int64(i))
		corefile := corefiles[0]
		if i%4 == 3 {
			corefile = corefiles[(i/4)%len(corefiles)]
		}
		if err := s.tryReload(t, corefile); err != nil && !strings.Contains(corefile, "no such") {
			t.Errorf("reload %d: %v\n%s", i, err, corefile)
		}
	}
	stop.Store(true)
	for range clients {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if lost.Load() > 0 {
		t.Errorf("%d of %d queries got no answer", lost.Load(), asked.Load())
	}
	if err := s.tryReload(t, corefiles[0]); err != nil {
		t.Fatal(err)
	}
	inLane(t, s.addr, "dns://"+s.addr, "alice._smime.example.com.", dns.TypeTXT)
}

// askSteadily asks one question after the other, each once, and counts those that
// get no answer.
func askSteadily(t *testing.T, addr string, stop *atomic.Bool, asked, lost, reloads *atomic.Int64) error {
	conn, err := net.Dial("udp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	names := []string{hashOwner("alice", "example.com."), "nobody._smime.example.com.", "example.com."}
	buf := make([]byte, 2048)
	for i := uint16(0); !stop.Load(); i++ {
		m := new(dns.Msg)
		m.SetQuestion(names[int(i)%len(names)], dns.TypeSMIMEA)
		m.Id = i
		query, err := m.Pack()
		if err != nil {
			return err
		}
		if _, err := conn.Write(query); err != nil {
			return fmt.Errorf("asking: %w", err)
		}
		asked.Add(1)
		from := reloads.Load()
		conn.SetReadDeadline(time.Now().Add(2 * time.Minute)) // a lost one stays lost
		n, err := conn.Read(buf)
		switch {
		case err != nil:
			lost.Add(1)
			t.Logf("no answer to a query for %s, asked at reload %d", names[int(i)%len(names)], from)
		case n < 12 || !bytes.Equal(buf[:2], query[:2]):
			return fmt.Errorf("asked %x, got %x", query, buf[:n])
		}
	}
	return nil
}

// TestLaneMetrics asks two servers the same, one with a fast lane and one without,
// and wants *prometheus* to count the same.
func TestLaneMetrics(t *testing.T) {
	dir := t.TempDir()
	users(t, dir, "example.com")
	k := newKeys(t, "example.com.", signing{dns.ED25519, false})
	other, side := freePort(t), freePort(t)
	without := harness.Loopback(other)
	directive := "prometheus " + harness.Loopback(side)
	off := strings.ReplaceAll(block("example.com", directive, k.directive, smimea(dir, "lane off")), "PORT", strconv.Itoa(other))
	with := startServer(t, block("example.com", directive, k.directive, smimea(dir, ""))+off).addr
	inLane(t, with, "dns://"+with, "alice._smime.example.com.", dns.TypeTXT)
	// All have signatures from here on.
	inLaneAs(t, with, "dns://"+with, question{name: "alice._smime.example.com.", qtype: dns.TypeTXT, size: 1232, do: true})
	inLaneAs(t, with, "dns://"+with, question{name: hashOwner("alice", "example.com."), qtype: dns.TypeSMIMEA, size: 1232, do: true})
	ask(t, without, question{name: "alice._smime.example.com.", qtype: dns.TypeTXT})
	// The plugins count after their reply has gone out.
	counted := func(server string) float64 {
		return dnsMetrics(t, "dns://"+server)["coredns_dns_request_duration_seconds view= zone=example.com. count"]
	}
	waitFor(t, "the first count", func() bool { return counted(without) == 1 })
	got, want := dnsMetrics(t, "dns://"+with), dnsMetrics(t, "dns://"+without)
	first, asked := counted(with), 0.0
	for _, name := range []string{"example.com.", "alice._smime.example.com.", "ALICE._smime.example.com.", hashOwner("alice", "example.com."), "nobody._smime.example.com."} {
		for _, rtype := range types {
			for _, q := range transports() {
				if q.tcp || q.randoms {
					continue
				}
				q.name, q.qtype = name, rtype
				ask(t, with, q)
				ask(t, without, q)
				asked++
			}
		}
	}
	waitFor(t, "the last count", func() bool { return counted(with) == first+asked && counted(without) == 1+asked })
	for all, server := range map[*map[string]float64]string{&got: with, &want: without} {
		before := *all
		*all = dnsMetrics(t, "dns://"+server)
		for name := range *all {
			(*all)[name] -= before[name]
		}
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %v with a lane, %v without", name, got[name], value)
		}
	}
	for name, value := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is %v with a lane, and not there without", name, value)
		}
	}
	if len(want) < 15 {
		t.Errorf("%d metrics, want more", len(want))
	}
}

// dnsMetrics returns what CoreDNS counts of a server, by name and labels; of
// histograms how many there were, and where they are sizes, their sum.
func dnsMetrics(t *testing.T, server string) map[string]float64 {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "coredns_dns_") {
			continue
		}
		for _, m := range family.Metric {
			if !hasLabels(m, []string{"server=" + server}) {
				continue
			}
			name := family.GetName()
			for _, label := range m.Label {
				if label.GetName() != "server" {
					name += fmt.Sprintf(" %s=%s", label.GetName(), label.GetValue())
				}
			}
			if m.Histogram == nil {
				all[name] = m.GetCounter().GetValue()
				continue
			}
			all[name+" count"] = float64(m.Histogram.GetSampleCount())
			if strings.HasSuffix(family.GetName(), "_size_bytes") {
				all[name+" sum"] = m.Histogram.GetSampleSum()
			}
		}
	}
	return all
}

// TestLaneMultisocket reloads a server with several sockets, of which the kernel has
// others in other places then, and wants the lane to answer all that it can.
//
// Sockets that a reload does without are closed by the garbage collector only, and then the
// kernel renumbers those that are left: until the next reload with another number of sockets
// the lane gets a part of the questions. So it runs here only between the questions and the
// next reload.
func TestLaneMultisocket(t *testing.T) {
	t.Setenv("GOGC", "off") // the plugin leaves it so
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	dir := t.TempDir()
	users(t, dir, "example.com")
	corefile := func(sockets int, options string) string {
		return block("example.com", fmt.Sprintf("multisocket %d", sockets), smimea(dir, options))
	}
	s := startServer(t, corefile(3, ""))
	inLane(t, s.addr, "dns://"+s.addr, "alice._smime.example.com.", dns.TypeTXT)
	lanes := udpSockets(t, s.addr) - 3
	open := 3 + lanes
	for i, next := range []struct {
		sockets int
		options string
	}{{3, ""}, {3, "udp_limit 1000"}, {3, ""}, {1, ""}, {4, ""}, {2, "lane off"}, {2, ""}} {
		if i > 0 {
			waitFor(t, "the sockets that are not needed to be closed", func() bool {
				runtime.GC()
				return udpSockets(t, s.addr) == open
			})
			if err := s.tryReload(t, corefile(next.sockets, next.options)); err != nil {
				t.Fatal(err)
			}
		}
		if open = next.sockets; next.options == "lane off" {
			continue
		}
		open += lanes
		inLane(t, s.addr, "dns://"+s.addr, "alice._smime.example.com.", dns.TypeTXT)
		const asked = 50
		before := metric(t, "lane_queries_total", "server=dns://"+s.addr, "how=answered")
		for range asked {
			ask(t, s.addr, question{name: "alice._smime.example.com.", qtype: dns.TypeTXT})
		}
		if n := metric(t, "lane_queries_total", "server=dns://"+s.addr, "how=answered") - before; n != asked {
			t.Errorf("after %d reloads the lane answers %.0f of %d queries", i, n, asked)
		}
	}
}

// udpSockets returns how many UDP sockets of this machine are bound to an address of IPv4.
func udpSockets(t *testing.T, addr string) (n int) {
	t.Helper()
	text, err := os.ReadFile("/proc/net/udp")
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(portOf(addr))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), fmt.Sprintf(": 0100007F:%04X ", port))
}
