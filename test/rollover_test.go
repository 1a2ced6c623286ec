package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/internal/harness"
)

// A rollover is a server as the package installs it, the zone above it at BIND, and
// resolvers that keep nothing longer than seconds.
type rollover struct {
	*testing.T
	dir       string // stands for /etc/coredns-smimea
	addr      string
	cmd       *exec.Cmd
	parent    string   // BIND's address
	resolvers []string // Unbound's addresses
}

// rolled are the zones that the key signs.
var rolled = []string{"_smimecert.example.com.", "_smime.example.com."}

func newRollover(t *testing.T) *rollover {
	t.Helper()
	r := &rollover{T: t, dir: t.TempDir()}
	port := freePort(t)
	r.addr = harness.Loopback(port)
	config, err := os.ReadFile("../packaging/Corefile")
	if err != nil {
		t.Fatal(err)
	}
	corefile := strings.NewReplacer(
		"_smimecert.example.com _smime.example.com {", fmt.Sprintf("_smimecert.example.com:%d _smime.example.com:%d {\n    bind 127.0.0.1", port, port),
		"/etc/coredns-smimea", r.dir, "/var/lib/coredns-smimea", r.dir,
		"    prometheus 127.0.0.1:9153\n", "", "    ready 127.0.0.1:8181\n", "",
	).Replace(string(config))
	writeFile(t, filepath.Join(r.dir, "Corefile"), corefile)
	cert{addresses: []string{"alice@example.com"}}.write(t, filepath.Join(r.dir, "certs", "alice.pem"))
	_, key := newKey(t, t.TempDir(), "example.com.", 257, dns.ECDSAP256SHA256)
	for _, ext := range []string{".key", ".private"} {
		command(t, "install", "-D", key+ext, filepath.Join(r.dir, "keys", "zone"+ext))
	}
	r.credentials()
	r.cmd = exec.Command(builtServer(t), "-conf", filepath.Join(r.dir, "Corefile"))
	r.cmd.Env = append(os.Environ(), "CREDENTIALS_DIRECTORY="+filepath.Join(r.dir, "credentials"))
	if err := run(t, r.cmd, &harness.Log{}, r.addr); err != nil {
		t.Fatal(err)
	}

	// The zone above, in which DS records are kept for two seconds.
	zone := `$TTL 2
@ IN SOA ns1 hostmaster 1 3600 900 1209600 1
@ IN NS ns1
ns1 IN A 127.0.0.1
`
	for _, origin := range rolled {
		zone += origin + " IN NS ns1\n"
		for _, key := range r.ask(r.addr, origin, dns.TypeDNSKEY) {
			zone += strings.Replace(key.(*dns.DNSKEY).ToDS(dns.SHA256).String(), "\t3600\t", "\t2\t", 1) + "\n"
		}
	}
	r.parent = peer(t, "parent", func(dir string, port int) string {
		writeFile(t, filepath.Join(dir, "db"), zone)
		// A root that answers: what cannot be found is not kept, and would be looked for
		// again and again by resolvers that keep nothing.
		writeFile(t, filepath.Join(dir, "root"), "$TTL 2\n@ IN SOA ns1.example.com. hostmaster.example.com. 1 3600 900 1209600 1\n@ IN NS ns1.example.com.\nexample.com. IN NS ns1.example.com.\nns1.example.com. IN A 127.0.0.1\n")
		return fmt.Sprintf(`options { directory %q; pid-file none; session-keyfile none; recursion no; notify no;
	listen-on port %d { 127.0.0.1; }; listen-on-v6 { none; }; };
controls { };
dnssec-policy "short" { keys { csk lifetime unlimited algorithm ecdsap256sha256; }; dnskey-ttl 2; max-zone-ttl 3600; };
zone "example.com" { type primary; file "db"; dnssec-policy "short"; allow-update { 127.0.0.1; }; };
zone "." { type primary; file "root"; };
`, dir, port)
	}, func(conf string) []string { return []string{"named", "-g", "-n", "1", "-c", conf} })
	var anchors []*dns.DNSKEY
	waitFor(t, "the zone above to be signed", func() bool {
		m, _ := ask(t, r.parent, question{name: rolled[0], qtype: dns.TypeDS, size: 1232, do: true})
		anchors = nil
		for _, rr := range r.ask(r.parent, "example.com.", dns.TypeDNSKEY) {
			anchors = append(anchors, rr.(*dns.DNSKEY))
		}
		return len(anchors) > 0 && len(m.Answer) == 2
	})
	zones := []zoneAt{{".", r.parent, nil}, {"example.com.", r.parent, anchors}, {rolled[0], r.addr, nil}, {rolled[1], r.addr, nil}}
	for _, extra := range [][]string{{"cache-max-ttl: 1"}, {"cache-max-ttl: 3"}, {"cache-max-ttl: 2", "harden-algo-downgrade: yes"}} {
		r.resolvers = append(r.resolvers, startUnbound(t, zones, append(extra, "val-bogus-ttl: 1")...))
	}
	return r
}

