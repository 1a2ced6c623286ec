package test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/internal/harness"
)

// A zoneAt is a zone, who serves it, and the keys to trust for it.
type zoneAt struct {
	origin  string
	addr    string
	anchors []*dns.DNSKEY
}

// peer starts another server on a free port of loopback, configured by the text
// that config makes, and returns its address. argv gets the configuration's path.
func peer(t *testing.T, name string, config func(dir string, port int) string, argv func(conf string) []string) string {
	t.Helper()
	var addr string
	err := harness.OnFreePort(func(port int) error {
		dir := t.TempDir()
		conf := filepath.Join(dir, name+".conf")
		writeFile(t, conf, config(dir, port))
		args := argv(conf)
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		addr = harness.Loopback(port)
		return run(t, cmd, &harness.Log{}, addr)
	})
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// startUnbound runs a validating Unbound in its default configuration, but for
// where the zones are and what is trusted. extra are lines of its server: clause.
func startUnbound(t *testing.T, zones []zoneAt, extra ...string) string {
	t.Helper()
	config := func(dir string, port int) string {
		var b strings.Builder
		fmt.Fprintf(&b, `server:
	interface: 127.0.0.1@%d
	directory: %q
	chroot: ""
	username: ""
	pidfile: ""
	use-syslog: no
	logfile: ""
	do-ip6: no
	do-not-query-localhost: no
	root-hints: %q
`, port, dir, deadRoot(t, dir))
		for _, line := range extra {
			fmt.Fprintf(&b, "\t%s\n", line)
		}
		for _, z := range zones {
			for _, a := range z.anchors {
				fmt.Fprintf(&b, "\ttrust-anchor: \"%s DNSKEY %d %d %d %s\"\n", z.origin, a.Flags, a.Protocol, a.Algorithm, a.PublicKey)
			}
		}
		b.WriteString("remote-control:\n\tcontrol-enable: no\n")
		for _, z := range zones {
			fmt.Fprintf(&b, "stub-zone:\n\tname: %q\n\tstub-addr: 127.0.0.1@%s\n", z.origin, portOf(z.addr))
		}
		return b.String()
	}
	return peer(t, "unbound", config, func(conf string) []string { return []string{"unbound", "-d", "-c", conf} })
}

// startBIND runs a validating BIND in its default configuration, but for where the
// zones are and what is trusted. All zones are at one address: BIND asks a
// static-stub's servers at its own global port only.
func startBIND(t *testing.T, zones []zoneAt) string {
	t.Helper()
	config := func(dir string, port int) string {
		var b strings.Builder
		fmt.Fprintf(&b, `options {
	directory %q;
	pid-file none;
	session-keyfile none;
	port %s;
	listen-on port %d { 127.0.0.1; };
	listen-on-v6 { none; };
	dnssec-validation yes;
	recursion yes;
};
controls { };
zone "." { type hint; file %q; };
`, dir, portOf(zones[0].addr), port, deadRoot(t, dir))
		for _, z := range zones {
			fmt.Fprintf(&b, "zone %q { type static-stub; server-addresses { 127.0.0.1; }; };\n", z.origin)
		}
		b.WriteString(trustAnchors(zones))
		return b.String()
	}
	return peer(t, "named", config, func(conf string) []string { return []string{"named", "-g", "-n", "1", "-c", conf} })
}

// deadRoot writes root hints that lead nowhere: nothing leaves this machine.
func deadRoot(t *testing.T, dir string) string {
	t.Helper()
	hints := filepath.Join(dir, "root.hints")
	writeFile(t, hints, ". 3600 IN NS nowhere.test.\nnowhere.test. 3600 IN A 127.0.0.1\n")
	return hints
}

// trustAnchors is BIND's clause of static keys.
func trustAnchors(zones []zoneAt) string {
	var b strings.Builder
	b.WriteString("trust-anchors {\n")
	for _, z := range zones {
		for _, a := range z.anchors {
			fmt.Fprintf(&b, "\t%q static-key %d %d %d %q;\n", z.origin, a.Flags, a.Protocol, a.Algorithm, a.PublicKey)
		}
	}
	b.WriteString("};\n")
	return b.String()
}

// startNSD serves zone files, origin to text, with NSD.
func startNSD(t *testing.T, zones map[string]string) string {
	t.Helper()
	config := func(dir string, port int) string {
		var clauses []string
		for origin, text := range zones {
			file := filepath.Join(dir, "zone-"+origin+"txt")
			writeFile(t, file, text)
			clauses = append(clauses, harness.NSDZone(origin, file))
		}
		return harness.NSDConfig(dir, port, []string{"minimal-responses: yes"}, clauses...)
	}
	return peer(t, "nsd", config, func(conf string) []string { return []string{"nsd", "-d", "-c", conf} })
}

// startKnot serves zone files, origin to text, with Knot DNS.
func startKnot(t *testing.T, zones map[string]string) string {
	t.Helper()
	config := func(dir string, port int) string {
		var all []string
		for origin, text := range zones {
			file := filepath.Join(dir, "zone-"+origin+"txt")
			writeFile(t, file, text)
			all = append(all, harness.KnotZone(origin, file))
		}
		return harness.KnotConfig(dir, port, 1, all...)
	}
	return peer(t, "knot", config, func(conf string) []string { return []string{"knotd", "-c", conf} })
}

// delv has delv fetch name and type from addr and validate from the zone's anchors
// on, and returns what it prints.
func delv(t *testing.T, z zoneAt, name, rtype string, extra ...string) string {
	t.Helper()
	anchors := filepath.Join(t.TempDir(), "anchors")
	writeFile(t, anchors, trustAnchors([]zoneAt{z}))
	args := append([]string{"@127.0.0.1", "-p", portOf(z.addr), "-a", anchors, "+root=" + z.origin, "+vtrace"}, extra...)
	cmd := exec.CommandContext(t.Context(), "delv", append(args, "-q", name, "-t", rtype)...)
	cmd.WaitDelay = time.Minute
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}
