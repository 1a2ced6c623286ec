package test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"coredns-smimea/internal/harness"
)

// TestTransferRestarts ends and begins the primary and its secondaries, with
// changes in between. With a state there is no AXFR after the first.
func TestTransferRestarts(t *testing.T) {
	for _, kept := range []bool{false, true} {
		t.Run(fmt.Sprintf("state %v", kept), func(t *testing.T) {
			t.Parallel()
			c := newCrowd(t, 20)
			options := "ns ns1.example.net\nmax_withdraw 100"
			if kept {
				options += "\nstate " + filepath.Join(t.TempDir(), "state")
			}
			f := newFleet(t, subZonesOf, false, smimea(c.dir, options))
			f.follow(t)
			for _, s := range f.who {
				f.change(t, c)
				f.follow(t)
				s.stop(t)
				f.change(t, c)
				f.change(t, c)
				s.start(t)
				f.follow(t)
			}
			full := 0
			for i := range 3 {
				// What changes while the primary is away is in its first answer.
				last, probes := serials(t, f.addr, f.zones), t.TempDir()
				f.stop(t)
				if i > 0 {
					waitFor(t, "the clock to pass the last serial", func() bool {
						now, err := harness.FileTime(probes)
						return err == nil && !slices.ContainsFunc(last, func(serial uint32) bool {
							return int32(uint32(now.UnixNano()/int64(serialTick))-serial) <= 0
						})
					})
					c.change(t)
				}
				f.start(t)
				f.follow(t)
				f.change(t, c)
				f.follow(t)
				full += f.transfers(t)["axfr"] - 2*len(f.zones)
			}
			if kept && full != 0 {
				t.Errorf("%d AXFR after the primary's restarts, want none", full)
			}
		})
	}
}

// TestTransferKilled kills the primary between changes, with zones that are signed for
// their secondaries and a state that lacks the last change, and changes users while
// it is away: whatever the state has, all that is new is signed and transferred.
func TestTransferKilled(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 20)
	k := newKeys(t, "example.com.", signing{dns.ECDSAP256SHA256, false})
	options := "ns ns1.example.net\nmax_withdraw 100\ntransfer_signed\nstate " + filepath.Join(t.TempDir(), "state")
	f := newFleet(t, subZonesOf, false, k.directive, smimea(c.dir, options))
	f.follow(t)
	for round := range 3 {
		f.change(t, c) // the first makes the state stale, and the next are in no state
		f.change(t, c)
		f.kill()
		f.start(t)
		f.follow(t)
		f.change(t, c)
		f.follow(t)
		// The state that a clean end leaves lacks what happens meanwhile.
		f.stop(t)
		c.join(t)
		if round == 1 {
			c.change(t)
		}
		f.start(t)
		f.follow(t)
	}
	for _, s := range f.who {
		command(t, "dnssec-verify", "-z", "-o", strings.TrimSuffix(subZonesOf[0], "."), zoneFile(t, s.addr, subZonesOf[0]))
	}
}

// many are the users of the largest zone of TestTransferSizes.
var many = flag.Int("users", 0, "`N` users of a large zone to transfer, such as 100000; 0 for none")

// TestTransferSizes transfers zones of one user and of thousands, and one of
// 300 whole certificates of 2 kB.
func TestTransferSizes(t *testing.T) {
	for _, n := range []int{1, 1000, *many} {
		if n == 0 {
			continue
		}
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			c := newCrowd(t, n)
			f := newFleet(t, subZonesOf, false, smimea(c.dir, "ns ns1.example.net\nmax_withdraw 100"))
			f.follow(t)
			first := f.transfers(t)["axfr"]
			for range 5 {
				f.change(t, c)
				f.follow(t)
			}
			if now := f.transfers(t)["axfr"] - first; now != 5*len(f.zones) {
				t.Errorf("%d AXFR, want the %d of the test itself", now, 5*len(f.zones))
			}
		})
	}
	t.Run("whole certificates", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		for i := range 300 {
			var addresses []string // which make it long
			addresses = append(addresses, fmt.Sprintf("user%d@example.com", i))
			for j := range 40 {
				addresses = append(addresses, fmt.Sprintf("%s-%d-%d@example.org", strings.Repeat("x", 20), i, j))
			}
			cert{addresses: addresses}.write(t, filepath.Join(dir, fmt.Sprintf("%d.pem", i)))
		}
		f := newFleet(t, subZonesOf, false, smimea(dir, "ns ns1.example.net\nrecord 3 0 0"))
		f.follow(t)
		rrs, err := transferIn(f.addr, subZonesOf[0], nil, false)
		if err != nil {
			t.Fatal(err)
		}
		size := 0
		for _, rr := range rrs {
			size += dns.Len(rr)
		}
		if len(rrs) != 303 || size < 300*2000 {
			t.Errorf("%d records of %d octets, want 303 of 2 kB", len(rrs), size)
		}
	})
}

