package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/miekg/dns"
)

// zoneFile writes what a server transfers of a zone, and returns the file.
func zoneFile(t *testing.T, addr, zone string) string {
	t.Helper()
	rrs, err := transferIn(addr, zone, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, rr := range rrs[:len(rrs)-1] {
		// Knot's parser wants every octet of a name escaped but letters and such.
		_, rest, _ := strings.Cut(rr.String(), "\t")
		b.WriteString(escaped(t, rr.Header().Name) + "\t" + rest + "\n")
	}
	path := filepath.Join(t.TempDir(), "db."+zone)
	writeFile(t, path, b.String())
	return path
}

// escaped returns a name with all but letters, digits, "-" and "_" as \DDD.
func escaped(t *testing.T, name string) string {
	var b strings.Builder
	name = wire(t, name)
	for off := 0; name[off] != 0; off += 1 + int(name[off]) {
		for _, c := range []byte(name[off+1 : off+1+int(name[off])]) {
			if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
				b.WriteByte(c)
			} else {
				fmt.Fprintf(&b, "\\%03d", c)
			}
		}
		b.WriteByte('.')
	}
	return b.String()
}

// TestSignedZone has everybody's checkers look at signed transfers of each
// layout, with each kind of keys, empty zones among them.
func TestSignedZone(t *testing.T) {
	zones := append([]string{"example.com.", "example.net."}, subZonesOf...)
	for _, s := range []signing{{dns.ECDSAP256SHA256, false}, {dns.ECDSAP256SHA256, true}, {dns.ED25519, false}, {dns.RSASHA256, true}} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			users(t, dir, "example.com")
			var corefile string
			transfer := "transfer {\nto *\n}"
			options := "transfer_signed\nns ns1.example.org"
			whole := newKeys(t, "example.com.", s)
			corefile += block("example.com", whole.directive, smimea(dir, "transfer_signed\nns ns.a.example.com 192.0.2.1 2001:db8::1 ns1.example.org"), transfer)
			empty := newKeys(t, "example.net.", s)
			corefile += block("example.net", empty.directive, smimea(dir, options), transfer)
			sub := newKeys(t, "example.com.", s)
			corefile += block(strings.Join(subZonesOf, " "), sub.directive, smimea(dir, options), transfer)
			addr := startServer(t, corefile).addr
			for _, zone := range zones {
				waitFor(t, "the signed zone", func() bool {
					_, err := transferIn(addr, zone, nil, false)
					return err == nil
				})
				file := zoneFile(t, addr, zone)
				var csk []string
				if !s.split {
					csk = []string{"-z"} // its key may sign everything
				}
				name := strings.TrimSuffix(zone, ".")
				for _, argv := range [][]string{
					{"ldns-verify-zone", file},
					{"named-checkzone", "-i", "local", "-k", "ignore", name, file},
					slices.Concat([]string{"dnssec-verify"}, csk, []string{"-o", name, file}),
					{"nsd-checkzone", name, file},
					{"kzonecheck", "-o", name, file},
				} {
					out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput()
					if err != nil || strings.Contains(strings.ToLower(string(out)), "warning") {
						t.Errorf("%s of %s: %v\n%s", argv[0], zone, err, out)
					}
				}
			}
		})
	}
}

// TestTransferKeys changes the keys under secondaries: they get a zone that is
// signed by the new ones throughout, and NOTIFY of it.
func TestTransferKeys(t *testing.T) {
	t.Parallel()
	for _, signed := range []bool{false, true} {
		t.Run(fmt.Sprintf("signed %v", signed), func(t *testing.T) {
			t.Parallel()
			c := newCrowd(t, 10)
			options := "ns ns1.example.net"
			if signed {
				options += "\ntransfer_signed"
			}
			s := signing{dns.ECDSAP256SHA256, false}
			before, after := newKeys(t, "example.com.", s), newKeys(t, "example.com.", s)
			f := newFleet(t, subZonesOf, false, before.directive, smimea(c.dir, options))
			f.follow(t)
			conf := f.argv[len(f.argv)-1]
			text, err := os.ReadFile(conf)
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, conf, strings.Replace(string(text), strings.ReplaceAll(before.directive, "\n", "\n\t"), strings.ReplaceAll(after.directive, "\n", "\n\t"), 1))
			if err := f.process.Cmd.Process.Signal(syscall.SIGUSR1); err != nil {
				t.Fatal(err)
			}
			key := after.dnskeys[0].ToCDNSKEY()
			for _, s := range f.who {
				waitFor(t, "the new key at "+s.name, func() bool {
					m, _ := ask(t, s.addr, question{name: subZonesOf[0], qtype: dns.TypeCDNSKEY})
					return len(m.Answer) == 1 && m.Answer[0].(*dns.CDNSKEY).PublicKey == key.PublicKey
				})
			}
			f.follow(t)
			if signed {
				for _, s := range f.who {
					command(t, "dnssec-verify", "-z", "-o", strings.TrimSuffix(subZonesOf[0], "."), zoneFile(t, s.addr, subZonesOf[0]))
				}
			}
			f.change(t, c)
			f.follow(t)
		})
	}
}

