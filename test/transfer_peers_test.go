package test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/internal/harness"
)

// A secondary is another name server that has its zones from ours.
type secondary struct {
	name string
	addr string
	log  *harness.Log
	argv []string
	dir  string

	process *harness.Process // nil while it does not run
}

// secondaries are the kinds of name servers that zones are transferred to.
var secondaries = []string{"nsd", "knot", "bind"}

// tsigName and tsigSecret are the key of transfers with TSIG.
const (
	tsigName   = "transfer.test."
	tsigSecret = "c2VjcmV0IG9mIHRoZSB0ZXN0cywgMzIgb2N0ZXRzISE="
)

// newSecondary configures a secondary of zones at port. The primary is where
// its first argument says.
func newSecondary(t *testing.T, kind string, port int, primary string, zones []string, tsig bool) *secondary {
	t.Helper()
	s := &secondary{name: kind, addr: harness.Loopback(port), log: &harness.Log{}, dir: t.TempDir()}
	conf := filepath.Join(s.dir, kind+".conf")
	var text string
	switch kind {
	case "nsd":
		text, s.argv = nsdSecondary(s.dir, port, portOf(primary), zones, tsig), []string{"nsd", "-d", "-c", conf}
	case "knot":
		text, s.argv = knotSecondary(s.dir, port, portOf(primary), zones, tsig), []string{"knotd", "-c", conf}
	case "bind":
		text, s.argv = bindSecondary(s.dir, port, portOf(primary), zones, tsig), []string{"named", "-g", "-n", "1", "-c", conf}
	}
	writeFile(t, conf, text)
	t.Cleanup(func() { s.stop(t) })
	return s
}

func nsdSecondary(dir string, port int, primary string, zones []string, tsig bool) string {
	key := "NOKEY"
	var clauses []string
	if tsig {
		key = strings.TrimSuffix(tsigName, ".")
		clauses = append(clauses, fmt.Sprintf("key:\n\tname: %q\n\talgorithm: hmac-sha256\n\tsecret: %q\n", key, tsigSecret))
	}
	for i, zone := range zones {
		clauses = append(clauses, harness.NSDZone(zone, filepath.Join(dir, fmt.Sprintf("zone%d", i)),
			"allow-notify: 127.0.0.1 NOKEY", "request-xfr: 127.0.0.1@"+primary+" "+key, "provide-xfr: 127.0.0.1 NOKEY"))
	}
	return harness.NSDConfig(dir, port, []string{"verbosity: 3", "xfrd-reload-timeout: 0"}, clauses...)
}

func knotSecondary(dir string, port int, primary string, zones []string, tsig bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, `server:
    listen: 127.0.0.1@%d
    rundir: %q
    udp-workers: 1
    tcp-workers: 2
    background-workers: 1
database:
    storage: %q
log:
  - target: stderr
    any: info
`, port, dir, dir)
	key := ""
	if tsig {
		key = "\n    key: " + strings.TrimSuffix(tsigName, ".")
		fmt.Fprintf(&b, "key:\n  - id: %s\n    algorithm: hmac-sha256\n    secret: %s\n", strings.TrimSuffix(tsigName, "."), tsigSecret)
	}
	fmt.Fprintf(&b, `remote:
  - id: primary
    address: 127.0.0.1@%s%s
acl:
  - id: anybody
    address: 127.0.0.1
    action: [notify, transfer]
zone:
`, primary, key)
	for i, zone := range zones {
		fmt.Fprintf(&b, "  - domain: %q\n    file: %q\n    master: primary\n    acl: anybody\n    semantic-checks: on\n", zone, filepath.Join(dir, fmt.Sprintf("zone%d", i)))
	}
	return b.String()
}

func bindSecondary(dir string, port int, primary string, zones []string, tsig bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, `options {
	directory %q;
	pid-file none;
	session-keyfile none;
	listen-on port %d { 127.0.0.1; };
	listen-on-v6 { none; };
	recursion no;
	notify no;
	check-names secondary ignore;
	dnssec-validation no;
	allow-transfer { 127.0.0.1; };
	allow-notify { 127.0.0.1; };
	serial-query-rate 1000;
	masterfile-format text;
};
controls { };
`, dir, port)
	key := ""
	if tsig {
		key = fmt.Sprintf(" key %q", tsigName)
		fmt.Fprintf(&b, "key %q { algorithm hmac-sha256; secret %q; };\n", tsigName, tsigSecret)
	}
	for i, zone := range zones {
		fmt.Fprintf(&b, "zone %q { type secondary; file %q; primaries { 127.0.0.1 port %s%s; }; };\n", zone, filepath.Join(dir, fmt.Sprintf("zone%d", i)), primary, key)
	}
	return b.String()
}