// TestTransferConsistent changes users while transfers run: each is one version
// of the zone, and IXFR from any to any makes the same.
func TestTransferConsistent(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 300)
	s := startServer(t, block(strings.Join(subZonesOf, " "), smimea(c.dir, "ns ns1.example.net\nmax_withdraw 100\ntransfers 100"), "transfer {\nto *\n}"))
	zone := subZonesOf[0]
	var mu sync.Mutex
	versions := map[uint32][]string{}
	soas := map[uint32]*dns.SOA{}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				rrs, err := transferIn(s.addr, zone, nil, false)
				if err != nil {
					t.Error(err)
					return
				}
				var all []string
				for _, rr := range rrs[:len(rrs)-1] {
					all = append(all, record(t, rr))
				}
				slices.Sort(all)
				soa := rrs[0].(*dns.SOA)
				mu.Lock()
				if was, ok := versions[soa.Serial]; ok && !slices.Equal(was, all) {
					t.Errorf("two versions with serial %d: %s", soa.Serial, differences(t, all, was))
				}
				versions[soa.Serial], soas[soa.Serial] = all, soa
				mu.Unlock()
			}
		})
	}
	for range 10 {
		before, _ := serialAt(s.addr, zone)
		c.change(t)
		c.change(t)
		waitFor(t, "the change", func() bool { now, _ := serialAt(s.addr, zone); return now != before })
		waitFor(t, "a transfer of it", func() bool {
			now, _ := serialAt(s.addr, zone)
			mu.Lock()
			defer mu.Unlock()
			return versions[now] != nil
		})
	}
	close(stop)
	wg.Wait()
	want := axfr(t, s.addr, zone, false)
	last := soaOf(t, want)
	rrs, err := transferIn(s.addr, zone, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	versions[last], soas[last] = want, rrs[0].(*dns.SOA)
	if len(versions) < 8 {
		t.Errorf("%d versions seen", len(versions))
	}
	for serial, all := range versions {
		rrs, err := transferIn(s.addr, zone, soas[serial], false)
		if err != nil {
			t.Fatal(err)
		}
		if serial == last {
			if len(rrs) != 1 {
				t.Errorf("IXFR from the serial itself has %d records", len(rrs))
			}
			continue
		}
		if len(rrs) < 4 || record(t, rrs[1]) != record(t, soas[serial]) {
			t.Errorf("IXFR from %d is not incremental", serial)
			continue
		}
		if got := applied(t, all, rrs); !slices.Equal(got, want) {
			t.Errorf("IXFR from %d makes another zone: %s", serial, differences(t, got, want))
		}
	}
	// History that is not there.
	for _, serial := range []uint32{last - 1<<20, last - 1<<30} {
		soa := *soas[last]
		soa.Serial = serial
		rrs, err := transferIn(s.addr, zone, &soa, false)
		if err != nil || len(rrs) != len(want)+1 {
			t.Errorf("IXFR from %d: %d records, %v, want the whole zone", serial, len(rrs), err)
		}
	}
	soa := *soas[last]
	soa.Serial = last + 7
	if rrs, err := transferIn(s.addr, zone, &soa, false); err != nil || len(rrs) != 1 {
		t.Errorf("IXFR from a later serial: %d records, %v, want the SOA", len(rrs), err)
	}
}

// applied returns the records that an incremental transfer makes of all.
func applied(t *testing.T, all []string, rrs []dns.RR) []string {
	t.Helper()
	all = slices.Clone(all)
	parts := 0 // SOA records passed: the second begins what goes, the third what comes
	for _, rr := range rrs[:len(rrs)-1] {
		r := record(t, rr)
		if rr.Header().Rrtype == dns.TypeSOA {
			if parts++; parts == 1 {
				continue
			}
		}
		i, found := slices.BinarySearch(all, r)
		switch {
		case parts == 2 && found:
			all = slices.Delete(all, i, i+1)
		case parts == 3 && !found:
			all = slices.Insert(all, i, r)
		default:
			t.Errorf("part %d of the incremental transfer has %s, which is there: %v", parts, rr, found)
		}
	}
	return all
}

// TestTransferStalled has clients that take nothing of a transfer: as many as may
// run hold up others no longer than it takes to cut them.
func TestTransferStalled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 4000 { // more than what sockets take by themselves
		cert{addresses: []string{fmt.Sprintf("user%d@example.com", i)}}.write(t, filepath.Join(dir, fmt.Sprintf("%d.pem", i)))
	}
	s := startProcess(t, "", block("_smimecert.example.com", smimea(dir, "transfers 2\nrecord 3 0 0\nrecord 0 0 0\nrecord 1 0 0\nrecord 2 0 0"), "transfer {\nto *\n}"))
	zone := subZonesOf[0]
	waitFor(t, "the zone", func() bool { _, ok := serialAt(s.addr, zone); return ok })
	conns := []interface{ Close() error }{slowClient(t.Context(), t, s.addr, zone), slowClient(t.Context(), t, s.addr, zone)}
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	waitFor(t, "a refusal", func() bool {
		q := new(dns.Msg)
		q.SetAxfr(zone)
		m, _, err := (&dns.Client{Net: "tcp", Timeout: lostAfter}).Exchange(q, s.addr)
		return err == nil && m.Rcode == dns.RcodeRefused
	})
	waitFor(t, "the refusal in the log", func() bool { return strings.Contains(s.log.String(), "Refusing a transfer of "+zone) })
	waitFor(t, "the stalled transfers to be cut", func() bool {
		rrs, err := transferIn(s.addr, zone, nil, false)
		return err == nil && len(rrs) > 16000
	})
	waitFor(t, "both in the log", func() bool { return strings.Count(s.log.String(), "Cutting a transfer of "+zone) >= 2 })
}