// TestMixed has resolvers meet a primary, which makes denials as it goes, and
// pre-signed secondaries with NSEC3: both validate, in any order.
func TestMixed(t *testing.T) {
	t.Parallel()
	k := newKeys(t, "example.com.", signing{dns.ECDSAP256SHA256, false})
	c := newCrowd(t, 30)
	f := newFleet(t, subZonesOf, false, k.directive, smimea(c.dir, "transfer_signed\nns ns1.example.net"))
	f.follow(t)
	rrs, err := transferIn(f.addr, "_smimecert.example.com.", nil, false)
	if err != nil {
		t.Fatal(err)
	}
	texts, err := transferIn(f.addr, "_smime.example.com.", nil, false)
	if err != nil {
		t.Fatal(err)
	}
	existing := map[string]uint16{}
	for _, rr := range append(rrs, texts...) {
		if rtype := rr.Header().Rrtype; rtype == dns.TypeSMIMEA || rtype == dns.TypeTXT {
			existing[rr.Header().Name] = rtype
		}
	}
	absent := []string{hashOwner("nobody", "example.com."), hashOwner("nowhere", "example.com."), "nobody._smime.example.com.", "x.y.z._smime.example.com."}
	empty := []string{"c1._smime.example.com.", "c5._smime.example.com."}
	addrs := []string{f.addr}
	for _, s := range f.who {
		addrs = append(addrs, s.addr)
	}
	for _, resolver := range []string{"unbound", "bind"} {
		t.Run(resolver, func(t *testing.T) {
			// A resolver that asks all in turn, by a relay before them: BIND
			// takes one port for all servers of a zone.
			relay := roundRobin(t, addrs)
			var zones []zoneAt
			for _, zone := range subZonesOf {
				zones = append(zones, zoneAt{zone, relay, k.anchors(zone)})
			}
			addr := ""
			if resolver == "unbound" {
				addr = startUnbound(t, zones)
			} else {
				addr = startBIND(t, zones)
			}
			check := func(name string, rtype uint16, answers bool) {
				t.Helper()
				m, _ := ask(t, addr, question{name: name, qtype: rtype, size: 1232, do: true, rd: true, tcp: true})
				if ok := m.Rcode == dns.RcodeSuccess || !answers && m.Rcode == dns.RcodeNameError; !ok || !m.AuthenticatedData || answers != (len(m.Answer) > 0) {
					t.Errorf("%s %s is to be validated, and to have an answer: %v\n%s", name, dns.Type(rtype), answers, m)
				}
			}
			for range 3 {
				for name, rtype := range existing {
					check(name, dns.TypeA, false)
					check(name, rtype, true)
				}
				for i, name := range append(absent, empty...) {
					for _, rtype := range []uint16{dns.TypeA, dns.TypeSMIMEA, dns.TypeDS, 65400 + uint16(i)} {
						check(name, rtype, false)
					}
				}
				for i := range 20 { // new ones, so that all are asked
					check(hashOwner(fmt.Sprintf("nobody%d", i), "example.com."), dns.TypeSMIMEA, false)
				}
				for _, zone := range subZonesOf {
					for _, rtype := range []uint16{dns.TypeSOA, dns.TypeNS, dns.TypeCDS, dns.TypeCDNSKEY, dns.TypeDNSKEY} {
						check(zone, rtype, true)
					}
					check(zone, dns.TypeA, false)
				}
			}
		})
	}
}