// start runs the secondary until stop, or the end of the test.
func (s *secondary) start(t *testing.T) {
	t.Helper()
	cmd := exec.Command(s.argv[0], s.argv[1:]...)
	cmd.Dir = s.dir
	cmd.WaitDelay = time.Minute // a child of its own may hold on to its output
	var err error
	if s.process, err = harness.Serve(cmd, s.log, s.addr, harness.Patience); err != nil {
		t.Fatal(err)
	}
}

// stop ends it as its operator would.
func (s *secondary) stop(t *testing.T) {
	if s.process == nil {
		return
	}
	if err := s.process.Stop(); err != nil {
		t.Error(err)
	}
	s.process = nil
}

// kill ends it as a crash does.
func (s *secondary) kill() {
	s.process.Kill()
	s.process = nil
}

// A primary is our server, which can be ended and begun again.
type primary struct {
	*secondary
	metrics string
}

// newPrimary configures a server with one block, which says with %s in a
// directive who may transfer, and starts it.
func newPrimary(t *testing.T, zones []string, to []int, tsig bool, directives ...string) *primary {
	t.Helper()
	port, metrics := freePort(t), freePort(t)
	var targets []string
	for _, p := range to {
		targets = append(targets, harness.Loopback(p))
	}
	all := append([]string{"prometheus " + harness.Loopback(metrics)}, directives...)
	if tsig {
		all = append(all, fmt.Sprintf("tsig {\nsecret %s %s\nrequire AXFR IXFR\n}", tsigName, tsigSecret))
	}
	all = append(all, "transfer {\nto "+strings.Join(targets, " ")+"\n}")
	p := &primary{&secondary{name: "primary", addr: harness.Loopback(port), log: &harness.Log{}, dir: t.TempDir()}, harness.Loopback(metrics)}
	conf := filepath.Join(p.dir, "Corefile")
	text := block(strings.Join(zones, " "), all...)
	writeFile(t, conf, strings.ReplaceAll(text, "PORT", strconv.Itoa(port)))
	p.argv = testedServer(t, conf)
	t.Cleanup(func() {
		p.stop(t)
		checkLog(t, p.log)
	})
	p.start(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the primary's log:\n%s", p.log)
		}
	})
	return p
}

var sample = regexp.MustCompile(`(?m)^coredns_smimea_transfers_total\{kind="([a-z]+)",zone="([^"]+)"\} ([0-9]+)$`)

// transfers returns how many transfers of each kind the primary has counted of
// all zones, since it started.
func (p *primary) transfers(t *testing.T) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, m := range sample.FindAllStringSubmatch(metricsAt(t, p.metrics), -1) {
		n, _ := strconv.Atoi(m[3])
		counts[m[1]] += n
	}
	return counts
}

// serialAt returns the serial of a zone at a server; false if it has none.
func serialAt(addr, zone string) (uint32, bool) {
	q := new(dns.Msg)
	q.SetQuestion(zone, dns.TypeSOA)
	m, _, err := (&dns.Client{Timeout: lostAfter}).Exchange(q, addr)
	if err != nil || len(m.Answer) == 0 {
		return 0, false
	}
	soa, ok := m.Answer[0].(*dns.SOA)
	if !ok {
		return 0, false
	}
	return soa.Serial, true
}