// TestTransferNeighbours puts plugins into the block that damage transfers in
// others: minimal, cache, and dnssec when asked for signatures.
func TestTransferNeighbours(t *testing.T) {
	dir := t.TempDir()
	users(t, dir, "example.com")
	k := newKeys(t, "example.com.", signing{dns.ECDSAP256SHA256, false})
	var want []string
	for _, directives := range [][]string{{}, {"minimal"}, {"cache"}, {"cache", "minimal", k.directive}} {
		s := startServer(t, block("example.com", append(directives, smimea(dir, "ns ns1.example.net"), "transfer {\nto *\n}")...))
		q := new(dns.Msg)
		q.SetAxfr("example.com.")
		q.SetEdns0(4096, true)
		ch, err := (&dns.Transfer{ReadTimeout: lostAfter}).In(q, s.addr)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for e := range ch {
			if e.Error != nil {
				t.Fatal(e.Error)
			}
			for _, rr := range e.RR {
				got = append(got, record(t, rr))
			}
		}
		slices.Sort(got)
		if want == nil {
			want = got
		}
		if len(got) < 20 || !slices.Equal(got, want) {
			t.Errorf("%q: transferred %d records, want %d: %s", directives, len(got), len(want), differences(t, got, want))
		}
	}
}

// TestTransferReplica has CoreDNS itself as a secondary, which signs with the same
// keys, and resolvers that meet both.
func TestTransferReplica(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pubs := users(t, dir, "example.com")
	k := newKeys(t, "example.com.", signing{dns.ECDSAP256SHA256, false})
	zones := strings.Join(subZonesOf, " ")
	port := freePort(t)
	p := startProcess(t, "", block(zones, k.directive, smimea(dir, "ns ns1.example.net"), "transfer {\nto "+harness.Loopback(port)+"\n}"))
	conf := filepath.Join(t.TempDir(), "Corefile")
	writeFile(t, conf, strings.ReplaceAll(block(zones, k.directive, "secondary {\ntransfer from "+p.addr+"\n}"), "PORT", fmt.Sprint(port)))
	r := &secondary{name: "coredns", addr: harness.Loopback(port), log: &harness.Log{}, dir: t.TempDir(), argv: []string{builtServer(t), "-conf", conf}}
	r.start(t)
	t.Cleanup(func() { r.stop(t) })
	rrs := records(t, dir, "example.com.", pubs, "3 1 1")
	same := func() bool {
		for _, rr := range rrs {
			q := question{name: rr.Header().Name, qtype: rr.Header().Rrtype, size: 4096, do: true, tcp: true}
			a, _ := ask(t, p.addr, q)
			b, _ := ask(t, r.addr, q)
			if len(a.Answer) < 2 || len(b.Answer) < len(a.Answer) {
				return false
			}
			got := map[string]bool{}
			for _, rr := range b.Answer {
				if rr.Header().Rrtype == q.qtype {
					got[record(t, rr)] = true
				}
			}
			for _, rr := range a.Answer {
				if rr.Header().Rrtype == q.qtype && !got[record(t, rr)] {
					return false
				}
			}
		}
		return true
	}
	waitFor(t, "the replica to have every record", same)
	cert{addresses: []string{"new@example.com"}}.write(t, filepath.Join(dir, "new.pem"))
	waitFor(t, "the replica to have the new record", func() bool {
		m, _ := ask(t, r.addr, question{name: hashOwner("new", "example.com."), qtype: dns.TypeSMIMEA})
		return len(m.Answer) == 1
	})
	if err := os.Remove(filepath.Join(dir, "new.pem")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the replica to have lost it", func() bool {
		m, _ := ask(t, r.addr, question{name: hashOwner("new", "example.com."), qtype: dns.TypeSMIMEA})
		return len(m.Answer) == 0
	})
	relay := roundRobin(t, []string{p.addr, r.addr})
	var at []zoneAt
	for _, zone := range subZonesOf {
		at = append(at, zoneAt{zone, relay, k.anchors(zone)})
	}
	resolver := startUnbound(t, at)
	for _, rr := range rrs {
		m, _ := ask(t, resolver, question{name: rr.Header().Name, qtype: rr.Header().Rrtype, size: 1232, do: true, rd: true, tcp: true})
		if !m.AuthenticatedData || len(m.Answer) < 2 {
			t.Errorf("%s from a primary and its replica:\n%s", rr.Header().Name, m)
		}
	}
}
