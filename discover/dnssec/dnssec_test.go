package dnssec

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"coredns-smimea/internal/harness"

	"github.com/miekg/dns"
)

const digest = " IN SMIMEA 3 1 1 c93f1e400f26708f98cb19d936620da35eec8f72e57f9eec01c1afd6c93f1e40\n"

// records are the same in the zones that differ in how they are signed.
const records = "user._smimecert" + digest +
	"*.wild" + digest + "exact.wild IN TXT \"no SMIMEA here\"\n" +
	"alias IN CNAME user._smimecert\n" +
	"away IN CNAME user._smimecert.nsec3.test.\n" +
	"toinsecure IN CNAME user._smimecert.insecure.test.\n" +
	"dangling IN CNAME nobody\n" +
	"loop IN CNAME loop2\nloop2 IN CNAME loop\n" +
	"moved IN DNAME _smimecert.nsec3.test.\n" +
	"*.star IN CNAME user._smimecert\n"

var recipes = []recipe{
	{name: "secure.test", records: records},
	{name: "nsec3.test", records: records, sign: []string{"-3", "-", "-H", "0"}},
	{name: "salted.test", records: records, sign: []string{"-3", "aabbcc", "-H", "10"}},
	{name: "manyhashes.test", records: records, ldns: []string{"-n", "-t", "151"}},
	{name: "optout.test", records: records + "sub IN NS ns.test.\n", sign: []string{"-3", "-", "-H", "0", "-A"}},
	{name: "sub.optout.test", records: "user" + digest, unsigned: true},
	{name: "insecure.test", records: records + "below IN NS ns.test.\n", unsigned: true},
	{name: "below.insecure.test", records: records},
	{name: "expired.test", records: records, sign: []string{"-s", "20200101000000", "-e", "20200201000000"}},
	{name: "early.test", records: records, sign: []string{"-s", "20900101000000", "-e", "20900201000000"}},
	{name: "wrongds.test", records: records, ds: func(z *testZones, name string) string {
		return z.dsOf(z.renamed(name))
	}},
	{name: "roll.test", records: records, keys: 2},
	{name: "newkey.test", records: records, keys: 2, ds: func(z *testZones, name string) string {
		return z.dsOf(z.keys[name][0]) + z.dsOf(z.renamed(name)) // one of a key that is not there yet
	}},
	{name: "cut.alias.nodes.test", records: "user" + digest, parent: "nodes.test"},
	{name: "open.alias.nodes.test", records: "user" + digest, parent: "nodes.test", unsigned: true},
	{name: "nodes.test", records: records},
	{name: "rsa.test", records: records, algorithm: "RSASHA256"},
	{name: "ed25519.test", records: records, algorithm: "ED25519"},
	{name: "p384.test", records: records, algorithm: "ECDSAP384SHA384"},
	{name: "sha1.test", records: records, algorithm: "NSEC3RSASHA1"},
	{name: "sha1ds.test", records: records, ds: func(z *testZones, name string) string {
		return z.run("dnssec-dsfromkey", "-1", z.keys[name][0]+".key")
	}},
	{name: "unknown.test", records: records, unsigned: true, ds: func(z *testZones, name string) string {
		return name + ". IN DS 12345 200 2 " + strings.Repeat("ab", 32) + "\n"
	}},
	{name: "unknowndigest.test", records: records, ds: func(z *testZones, name string) string {
		return fmt.Sprintf("%s. IN DS 12345 13 200 %s\n", name, strings.Repeat("ab", 32))
	}},
	{name: "unsigned.test", records: records, unsigned: true, ds: func(z *testZones, name string) string {
		return z.dsOf(z.renamed(name))
	}},
}

// renamed makes a key of a zone that the zone does not have.
func (z *testZones) renamed(zone string) string {
	z.t.Helper()
	other := *z
	other.dir = z.t.TempDir()
	return filepath.Join(other.dir, other.keygen(zone, "ECDSAP256SHA256"))
}

