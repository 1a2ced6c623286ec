package test

import (
	"crypto/x509"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"coredns-smimea/internal/harness"
)

// fence is one fenced block of a Markdown file.
type fence struct {
	language string
	text     string
}

// fences returns the fenced blocks of a file, both ``` and ~~~.
func fences(t *testing.T, file string) []fence {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []fence
	end := ""
	for line := range strings.Lines(string(b)) {
		mark := strings.TrimSpace(line)
		switch {
		case end == "" && (strings.HasPrefix(mark, "```") || strings.HasPrefix(mark, "~~~")):
			end = mark[:3]
			blocks = append(blocks, fence{language: strings.TrimSpace(mark[3:])})
		case end != "" && mark == end:
			end = ""
		case end != "":
			blocks[len(blocks)-1].text += line
		}
	}
	if end != "" {
		t.Errorf("%s: a block is not closed", file)
	}
	return blocks
}

// TestCorefiles starts every Corefile of the documents, with the real binary.
func TestCorefiles(t *testing.T) {
	type example struct{ name, text string }
	var examples []example
	for _, file := range []string{"../README.md", "../plugin/README.md"} {
		n := len(examples)
		for _, b := range fences(t, file) {
			if b.language == "corefile" {
				name := fmt.Sprintf("%s %d", strings.TrimPrefix(file, "../"), len(examples)-n+1)
				examples = append(examples, example{strings.ReplaceAll(name, "/", " "), b.text})
			}
		}
		if len(examples)-n < 3 {
			t.Errorf("%s: %d Corefiles, want one for each layout", file, len(examples)-n)
		}
	}
	b, err := os.ReadFile("../corefile.example")
	if err != nil {
		t.Fatal(err)
	}
	examples = append(examples, example{"corefile.example", string(b)})
	for _, e := range examples {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			corefile := onLoopback(t, strings.ReplaceAll(strings.ReplaceAll(e.text, ":1053", ""), "/srv", dir))
			for _, domain := range []string{"example.com", "example.org", "example.net"} {
				cert{addresses: []string{"alice@" + domain}}.write(t, filepath.Join(dir, "certs", domain+".pem"))
				writeFile(t, filepath.Join(dir, "db."+domain), strings.ReplaceAll(exampleZone(1, 900), "example.com", domain))
			}
			cert{ca: true}.write(t, filepath.Join(dir, "roots.pem"))
			der, key := cert{subject: "host", eku: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}.make(t)
			writePEM(t, filepath.Join(dir, "tls.crt"), "CERTIFICATE", der)
			writePEM(t, filepath.Join(dir, "tls.key"), "PRIVATE KEY", key)
			origin := "example.com."
			for _, name := range regexp.MustCompile(`key file (\S+)`).FindAllStringSubmatch(corefile, -1) {
				zone := regexp.MustCompile(`^K(example\.\w+)\.?`).FindStringSubmatch(name[1])[1] + "."
				origin = zone
				_, base := newKey(t, t.TempDir(), zone, 257, dns.ECDSAP256SHA256)
				for _, ext := range []string{".key", ".private"} {
					b, err := os.ReadFile(base + ext)
					if err != nil {
						t.Fatal(err)
					}
					writeFile(t, filepath.Join(dir, name[1]+ext), string(b))
				}
			}
			if strings.Contains(corefile, "example.org") {
				origin = "example.org."
			}
			s := startProcess(t, dir, corefile)
			m, _ := ask(t, s.addr, question{name: hashOwner("nobody", origin), qtype: dns.TypeSMIMEA})
			if m.Rcode != dns.RcodeNameError || len(m.Ns) != 1 {
				t.Errorf("nobody's certificate:\n%s", m)
			}
			m, _ = ask(t, s.addr, question{name: hashOwner("alice", origin), qtype: dns.TypeSMIMEA})
			if roots := strings.Contains(corefile, "\n        roots "); roots != (len(m.Answer) == 0) {
				t.Errorf("alice's certificate:\n%s", m)
			}
		})
	}
}

