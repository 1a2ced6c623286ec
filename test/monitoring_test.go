package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"coredns-smimea/internal/harness"
)

// TestAlerts has promtool check and test the alert rules, and holds that each rule is
// tested, both ways, and asks for metrics that there are.
func TestAlerts(t *testing.T) {
	t.Parallel()
	command(t, "promtool", "check", "rules", "../monitoring/alerts.yml")
	command(t, "promtool", "test", "rules", "../monitoring/alerts_test.yml")
	rules, err := os.ReadFile("../monitoring/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("../monitoring/alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	alerts := regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(string(rules), -1)
	if len(alerts) < 8 {
		t.Errorf("%d alerts", len(alerts))
	}
	for _, m := range alerts {
		if !regexp.MustCompile(`(?m)^  - name: `+m[1]+`$`).Match(tests) || !strings.Contains(string(tests), "alertname: "+m[1]+", exp_alerts: []}\n") {
			t.Errorf("%s is not tested both ways", m[1])
		}
	}

	// Each waits for as long as it says: what is not yet an alert is one a minute later.
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "alerts.yml"), string(rules))
	writeFile(t, filepath.Join(dir, "later.yml"), notYet.ReplaceAllStringFunc(string(tests), func(line string) string {
		m := notYet.FindStringSubmatch(line)
		minutes, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("eval_time: %dm, %s", minutes+1, m[2])
	}))
	later, _ := exec.CommandContext(t.Context(), "promtool", "test", "rules", filepath.Join(dir, "later.yml")).CombinedOutput() // it fails
	for _, rule := range strings.Split(string(rules), "- alert: ")[1:] {
		name, body, _ := strings.Cut(rule, "\n")
		if strings.Contains(body, " for: ") != regexp.MustCompile(`alertname: ?`+name+`\b`).Match(later) {
			t.Errorf("%s does not wait for as long as it says, or that is not tested:\n%s", name, later)
		}
		checkMetrics(t, name, body)
	}
	board, err := os.ReadFile("../monitoring/board.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range regexp.MustCompile(`"expr": "(?:[^"\\]|\\.)*"[^}]*`).FindAllString(string(board), -1) {
		checkMetrics(t, "the board", strings.ReplaceAll(line, `\"`, `"`))
	}
}

// notYet is the test of an alert that is to come.
var notYet = regexp.MustCompile(`eval_time: (\d+)m, (alertname: \w+, exp_alerts: \[\]\}) # not yet`)

// checkMetrics holds that the plugin has the metrics that a text asks for, with the labels
// that it asks for: those of its page, which TestPluginPage holds against the plugin.
func checkMetrics(t *testing.T, name, text string) {
	t.Helper()
	page, err := os.ReadFile("../plugin/README.md")
	if err != nil {
		t.Fatal(err)
	}
	const label = `[a-z_]+`
	has := map[string]bool{"instance": true, "job": true, "le": true}
	if strings.Contains(text, "coredns_dns_responses_total") {
		has["rcode"] = true
	}
	for _, m := range regexp.MustCompile(`coredns_smimea_(\w+)(?:\{([^}]*)\})?`).FindAllStringSubmatch(text, -1) {
		metric := regexp.MustCompile(`_(sum|count|bucket)$`).ReplaceAllString(m[1], "")
		entry := regexp.MustCompile("`coredns_smimea_" + metric + `\{([^}]*)\}`).FindSubmatch(page)
		if entry == nil {
			t.Errorf("%s asks for %s, which the plugin does not have", name, m[0])
			continue
		}
		own := regexp.MustCompile(label).FindAllString(string(entry[1]), -1)
		for _, l := range own {
			has[l] = true
		}
		for _, matcher := range regexp.MustCompile(`(`+label+`)\s*[=!]`).FindAllStringSubmatch(m[2], -1) {
			if l := matcher[1]; l != "job" && !slices.Contains(own, l) {
				t.Errorf("%s asks for %s, which has no label %s", name, m[0], l)
			}
		}
	}
	for _, m := range regexp.MustCompile(`\b(?:by|on|group_left) \(([^)]*)\)|\{\{\s*(?:\$labels\.)?(`+label+`)\s*\}\}`).FindAllStringSubmatch(text, -1) {
		for _, l := range regexp.MustCompile(label).FindAllString(m[1]+m[2], -1) {
			if !has[l] {
				t.Errorf("%s: no metric in it has the label %s:\n%s", name, l, text)
			}
		}
	}
}

// A panel is one of the board's.
type panel struct {
	Title, Type string
	Targets     []struct{ Expr string }
}

// TestBoard has Prometheus watch the demo while it is asked, and makes every query of the
// board: each panel has data.
func TestBoard(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../monitoring/board.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct{ Panels []panel }
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}

	// The demo, as make demo has it.
	program, err := build("./internal/demo")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "demo")
	name, https, metrics := harness.Loopback(freePort(t)), harness.Loopback(freePort(t)), harness.Loopback(freePort(t))
	demo := exec.Command(program, "-server", builtServer(t), "-dir", dir, "-port", portOf(name), "-https", portOf(https), "-metrics", portOf(metrics))
	if err := run(t, demo, &harness.Log{}, name); err != nil {
		t.Fatal(err)
	}
	prometheus := startPrometheus(t, metrics)

	w := &web{https, filepath.Join(dir, "ca.crt")}
	client := w.client(t)
	load := func() {
		for _, q := range []question{
			{name: hashOwner("alice", "example.com."), qtype: dns.TypeSMIMEA, size: 1232, do: true},
			{name: "alice._smime.example.com.", qtype: dns.TypeTXT},
			{name: hashOwner("nobody", "example.com."), qtype: dns.TypeSMIMEA, size: 1232, do: true},
		} {
			exchange(name, "udp", q.pack(t), lostAfter)
		}
		for _, path := range []string{"alice.crt", "nobody.crt"} {
			fetch(t, client, "https://example.com"+wellKnown+path)
		}
	}
	// A certificate comes while it is watched.
	waitFor(t, "Prometheus to see the demo", func() bool { return prometheus.query(t, `coredns_smimea_certificates`) > 0 })
	command(t, "cp", filepath.Join(dir, "frank.crt"), filepath.Join(dir, "certs"))

	panels := 0
	for _, p := range board.Panels {
		if p.Type == "row" {
			continue
		}
		panels++
		if len(p.Targets) == 0 {
			t.Errorf("panel %q asks for nothing", p.Title)
		}
		for _, target := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "1m", "$job", ".+").Replace(target.Expr)
			if strings.Contains(expr, "$") {
				t.Errorf("panel %q has a variable that is not known: %s", p.Title, expr)
			}
			waitFor(t, fmt.Sprintf("data in panel %q: %s", p.Title, expr), func() bool {
				load()
				return prometheus.query(t, expr) > 0
			})
		}
	}
	if panels < 20 {
		t.Errorf("the board has %d panels", panels)
	}
	// No alert is on at a server that is well but for the demo's private key.
	waitFor(t, "no other alert to be on", func() bool { // one may be pending where Prometheus had to wait
		return prometheus.query(t, `ALERTS{alertname!~"SMIMEPrivateKey|SMIMEFilesFailing"}`) == 0
	})
	waitFor(t, "the alert of the private key", func() bool {
		return prometheus.query(t, `ALERTS{alertname="SMIMEPrivateKey",alertstate="firing"}`) > 0
	})
}