// cases are what every validator must find, over the same server.
var cases = []struct {
	name string
	want Security
	// found is how many records there are; -1 is a name error.
	found int
	// delv and unbound are what they find, where they differ from us.
	delv, unbound Security
}{
	{name: "user._smimecert.secure.test", want: Secure, found: 1},
	{name: "user._smimecert.nsec3.test", want: Secure, found: 1},
	{name: "user._smimecert.salted.test", want: Secure, found: 1},
	{name: "user._smimecert.optout.test", want: Secure, found: 1},
	{name: "user._smimecert.rsa.test", want: Secure, found: 1},
	{name: "user._smimecert.ed25519.test", want: Secure, found: 1},
	{name: "user._smimecert.p384.test", want: Secure, found: 1},

	// Denials.
	{name: "nobody._smimecert.secure.test", want: Secure, found: -1},
	{name: "a.b.c.nobody._smimecert.secure.test", want: Secure, found: -1},
	{name: "a.user._smimecert.secure.test", want: Secure, found: -1},
	{name: "_smimecert.secure.test", want: Secure},
	{name: "secure.test", want: Secure},
	{name: "nobody._smimecert.nsec3.test", want: Secure, found: -1},
	{name: "a.b.c.nobody._smimecert.nsec3.test", want: Secure, found: -1},
	{name: "_smimecert.nsec3.test", want: Secure},
	{name: "nsec3.test", want: Secure},
	{name: "nobody._smimecert.salted.test", want: Secure, found: -1},
	// delv does not tell a denial with opt-out from others (RFC 5155 section 9.2).
	{name: "nobody._smimecert.optout.test", want: Insecure, found: -1, delv: Secure},
	{name: "nobody.test", want: Secure, found: -1},
	{name: "nobody._smimecert.manyhashes.test", want: Insecure, found: -1},

	// Wildcards.
	{name: "a.wild.secure.test", want: Secure, found: 1},
	{name: "a.b.wild.secure.test", want: Secure, found: 1},
	{name: "exact.wild.secure.test", want: Secure},
	{name: "a.exact.wild.secure.test", want: Secure, found: -1},
	{name: "*.wild.secure.test", want: Secure, found: 1},
	{name: "a.wild.nsec3.test", want: Secure, found: 1},
	{name: "a.b.wild.nsec3.test", want: Secure, found: 1},
	{name: "exact.wild.nsec3.test", want: Secure},
	{name: "a.exact.wild.nsec3.test", want: Secure, found: -1},
	{name: "a.star.secure.test", want: Secure, found: 1},
	{name: "a.star.nsec3.test", want: Secure, found: 1},

	// Aliases.
	{name: "alias.secure.test", want: Secure, found: 1},
	{name: "alias.nsec3.test", want: Secure, found: 1},
	{name: "away.secure.test", want: Secure, found: 1},
	{name: "toinsecure.secure.test", want: Insecure, found: 1},
	{name: "dangling.secure.test", want: Secure, found: -1},
	{name: "user.moved.secure.test", want: Secure, found: 1},
	{name: "nobody.moved.secure.test", want: Secure, found: -1},
	{name: "user.moved.nsec3.test", want: Secure, found: 1},

	// Delegations.
	{name: "user._smimecert.insecure.test", want: Insecure, found: 1},
	{name: "nobody._smimecert.insecure.test", want: Insecure, found: -1},
	{name: "user._smimecert.below.insecure.test", want: Insecure, found: 1},
	{name: "user.sub.optout.test", want: Insecure, found: 1},
	{name: "user._smimecert.unknown.test", want: Insecure, found: 1},
	{name: "user._smimecert.unknowndigest.test", want: Insecure, found: 1},
	// RFC 9905 came after these versions of delv and Unbound.
	{name: "user._smimecert.sha1.test", want: Insecure, found: 1, delv: Secure, unbound: Secure},
	{name: "user._smimecert.sha1ds.test", want: Secure, found: 1},

	// Names below an alias exist (RFC 1034 section 3.6.2); below a DNAME they do not.
	{name: "user.cut.alias.nodes.test", want: Secure, found: 1},
	{name: "nobody.cut.alias.nodes.test", want: Secure, found: -1},
	{name: "user.open.alias.nodes.test", want: Insecure, found: 1},
	{name: "nobody.alias.nodes.test", want: Secure, found: -1},

	// Key rolls.
	{name: "user._smimecert.roll.test", want: Secure, found: 1},
	{name: "user._smimecert.newkey.test", want: Secure, found: 1},

	// Faults.
	{name: "user._smimecert.expired.test", want: Bogus},
	{name: "nobody._smimecert.expired.test", want: Bogus},
	{name: "user._smimecert.early.test", want: Bogus},
	{name: "user._smimecert.wrongds.test", want: Bogus},
	{name: "user._smimecert.unsigned.test", want: Bogus},
	{name: "nobody._smimecert.unsigned.test", want: Bogus},
}