// TestPluginPage holds that plugin/README.md has the form of CoreDNS's plugin pages, and
// names every option and every metric that there is.
func TestPluginPage(t *testing.T) {
	b, err := os.ReadFile("../plugin/README.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	var sections []string
	for _, m := range regexp.MustCompile(`(?m)^## (.*)$`).FindAllStringSubmatch(page, -1) {
		sections = append(sections, m[1])
	}
	want := []string{"Name", "Description", "Syntax", "Metrics", "Ready", "Examples", "Bugs", "See Also"}
	sections = slices.DeleteFunc(sections, func(s string) bool { return !slices.Contains(want, s) }) // there may be more
	if !slices.Equal(sections, want) {
		t.Errorf("sections are %q, want %q", sections, want)
	}

	_, err = tryServer(t, block("example.com", "smimea "+t.TempDir()+" {\nhelp\n}"))
	if err == nil {
		t.Fatal("an option help is known")
	}
	_, known, ok := strings.Cut(err.Error(), "known are ")
	if !ok {
		t.Fatalf("no list of options in %q", err)
	}
	_, rest, _ := strings.Cut(page, "smimea DIR [ZONES...] {\n")
	syntax, rest, _ := strings.Cut(rest, "\n}\n")
	options := strings.Split(known, ", ")
	for _, option := range options {
		if !regexp.MustCompile(`(?m)^    ` + option + `\b`).MatchString(syntax) {
			t.Errorf("option %s is not in the syntax", option)
		}
		if !strings.Contains(rest, "`"+option+"`") {
			t.Errorf("option %s is not described", option)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^    (\w+)`).FindAllStringSubmatch(syntax, -1) {
		if !slices.Contains(options, m[1]) {
			t.Errorf("the syntax has %s, which is no option", m[1])
		}
	}

	var source []byte
	err = filepath.WalkDir("../plugin", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		source = append(source, text...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`\bmetric\.(?:Counter|Gauge|Histogram)\("(\w+)",\s*"(?:[^"\\]|\\.)*",\s*(?:prometheus\.\w+\([^)]*\),\s*)?((?:"\w+"[,\s]*)*)\)`).FindAllStringSubmatch(string(source), -1)
	for _, m := range names {
		labels := strings.Join(regexp.MustCompile(`\w+`).FindAllString(m[2], -1), ", ")
		if !strings.Contains(page, "`coredns_smimea_"+m[1]+"{"+labels+"}`") {
			t.Errorf("metric %s{%s} is not in the page", m[1], labels)
		}
	}
	if n := strings.Count(page, "`coredns_smimea_"); n != len(names) {
		t.Errorf("the page has %d metrics, the plugin %d", n, len(names))
	}
}

// TestMetricNames has Prometheus's linter look at the metrics of a server that has
// been asked.
func TestMetricNames(t *testing.T) {
	dir := t.TempDir()
	users(t, dir, "example.com")
	s := startServer(t, block("example.com", newKeys(t, "example.com.", signing{dns.ECDSAP256SHA256, false}).directive, "smimea "+dir))
	for _, name := range []string{hashOwner("alice", "example.com."), hashOwner("nobody", "example.com.")} {
		ask(t, s.addr, question{name: name, qtype: dns.TypeSMIMEA, size: 1232, do: true})
	}
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	families = slices.DeleteFunc(families, func(f *dto.MetricFamily) bool { return !strings.HasPrefix(f.GetName(), "coredns_smimea_") })
	if len(families) < 10 {
		t.Errorf("%d metrics", len(families))
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// onLoopback gives every server block of a Corefile the address of the tests.
func onLoopback(t *testing.T, corefile string) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(corefile) {
		if keys, ok := strings.CutSuffix(line, "{\n"); ok && keys[0] != ' ' && keys[0] != '\t' && keys[0] != '#' {
			for _, key := range strings.Fields(keys) {
				b.WriteString(key + ":PORT ")
			}
			b.WriteString("{\n")
			if !strings.Contains(corefile, "bind 127.0.0.1") {
				b.WriteString("    bind 127.0.0.1\n")
			}
			continue
		}
		if strings.TrimSpace(line) == "https" {
			line = "        https 127.0.0.1:0\n"
		}
		b.WriteString(strings.ReplaceAll(line, "to 192.0.2.53", "to 127.0.0.1:9")) // NOTIFY stays here, too
	}
	if !strings.Contains(b.String(), "PORT") {
		t.Fatalf("no server block in\n%s", corefile)
	}
	return b.String()
}

// TestReadmeCommands runs the commands of README.md, in a copy of the tree: all that
// are in blocks named sh. The last one of the first block serves until the test ends.
func TestReadmeCommands(t *testing.T) {
	t.Parallel()
	dir := checkout(t)
	scripts := scripts(t, "../README.md", 2) // the server and the client
	port := strings.TrimPrefix(harness.Loopback(freePort(t)), "127.0.0.1:")
	for i := range scripts {
		scripts[i] = strings.ReplaceAll(scripts[i], "-p 1053", "-p "+port)
	}
	// exec: what is started last is what the test ends.
	server := strings.Replace(scripts[0], "&& ../build/coredns", "&& sed -i s/:1053/:"+port+"/g Corefile && exec ../build/coredns", 1)
	if server == scripts[0] {
		t.Fatalf("no server in\n%s", server)
	}
	cmd := exec.Command("sh", "-e", "-c", server)
	cmd.Dir = dir
	if err := runFor(t, cmd, &harness.Log{}, "127.0.0.1:"+port, buildTime); err != nil {
		t.Fatal(err)
	}
	client := exec.CommandContext(t.Context(), "sh", "-e", "-c", scripts[1])
	client.Dir = dir
	out, err := client.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), `"https://example.com/.well-known/smime/hugh.crt"`) {
		t.Errorf("no TXT record in\n%s", out)
	}
	record := regexp.MustCompile(`SMIMEA\s+3 1 1 ([0-9A-F ]+)\n`).FindStringSubmatch(string(out))
	digest := regexp.MustCompile(`SHA2-256\(stdin\)= ([0-9a-f]{64})`).FindStringSubmatch(string(out))
	if record == nil || digest == nil || !strings.EqualFold(strings.ReplaceAll(record[1], " ", ""), digest[1]) {
		t.Errorf("the digests are not equal in\n%s", out)
	}
}

// checkout copies the tree as git knows it, changes and new files included.
func checkout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	// A file that is deleted but not yet committed as such is still listed.
	command(t, "sh", "-e", "-c", `cd .. && git ls-files -z --cached --others --exclude-standard |
		tar --null --ignore-failed-read -T - -cf - | tar -xf - -C `+shellQuote(dir))
	return dir
}