// axfr transfers a zone and returns its records in wire form, sorted, the
// closing SOA left out.
func axfr(t *testing.T, addr, zone string, tsig bool) []string {
	t.Helper()
	var rrs []dns.RR
	var err error
	// A server that loads or reloads its zones may refuse for a moment.
	if !harness.Wait(harness.Patience, nil, func() bool {
		rrs, err = transferIn(addr, zone, nil, tsig)
		return err == nil
	}) {
		t.Fatalf("AXFR of %s from %s: %v", zone, addr, err)
	}
	n := len(rrs)
	if n < 2 || record(t, rrs[0]) != record(t, rrs[n-1]) || rrs[0].Header().Rrtype != dns.TypeSOA {
		t.Fatalf("AXFR of %s from %s does not stand between two equal SOA records", zone, addr)
	}
	var all []string
	for _, rr := range rrs[:n-1] {
		if sig, ok := rr.(*dns.RRSIG); ok {
			sig.Hdr.Ttl = sig.OrigTtl // Knot gives them out so, whatever it was given
		}
		all = append(all, record(t, rr))
	}
	slices.Sort(all)
	for i := range all[1:] {
		if all[i] == all[i+1] {
			t.Errorf("AXFR of %s from %s has a record twice: %q", zone, addr, all[i])
		}
	}
	return all
}

// transferIn asks for AXFR, or for IXFR from a SOA record on.
func transferIn(addr, zone string, from *dns.SOA, tsig bool) ([]dns.RR, error) {
	q := new(dns.Msg)
	if from == nil {
		q.SetAxfr(zone)
	} else {
		q.SetIxfr(zone, from.Serial, from.Ns, from.Mbox)
	}
	tr := &dns.Transfer{DialTimeout: time.Minute, ReadTimeout: 2 * time.Minute, WriteTimeout: time.Minute}
	if tsig {
		q.SetTsig(tsigName, dns.HmacSHA256, 300, time.Now().Unix())
		tr.TsigSecret = map[string]string{tsigName: tsigSecret}
	}
	ch, err := tr.In(q, addr)
	if err != nil {
		return nil, err
	}
	var rrs []dns.RR
	for e := range ch {
		if e.Error != nil {
			return nil, e.Error
		}
		rrs = append(rrs, e.RR...)
	}
	return rrs, nil
}

// follow waits until the secondaries have a zone's serial, and compares what
// they have, every record, with what the primary gives.
func follow(t *testing.T, p *primary, zone string, tsig bool, who ...*secondary) {
	t.Helper()
	want := axfr(t, p.addr, zone, tsig)
	serial := soaOf(t, want)
	for _, s := range who {
		caughtUp(t, s, zone, serial)
		var got []string
		waitFor(t, "the new zone in transfers", func() bool { // NSD's old processes give out the old one for a moment
			got = axfr(t, s.addr, zone, false)
			return int32(soaOf(t, got)-serial) >= 0
		})
		if !slices.Equal(got, want) {
			t.Fatalf("%s has another %s, serial %d: %s", s.name, zone, serial, differences(t, got, want))
		}
	}
}

func caughtUp(t *testing.T, s *secondary, zone string, serial uint32) {
	t.Helper()
	var has uint32
	if !harness.Wait(harness.Patience, nil, func() (ok bool) {
		has, ok = serialAt(s.addr, zone)
		return ok && int32(has-serial) >= 0
	}) {
		t.Fatalf("%s has serial %d of %s, want %d; its log:\n%s", s.name, has, zone, serial, tail(s.log.String(), 60))
	}
}

func tail(s string, n int) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func soaOf(t *testing.T, records []string) uint32 {
	t.Helper()
	for _, r := range records {
		rr, _, err := dns.UnpackRR([]byte(r), 0)
		if err != nil {
			t.Fatal(err)
		}
		if soa, ok := rr.(*dns.SOA); ok {
			return soa.Serial
		}
	}
	t.Fatal("no SOA record")
	return 0
}

func differences(t *testing.T, got, want []string) string {
	var b strings.Builder
	list := func(sign string, a, without []string) {
		n := 0
		for _, r := range a {
			if _, found := slices.BinarySearch(without, r); !found {
				rr, _, _ := dns.UnpackRR([]byte(r), 0)
				if n++; n < 10 {
					fmt.Fprintf(&b, "\n%s %s", sign, rr)
				}
			}
		}
	}
	list("+", got, want)
	list("-", want, got)
	return b.String()
}

// slowClient asks for a transfer and takes next to nothing of it until it is closed.
func slowClient(ctx context.Context, t *testing.T, addr, zone string) net.Conn {
	t.Helper()
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	q := new(dns.Msg)
	q.SetAxfr(zone)
	if err := (&dns.Conn{Conn: conn}).WriteMsg(q); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 2)); err != nil { // it has begun
		t.Fatal(err)
	}
	return conn
}

// removeFile is os.Remove that must not fail.
func removeFile(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