// prometheusAt is where a Prometheus is.
type prometheusAt string

// startPrometheus runs Prometheus with our alerts, which looks at target every other second.
func startPrometheus(t *testing.T, target string) prometheusAt {
	t.Helper()
	rules, err := filepath.Abs("../monitoring/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	addr := harness.Loopback(freePort(t))
	conf := filepath.Join(dir, "prometheus.yml")
	writeFile(t, conf, fmt.Sprintf(`global: {scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 2s}
rule_files: [%s]
scrape_configs:
  - job_name: smimea
    static_configs: [{targets: [%q]}]
`, rules, target))
	log := &harness.Log{}
	cmd := exec.CommandContext(t.Context(), "prometheus", "--config.file="+conf, "--web.listen-address="+addr, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--log.level=warn")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	})
	p := prometheusAt(addr)
	waitFor(t, "Prometheus", func() bool {
		response, err := http.Get("http://" + addr + "/-/ready")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return p
}

// query returns how many series a query finds that have a number.
func (p prometheusAt) query(t *testing.T, expr string) (n int) {
	t.Helper()
	response, body := fetch(t, http.DefaultClient, "http://"+string(p)+"/api/v1/query?query="+url.QueryEscape(expr))
	var answer struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
		Error string
	}
	if err := json.Unmarshal(body, &answer); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %s %v", expr, response.Status, answer.Error, err)
	}
	for _, series := range answer.Data.Result {
		if series.Value[1] != "NaN" {
			n++
		}
	}
	return n
}
