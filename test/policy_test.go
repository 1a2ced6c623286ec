package test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/internal/testcert"
)

// TestOnePolicy compares what the server publishes, what smimea records prints and what
// smimea check says, over certificates and files of every odd kind: the same names have
// records of the same data.
func TestOnePolicy(t *testing.T) {
	dir := t.TempDir()
	if _, err := testcert.Make(dir, time.Now(), "example.com", "example.org"); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{`a\b.crt`, "two words.crt", "100%.crt", "%41.crt", `"quoted".crt`, "it's.crt", "grüße.crt", "日本.crt", "line\nbreak.crt", "tab\t.crt", "a#b?c.crt", "semi;colon.crt", "a+b&c.crt", "$x.crt", "@.crt", "(a).crt", "-.crt"} {
		local := "odd" + string(rune('a'+i))
		cert{addresses: []string{local + "@example.com"}}.write(t, filepath.Join(dir, "odd", name))
	}
	smimeaCommand := builtCommand(t)
	// run returns what is printed, with status 0 or 1: some files are left out.
	run := func(args ...string) []byte {
		cmd := exec.CommandContext(t.Context(), smimeaCommand, args...)
		out, err := cmd.Output()
		if err != nil && cmd.ProcessState.ExitCode() != 1 {
			t.Fatalf("smimea %q: %v", args, err)
		}
		return out
	}

	printed := map[string][]string{}
	zone := dns.NewZoneParser(strings.NewReader(string(run("records", dir))), ".", "")
	for rr, ok := zone.Next(); ok; rr, ok = zone.Next() {
		add(t, printed, rr)
	}
	if err := zone.Err(); err != nil {
		t.Fatal(err)
	}

	var said struct {
		Users []struct{ SMIMEA, TXT string }
	}
	if err := json.Unmarshal(run("check", "-json", dir), &said); err != nil {
		t.Fatal(err)
	}
	checked := map[string]bool{}
	for _, user := range said.Users {
		for kind, name := range map[string]string{"SMIMEA ": user.SMIMEA, "TXT ": user.TXT} {
			if name == "" {
				continue
			}
			key := kind + written(t, name)
			if checked[key] = true; printed[key] == nil {
				t.Errorf("check says that there is a record %s, and records prints none", key)
			}
		}
	}

	var zones []string
	for key := range printed {
		_, zone, _ := strings.Cut(key[strings.Index(key, "._smime")+2:], ".")
		if !slices.Contains(zones, zone) {
			zones = append(zones, zone)
		}
	}
	s := startServer(t, block(strings.Join(zones, " "), smimea(dir, "")))
	for key := range printed {
		kind, name, _ := strings.Cut(key, " ")
		m, _ := ask(t, s.addr, question{name: name, qtype: dns.StringToType[kind], tcp: true})
		served := map[string][]string{}
		for _, rr := range m.Answer {
			add(t, served, rr)
		}
		for _, list := range []map[string][]string{served, printed} {
			slices.Sort(list[key])
		}
		if !slices.Equal(served[key], printed[key]) {
			t.Errorf("%s: the server has %q, records prints %q", key, served[key], printed[key])
		}
		// An address with capitals is published in lower case, too.
		if kind == "TXT" && !checked[key] {
			t.Errorf("records prints %s, of which check knows nothing", key)
		}
	}
	if len(printed) < 100 {
		t.Errorf("only %d sets of records", len(printed))
	}
	// A file that has no URL is none for all three.
	for i := range 17 {
		name := "odd" + string(rune('a'+i)) + "._smime.example.com."
		m, _ := ask(t, s.addr, question{name: name, qtype: dns.TypeTXT, tcp: true})
		if (len(m.Answer) > 0) != (printed["TXT "+name] != nil) {
			t.Errorf("%s: the server has %d records, records prints %q", name, len(m.Answer), printed["TXT "+name])
		}
	}
}

// add adds a record's data under its type and its name.
func add(t *testing.T, to map[string][]string, rr dns.RR) {
	t.Helper()
	h := rr.Header()
	key := dns.TypeToString[h.Rrtype] + " " + written(t, h.Name)
	to[key] = append(to[key], strings.TrimPrefix(rr.String(), h.String()))
}

// written returns a name in lower case, with the escapes that package dns writes.
func written(t *testing.T, name string) string {
	t.Helper()
	wire := make([]byte, 256)
	n, err := dns.PackDomainName(name, wire, 0, nil, false)
	if err != nil {
		t.Fatalf("%q: %v", name, err)
	}
	name, _, err = dns.UnpackDomainName(wire[:n], 0)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ToLower(name)
}