// ask returns the records of a type at a name, in the order of their texts.
func (r *rollover) ask(addr, name string, rtype uint16) []dns.RR {
	r.Helper()
	m, _ := ask(r.T, addr, question{name: name, qtype: rtype, size: 1232, do: true, rd: true})
	return sortedOf(m.Answer, rtype)
}

// sortedOf returns the records of a type, in the order of their texts.
func sortedOf(rrs []dns.RR, rtype uint16) []dns.RR {
	var some []dns.RR
	for _, rr := range rrs {
		if rr.Header().Rrtype == rtype {
			rr = dns.Copy(rr)
			rr.Header().Ttl = 0
			some = append(some, rr)
		}
	}
	slices.SortFunc(some, func(a, b dns.RR) int { return strings.Compare(a.String(), b.String()) })
	return some
}

// credentials does what LoadCredential does.
func (r *rollover) credentials() {
	r.Helper()
	command(r.T, "sh", "-ec", `cd "$0"; mkdir -p credentials; rm -f credentials/*; for f in keys/*; do cp "$f" "credentials/keys_${f#keys/}"; done`, r.dir)
}

// do runs a block of the guide. A restart is a reload here: it takes the credentials
// anew, and the server stays the only one of its zones.
func (r *rollover) do(block string) string {
	r.Helper()
	script := `systemctl() { touch restarted; }` + "\n" + strings.NewReplacer("/etc/coredns-smimea", r.dir, "dig @127.0.0.1", "dig @127.0.0.1 -p "+portOf(r.addr)).Replace(block)
	cmd := exec.CommandContext(r.Context(), "sh", "-ec", script)
	cmd.Dir = r.dir
	out, err := cmd.Output()
	if err != nil {
		r.Fatalf("%v\n%s\n%s", err, block, out)
	}
	if os.Remove(filepath.Join(r.dir, "restarted")) == nil {
		before := fmt.Sprint(r.ask(r.addr, rolled[0], dns.TypeDNSKEY))
		r.credentials()
		r.cmd.Process.Signal(syscall.SIGUSR1)
		waitFor(r.T, "the server to have other keys", func() bool {
			// In the midst of a reload a question may go unanswered.
			wire, err := exchange(r.addr, "udp", question{name: rolled[0], qtype: dns.TypeDNSKEY, size: 1232, do: true}.pack(r.T), time.Second)
			m := new(dns.Msg)
			return err == nil && m.Unpack(wire) == nil && fmt.Sprint(sortedOf(m.Answer, dns.TypeDNSKEY)) != before
		})
	}
	return string(out)
}