func TestLookup(t *testing.T) {
	z := makeZones(t, recipes)
	v := z.validator(nil)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a, err := v.Lookup(t.Context(), c.name, dns.TypeSMIMEA)
			if err != nil {
				t.Fatal(err)
			}
			found := len(a.Records)
			if a.NameError {
				found = -1
			}
			if a.Security != c.want || found != c.found {
				t.Errorf("%v, %d records; want %v, %d (%s)", a.Security, found, c.want, c.found, a.Why)
			}
			if (a.Why == "") != (a.Security == Secure) {
				t.Errorf("%v because of %q", a.Security, a.Why)
			}
			if got, text := z.delv(t, c.name); got != either(c.delv, c.want) {
				t.Errorf("delv finds %v; want %v\n%s", got, either(c.delv, c.want), text)
			}
			if got, text := z.unboundHost(t, c.name); got != either(c.unbound, c.want) {
				t.Errorf("unbound-host finds %v; want %v\n%s", got, either(c.unbound, c.want), text)
			}
		})
	}
}

func either(special, usual Security) Security {
	if special != Indeterminate {
		return special
	}
	return usual
}

// delv asks BIND's validator.
func (z *testZones) delv(t *testing.T, name string) (Security, string) {
	t.Helper()
	anchors, err := os.ReadFile(z.anchors)
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(anchors)) // test. IN DS tag alg type digest
	keys := filepath.Join(t.TempDir(), "keys")
	text := fmt.Sprintf("trust-anchors { %q static-ds %s %s %s %q; };\n", fields[0], fields[3], fields[4], fields[5], fields[6])
	if err := os.WriteFile(keys, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	host, port, _ := strings.Cut(z.address, ":")
	out, _ := exec.Command("delv", "@"+host, "-p", port, "-a", keys, "+root=test.", name, "SMIMEA").CombinedOutput()
	switch text := string(out); {
	case strings.Contains(text, "unsigned answer"):
		return Insecure, text // of an alias's end, too
	case strings.Contains(text, "fully validated"):
		return Secure, text
	case strings.Contains(text, "resolution failed"):
		return Bogus, text
	default:
		return Indeterminate, text
	}
}

// unboundHost asks Unbound's validator.
func (z *testZones) unboundHost(t *testing.T, name string) (Security, string) {
	t.Helper()
	return unboundHost(t, z.address, z.anchors, name, "TYPE53")
}

// unboundHost asks Unbound's validator, which forwards to an address.
func unboundHost(t testing.TB, address, anchors, name, qtype string) (Security, string) {
	t.Helper()
	config := filepath.Join(t.TempDir(), "unbound.conf")
	text := fmt.Sprintf("server:\n  do-not-query-localhost: no\n  trust-anchor-file: %q\n  val-nsec3-keysize-iterations: \"1024 150 2048 150 4096 150\"\n  local-zone: \"test.\" transparent\nforward-zone:\n  name: \".\"\n  forward-addr: %s\n", anchors, atPort(address))
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	out, _ := exec.CommandContext(ctx, "unbound-host", "-C", config, "-v", "-t", qtype, name).CombinedOutput()
	switch text := string(out); {
	case strings.Contains(text, "(BOGUS"):
		return Bogus, text
	case strings.Contains(text, "(insecure)"):
		return Insecure, text
	case strings.Contains(text, "(secure)"):
		return Secure, text
	default:
		return Indeterminate, text
	}
}