// TestDemo runs make demo, pastes what it prints, and ends it with Ctrl-C.
func TestDemo(t *testing.T) {
	t.Parallel()
	dir := checkout(t)
	addr := harness.Loopback(freePort(t))
	log := &harness.Log{}
	cmd := exec.Command("make", "demo", "DEMOFLAGS=-port "+portOf(addr)+" -https "+fmt.Sprint(freePort(t))+" -metrics "+fmt.Sprint(freePort(t)))
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	waitLong(t, "the demo to be up", buildTime, func() bool {
		select {
		case err := <-done:
			t.Fatalf("the demo ended: %v\n%s", err, log)
		default:
		}
		return strings.Contains(log.String(), "Ctrl-C ends it.")
	})

	_, pasted, _ := strings.Cut(log.String(), "In another terminal, in this directory:\n")
	pasted, _, _ = strings.Cut(pasted, "Ctrl-C ends it.")
	if strings.Contains(pasted, "More would be here") {
		t.Errorf("programs are missing:\n%s", pasted)
	}
	paste := exec.CommandContext(t.Context(), "sh", "-e", "-c", pasted)
	paste.Dir = dir
	out, err := paste.CombinedOutput()
	all := string(out)
	if err != nil {
		t.Errorf("%v\n%s\n%s", err, pasted, all)
	}
	var lacking []string
	for text, n := range map[string]int{
		"; fully validated":                    2,
		"; negative response, fully validated": 1,
		"NXDOMAIN":                             1,
		"/.well-known/smime/alice.crt":         3,
		"/.well-known/smime/bob.crt":           2,
		"verified: the certificate is the one": 1,
		" 0 warnings, 0 errors":                1,
		"200 application/pkix-cert":            1,
		"coredns_smimea_certificates{":         2,
	} {
		if got := strings.Count(all, text); got < n {
			lacking = append(lacking, fmt.Sprintf("%q is there %d times, not %d", text, got, n))
		}
	}
	if lacking != nil {
		t.Errorf("%s, in what these lines give:\n%s\n%s", strings.Join(lacking, "; "), pasted, all)
	}
	// What is to be compared is equal to the letter.
	if m := regexp.MustCompile(`(?m)^([0-9a-f]{64})\n([0-9a-f]{64})$`).FindStringSubmatch(all); m == nil || m[1] != m[2] {
		t.Errorf("no two equal digests in\n%s", all)
	}
	for _, said := range []string{"1 added", "1 withdrawn"} {
		waitFor(t, said+" in the log", func() bool { return strings.Contains(log.String(), said) })
	}
	for _, file := range []string{"mallory-key.pem", "eve-expired.crt"} {
		if !strings.Contains(log.String(), file) {
			t.Errorf("%s is not in the log:\n%s", file, log)
		}
	}

	syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) // as a terminal does
	<-done
	if _, err := exchange(addr, "tcp", question{name: ".", qtype: dns.TypeSOA}.pack(t), buildTime); err == nil {
		t.Error("the server outlived its demo")
	}
	if !strings.Contains(log.String(), "The demo has ended.") {
		t.Errorf("no good end:\n%s", log)
	}
}