// follow has the zone above look for CDS records, as RFC 7344 says, by BIND's program for
// that, until nothing changes any more.
func (r *rollover) follow() {
	r.Helper()
	for _, zone := range rolled {
		dir := r.TempDir()
		child := command(r.T, "dig", "@127.0.0.1", "-p", portOf(r.addr), "+dnssec", "+noall", "+answer", zone, "DNSKEY", zone, "CDNSKEY", zone, "CDS")
		writeFile(r.T, filepath.Join(dir, "child"), child)
		writeFile(r.T, filepath.Join(dir, "dsset-"+zone), command(r.T, "dig", "@127.0.0.1", "-p", portOf(r.parent), "+noall", "+answer", zone, "DS"))
		update := command(r.T, "dnssec-cds", "-u", "-s", "-86400", "-f", filepath.Join(dir, "child"), "-d", filepath.Join(dir, "dsset-"+zone), "-T", "2", zone)
		r.update(update)
	}
}

// register has the zone above take these DS records in place of those that it has.
func (r *rollover) register(lines []string) {
	r.Helper()
	if len(lines) != len(rolled) {
		r.Fatalf("%d DS records for %d zones: %q", len(lines), len(rolled), lines)
	}
	var update strings.Builder
	for _, line := range lines {
		owner, data, _ := strings.Cut(line, " IN DS ")
		fmt.Fprintf(&update, "update delete %s DS\nupdate add %s 2 DS %s\n", owner, owner, data)
	}
	r.update(update.String())
}

// update sends an update to the zone above.
func (r *rollover) update(text string) {
	r.Helper()
	file := filepath.Join(r.TempDir(), "update")
	writeFile(r.T, file, "server 127.0.0.1 "+portOf(r.parent)+"\nzone example.com\n"+text+"\nsend\n")
	command(r.T, "nsupdate", file)
}

// wait waits until no resolver has anything in its cache that is not as it is now: keys,
// DS records, and by which keys records are signed.
func (r *rollover) wait() {
	r.Helper()
	names := map[string]uint16{hashOwner("alice", "example.com."): dns.TypeSMIMEA, "alice._smime.example.com.": dns.TypeTXT, rolled[0]: dns.TypeSOA, rolled[1]: dns.TypeSOA}
	signers := func(addr, name string, rtype uint16) string {
		m, _ := ask(r.T, addr, question{name: name, qtype: rtype, size: 1232, do: true, tcp: true, rd: true})
		var tags []string
		for _, rr := range sortedOf(m.Answer, dns.TypeRRSIG) {
			tags = append(tags, fmt.Sprint(rr.(*dns.RRSIG).KeyTag))
		}
		slices.Sort(tags)
		return fmt.Sprint(tags)
	}
	for _, resolver := range r.resolvers {
		for _, zone := range rolled {
			waitFor(r.T, "the keys in a cache", func() bool {
				return fmt.Sprint(r.ask(resolver, zone, dns.TypeDNSKEY)) == fmt.Sprint(r.ask(r.addr, zone, dns.TypeDNSKEY))
			})
			waitFor(r.T, "the DS records in a cache", func() bool {
				return fmt.Sprint(r.ask(resolver, zone, dns.TypeDS)) == fmt.Sprint(r.ask(r.parent, zone, dns.TypeDS))
			})
		}
		for name, rtype := range names {
			waitFor(r.T, "the signatures in a cache", func() bool { return signers(resolver, name, rtype) == signers(r.addr, name, rtype) })
		}
	}
}

