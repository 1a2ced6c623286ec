package test

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/internal/harness"
	"coredns-smimea/internal/testcert"
)

// metricsAt returns the page of metrics that a server has at an address.
func metricsAt(t *testing.T, address string) string {
	t.Helper()
	reply, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// sampleAt returns the value of one of our metrics, with its labels in the order of
// their names, as a server gives it at an address; false if there is no such sample.
func sampleAt(t *testing.T, address, name string) (float64, bool) {
	t.Helper()
	for line := range strings.Lines(metricsAt(t, address)) {
		if rest, ok := strings.CutPrefix(line, "coredns_smimea_"+name+" "); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				t.Fatal(err)
			}
			return value, true
		}
	}
	return 0, false
}

// TestWatched holds what an operator's alerts stand on: how far the secondaries are,
// when signatures end, whether the directory can be read and the state is saved, and
// who is about to have no certificate any more.
func TestWatched(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir := filepath.Join(root, "certs")
	day := 24 * time.Hour
	write := func(name, local string, lasts time.Duration) {
		t.Helper()
		err := os.MkdirAll(dir, 0o755)
		if err == nil {
			err = testcert.Write(filepath.Join(dir, name), testcert.Template{Addresses: []string{local + "@example.com"}, NotAfter: time.Now().Add(lasts)})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write("alice.pem", "alice", 5*day) // nothing follows
	write("bob.pem", "bob", 5*day)
	write("bob-next.pem", "bob", 365*day)
	write("carol.pem", "carol", 4*day)
	write("carol-next.pem", "carol", 20*day) // which ends soon, too
	k := newKeys(t, "example.com.", signing{dns.ECDSAP256SHA256, false})
	port := freePort(t)
	p := newPrimary(t, subZonesOf, []int{port}, false, k.directive,
		smimea(dir, "transfer_signed\nns ns1.example.net\nreload 500ms\nstate "+filepath.Join(root, "state")))
	is := func(name string, want float64) {
		t.Helper()
		waitFor(t, fmt.Sprintf("%s to be %v", name, want), func() bool {
			got, ok := sampleAt(t, p.metrics, name)
			return ok && got == want
		})
	}
	none := func(name string) {
		t.Helper()
		waitFor(t, "no "+name, func() bool { _, ok := sampleAt(t, p.metrics, name); return !ok })
	}
	ofDir := fmt.Sprintf("{dir=%q}", dir)
	expiring := func(days int) string { return fmt.Sprintf("expiring_certificates{days=\"%d\",dir=%q}", days, dir) }
	is("directory_readable"+ofDir, 1)
	is("state_saved"+ofDir, 1)
	is(expiring(7), 1)  // alice's
	is(expiring(30), 3) // and both of carol's
	for _, zone := range subZonesOf {
		at := fmt.Sprintf("{secondary=%q,zone=%q}", harness.Loopback(port), zone)
		is("secondary_reachable"+at, 0)
		none("secondary_serial" + at)
	}

	s := newSecondary(t, "nsd", port, p.addr, subZonesOf, false)
	s.start(t)
	caughtUp := func() {
		t.Helper()
		for _, zone := range subZonesOf {
			at := fmt.Sprintf("{secondary=%q,zone=%q}", harness.Loopback(port), zone)
			waitFor(t, "the secondary to be seen with "+zone, func() bool {
				ours, _ := sampleAt(t, p.metrics, fmt.Sprintf("zone_serial{zone=%q}", zone))
				its, ok := sampleAt(t, p.metrics, "secondary_serial"+at)
				return ok && its == ours
			})
			is("secondary_reachable"+at, 1)
		}
	}
	caughtUp()
	write("dave.pem", "dave", 365*day)
	is(fmt.Sprintf("certificates{zone=%q}", subZonesOf[0]), 6)
	caughtUp()
	for _, zone := range subZonesOf {
		ends, _ := sampleAt(t, p.metrics, fmt.Sprintf("signature_expiry_timestamp_seconds{zone=%q}", zone))
		if left := time.Until(time.Unix(int64(ends), 0)); left < 7*day || left > 8*day {
			t.Errorf("the first signature of %s ends in %v", zone, left)
		}
	}

	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	is("directory_readable"+ofDir, 0)
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	is("directory_readable"+ofDir, 1)
	write("alice-next.pem", "alice", 365*day)
	is(expiring(7), 0)
	is(expiring(30), 2)
	s.stop(t)
	write("erin.pem", "erin", 365*day) // has the secondary asked
	at := fmt.Sprintf("{secondary=%q,zone=%q}", harness.Loopback(port), subZonesOf[0])
	is("secondary_reachable"+at, 0)
	none("secondary_serial" + at)
}

// TestExpiring holds that the metric and smimea check agree on which certificates end soon
// without a successor: one in another file, of the same address, for the same use.
func TestExpiring(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const day = 24 * time.Hour
	ends := map[string]bool{} // the files of certificates that end soon: whether nothing follows
	write := func(name string, encrypts bool, begins, lasts time.Duration, addresses ...string) {
		t.Helper()
		template := testcert.Template{Addresses: addresses, NotAfter: time.Now().Add(lasts), KeyUsage: x509.KeyUsageDigitalSignature}
		if encrypts {
			template.KeyUsage |= x509.KeyUsageKeyAgreement
		}
		if begins > 0 {
			template.NotBefore = time.Now().Add(begins)
		}
		if err := testcert.Write(filepath.Join(dir, name), template); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name        string
		signs       bool // it can only sign
		follows     string
		followSigns bool
		begins      time.Duration
		want        bool
	}{
		{name: "nothing", want: true},
		{name: "renewed", follows: "renewed"},
		{name: "later", follows: "later", begins: 3 * day},
		{name: "signing", follows: "signing", followSigns: true, want: true},
		{name: "signed", signs: true, follows: "signed", followSigns: true},
		{name: "better", signs: true, follows: "better"},
		{name: "another", follows: "else", want: true},
	} {
		write(c.name+".pem", !c.signs, 0, 5*day, c.name+"@example.com")
		ends[c.name+".pem"] = c.want
		if c.follows != "" {
			write("next-"+c.name+".pem", !c.followSigns, c.begins, 365*day, c.follows+"@example.com")
		}
	}
	write("both.pem", true, 0, 5*day, "one@example.com", "two@example.com")
	write("next-one.pem", true, 0, 365*day, "one@example.com")
	ends["both.pem"] = true

	startServer(t, block("example.com", "smimea "+dir))
	n := 0
	for _, alone := range ends {
		if alone {
			n++
		}
	}
	metric := fmt.Sprintf("coredns_smimea_expiring_certificates{days=\"7\",dir=%q}", dir)
	waitFor(t, "the metric", func() bool { return gather(t)[metric] == float64(n) })

	out, _ := exec.CommandContext(t.Context(), builtCommand(t), "check", "-json", "-soon", "168h", dir).Output() // its status is 1
	var report struct {
		Users []struct {
			Path     string
			Findings []struct{ Level, Code string }
		}
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	warned, noted := map[string]bool{}, map[string]bool{}
	for _, user := range report.Users {
		for _, f := range user.Findings {
			if f.Code == "expires" {
				noted[user.Path] = true
				warned[user.Path] = warned[user.Path] || f.Level == "warning"
			}
		}
	}
	for name, alone := range ends {
		if !noted[name] || warned[name] != alone {
			t.Errorf("%s: check warns: %v, want %v", name, warned[name], alone)
		}
	}
	if len(noted) != len(ends) {
		t.Errorf("check says of %d files that they end soon, want %d", len(noted), len(ends))
	}
}
