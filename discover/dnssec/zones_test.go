package dnssec

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"coredns-smimea/discover/discovertest"
)

// testZones are signed by dnssec-signzone and served by NSD, all by the same
// server: it then answers for a child's DS from the parent.
type testZones struct {
	t       *testing.T
	dir     string
	address string              // of the server
	cuts    map[string]string   // the delegations, by the zone that has them
	sources map[string]string   // zone -> file that is served
	keys    map[string][]string // zone -> names of the key files
	anchors string              // file with the DS of test.
}

const zoneHead = `$TTL 3600
@ IN SOA ns.test. hostmaster.test. 1 7200 3600 1209600 300
@ IN NS ns.test.
`

// A recipe is how one zone is made.
type recipe struct {
	name      string // without the final dot
	records   string
	algorithm string   // ECDSAP256SHA256 if empty
	sign      []string // further arguments of dnssec-signzone
	ldns      []string // arguments of ldns-signzone, which then signs
	unsigned  bool
	ds        func(z *testZones, name string) string // the DS in the parent, in place of the right one
	keys      int                                    // how many key signing keys, 1 if 0
	parent    string                                 // which has the delegation, and is made later; test if empty
}

// makeZones makes and serves zones below test.
func makeZones(t *testing.T, recipes []recipe) *testZones {
	t.Helper()
	z := &testZones{t: t, dir: t.TempDir(), sources: map[string]string{}, keys: map[string][]string{}, cuts: map[string]string{}}
	for _, r := range recipes {
		r.records += z.cuts[r.name]
		z.make(r)
		parent := r.parent
		switch {
		case parent == "" && strings.Count(r.name, ".") > 1:
			continue // its parent's records have the delegation
		case parent == "":
			parent = "test"
		}
		z.cuts[parent] += r.name + ". IN NS ns.test.\n"
		switch {
		case r.ds != nil:
			z.cuts[parent] += r.ds(z, r.name)
		case !r.unsigned:
			z.cuts[parent] += z.dsOf(z.keys[r.name][0])
		}
	}
	z.make(recipe{name: "test", records: "ns.test. IN A 127.0.0.1\n" + z.cuts["test"]})
	z.anchors = filepath.Join(z.dir, "anchors")
	z.write("anchors", z.dsOf(z.keys["test"][0]))
	z.serve()
	return z
}

func (z *testZones) run(command string, args ...string) string {
	z.t.Helper()
	c := exec.Command(command, args...)
	c.Dir = z.dir
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		z.t.Fatalf("%s %q: %v\n%s", command, args, err, &stderr)
	}
	return string(out)
}

func (z *testZones) write(name, text string) {
	z.t.Helper()
	if err := os.WriteFile(filepath.Join(z.dir, name), []byte(text), 0o644); err != nil {
		z.t.Fatal(err)
	}
}

// keygen makes a key and returns the name of its files.
func (z *testZones) keygen(zone, algorithm string) string {
	z.t.Helper()
	args := []string{"-q", "-f", "KSK", "-a", algorithm}
	if strings.HasPrefix(algorithm, "RSA") {
		args = append(args, "-b", "1024")
	}
	return strings.TrimSpace(z.run("dnssec-keygen", append(args, zone)...))
}

func (z *testZones) dsOf(key string) string { return z.run("dnssec-dsfromkey", "-2", key+".key") }

func (z *testZones) make(r recipe) {
	z.t.Helper()
	z.write(r.name, zoneHead+r.records)
	z.sources[r.name] = r.name
	if r.unsigned {
		return
	}
	algorithm := r.algorithm
	if algorithm == "" {
		algorithm = "ECDSAP256SHA256"
	}
	for range max(1, r.keys) {
		z.keys[r.name] = append(z.keys[r.name], z.keygen(r.name, algorithm))
	}
	if r.ldns != nil {
		args := append(r.ldns, "-o", r.name, "-f", r.name+".signed", r.name)
		z.run("ldns-signzone", append(args, z.keys[r.name]...)...)
		z.sources[r.name] = r.name + ".signed"
		return
	}
	args := append([]string{"-S", "-z", "-P", "-o", r.name, "-f", r.name + ".signed"}, r.sign...)
	z.run("dnssec-signzone", append(args, r.name)...)
	z.sources[r.name] = r.name + ".signed"
}

// serve starts NSD on a port of its own and waits until it answers.
func (z *testZones) serve() {
	z.t.Helper()
	port := discovertest.FreePort(z.t)
	z.address = fmt.Sprintf("127.0.0.1:%d", port)
	config := fmt.Sprintf(`server:
  ip-address: 127.0.0.1@%d
  username: ""
  chroot: ""
  zonesdir: %q
  database: ""
  pidfile: ""
  xfrdfile: ""
  zonelistfile: %q
  rrl-ratelimit: 0
remote-control:
  control-enable: no
`, port, z.dir, filepath.Join(z.dir, "zone.list"))
	for zone, file := range z.sources {
		config += fmt.Sprintf("zone:\n  name: %q\n  zonefile: %q\n", zone, file)
	}
	z.write("nsd.conf", config)
	discovertest.StartDaemon(z.t, z.dir, z.address, "test", "nsd", "-d", "-c", filepath.Join(z.dir, "nsd.conf"))
}

// validator asks the server, with lie applied to each answer.
func (z *testZones) validator(lie func(m *dns.Msg)) *Validator {
	z.t.Helper()
	file, err := os.Open(z.anchors)
	if err != nil {
		z.t.Fatal(err)
	}
	defer file.Close()
	anchors, err := ReadAnchors(file)
	if err != nil {
		z.t.Fatal(err)
	}
	return &Validator{Anchors: anchors, Exchange: func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
		m, err := exchangeTCP(ctx, q, z.address)
		if err == nil && lie != nil {
			lie(m)
		}
		return m, err
	}}
}

func exchangeTCP(ctx context.Context, q *dns.Msg, address string) (*dns.Msg, error) {
	c := &dns.Client{Net: "tcp"}
	m, _, err := c.ExchangeContext(ctx, q, address)
	return m, err
}