// watch asks all resolvers all the time, until the function that it returns is called: for
// what there is and for what there is not. Every answer is validated.
func (r *rollover) watch() (end func()) {
	var answers atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for _, resolver := range r.resolvers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			pace := time.NewTicker(20 * time.Millisecond)
			defer pace.Stop()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-pace.C:
				}
				for _, q := range []question{
					{name: hashOwner("alice", "example.com."), qtype: dns.TypeSMIMEA},
					{name: "alice._smime.example.com.", qtype: dns.TypeTXT},
					{name: hashOwner(fmt.Sprint("nobody", n), "example.com."), qtype: dns.TypeSMIMEA},
					{name: fmt.Sprintf("nobody%d._smime.example.com.", n), qtype: dns.TypeTXT},
				} {
					q.size, q.do, q.rd = 1232, true, true
					wire, err := exchange(resolver, "udp", q.pack(r.T), lostAfter)
					m := new(dns.Msg)
					if err == nil {
						err = m.Unpack(wire)
					}
					switch {
					case err != nil:
						r.Errorf("%s: %v", q, err)
					case m.Rcode == dns.RcodeServerFailure || !m.AuthenticatedData:
						r.Errorf("not validated at %s:\n%s", time.Now().Format("05.000"), m)
					case strings.HasPrefix(q.name, "alice") && len(m.Answer) == 0:
						r.Errorf("alice is not there:\n%s", m)
					}
					answers.Add(1)
				}
			}
		}()
	}
	end = sync.OnceFunc(func() {
		close(stop)
		wg.Wait()
		if n := answers.Load(); n < 100 {
			r.Errorf("only %d answers were watched", n)
		}
	})
	r.Cleanup(end)
	return end
}

// tags returns the tags of the DS records that the zone above has.
func (r *rollover) tags() (tags []uint16) {
	r.Helper()
	for _, rr := range r.ask(r.parent, rolled[0], dns.TypeDS) {
		tags = append(tags, rr.(*dns.DS).KeyTag)
	}
	return tags
}

// TestRollover takes all steps of docs/key-rollover.md, one procedure after the other, while
// resolvers validate.
func TestRollover(t *testing.T) {
	t.Parallel()
	steps := scripts(t, "../docs/key-rollover.md", 8) // 2, 3 and 3
	r := newRollover(t)
	waitFor(t, "the resolvers to validate", func() bool {
		for _, resolver := range r.resolvers {
			if m, _ := ask(t, resolver, question{name: hashOwner("alice", "example.com."), qtype: dns.TypeSMIMEA, size: 1232, do: true, rd: true}); !m.AuthenticatedData {
				return false
			}
		}
		return true
	})
	first := r.tags()
	r.wait()
	end := r.watch()

	// The same algorithm.
	r.do(steps[0])
	r.follow()
	if now := r.tags(); len(now) != 2 {
		t.Errorf("the parent has the DS records %d, want those of both keys", now)
	}
	r.wait()
	r.do(steps[1])
	r.follow()
	second := r.tags()
	if len(second) != 1 || second[0] == first[0] {
		t.Errorf("DS record %d before, %d after", first, second)
	}
	r.wait()

	// Another algorithm.
	r.do(steps[2])
	if cds := r.ask(r.addr, rolled[0], dns.TypeCDS); len(cds) != 0 {
		t.Errorf("there are CDS records: %s", cds)
	}
	r.wait()
	r.register(slices.DeleteFunc(strings.Split(strings.TrimSpace(r.do(steps[3])), "\n"), func(line string) bool { return !strings.Contains(line, " 15 2 ") }))
	r.wait()
	r.do(steps[4])
	r.follow() // CDS records again, and nothing to be done
	third := r.tags()
	if len(third) != 1 || third[0] == second[0] {
		t.Errorf("DS record %d before, %d after", second, third)
	}
	r.wait()

	// The emergency.
	r.do(steps[5])
	r.wait()
	tag, lines, _ := strings.Cut(strings.TrimSpace(r.do(steps[6])), "\n")
	r.register(slices.DeleteFunc(strings.Split(lines, "\n"), func(line string) bool { return !strings.Contains(line, " DS "+tag+" ") }))
	r.wait()
	r.do(steps[7])
	r.follow()
	r.wait()
	end()
	if fourth := r.tags(); len(fourth) != 1 || fmt.Sprint(fourth[0]) != tag {
		t.Errorf("DS record %d at the end, the key's tag is %s", fourth, tag)
	}
}
