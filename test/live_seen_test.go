package test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"

	"coredns-smimea/internal/harness"
)

// TestMetrics holds what an operator sees, by names that promlint is content with.
func TestMetrics(t *testing.T) {
	began := time.Now()
	l := &liveDir{T: t, dir: t.TempDir()}
	for _, name := range []string{"alice", "bob", "carol"} {
		l.write(name+".pem", name)
	}
	cert{addresses: []string{"two@example.com", "too@example.com"}, notAfter: time.Now().AddDate(0, 0, 5)}.write(t, l.at("two.pem"))
	cert{addresses: []string{"soon@example.com"}, notAfter: time.Now().AddDate(0, 0, 20)}.write(t, l.at("soon.pem"))
	cert{addresses: []string{"authority@example.com"}, ca: true}.write(t, l.at("authority.pem"))
	cert{addresses: []string{"elsewhere@example.net"}}.write(t, l.at("elsewhere.pem"))
	l.must(os.WriteFile(l.at("rubbish.pem"), []byte("rubbish"), 0o644))
	dir, ready := "dir="+l.dir, freePort(t)
	s := startServer(t, block("example.com", "ready "+harness.Loopback(ready), "smimea "+l.dir+" {\nttl 1s\nreload 300ms\nwatch off\n}"))
	l.addr = s.addr
	reply, err := http.Get("http://" + harness.Loopback(ready) + "/ready")
	if err != nil || reply.StatusCode != http.StatusOK {
		t.Errorf("ready: %v, %v", reply, err)
	}
	want := func(value float64, name string, labels ...string) {
		t.Helper()
		var got float64
		if !harness.Wait(harness.Patience, nil, func() bool {
			got = metric(t, name, labels...)
			return got == value
		}) {
			t.Errorf("%s%v is %v, want %v", name, labels, got, value)
		}
	}
	between := func(least, most float64, name string, labels ...string) {
		t.Helper()
		if got := metric(t, name, labels...); got < least || got > most {
			t.Errorf("%s%v is %v, want something from %v to %v", name, labels, got, least, most)
		}
	}
	want(5, "certificates", "zone=example.com.")
	want(6, "addresses", "zone=example.com.")
	want(1, "failing_files", dir, "reason=authority")
	want(1, "failing_files", dir, "reason=foreign_domain")
	want(1, "failing_files", dir, "reason=no_certificate")
	want(1, "expiring_certificates", dir, "days=7")
	want(2, "expiring_certificates", dir, "days=30")
	want(0, "held_withdrawals", dir)
	between(4*86400, 5*86400, "next_expiry_seconds", dir)
	first, now := float64(began.Unix()), float64(time.Now().Unix()+1)
	between(first, now, "last_look_timestamp_seconds", dir)
	between(first, now, "last_change_timestamp_seconds", dir)
	between(float64(uint32(first)*4), float64(uint32(now)*4), "zone_serial", "zone=example.com.")

	// Changes, by kind.
	l.wait("changed", map[string]string{"alice": l.write("alice.pem", "alice")})
	l.remove("bob.pem")
	l.wait("removed", map[string]string{"bob": gone})
	want(5, "changes_total", dir, "kind=added") // without the one that is foreign
	want(1, "changes_total", dir, "kind=changed")
	want(1, "changes_total", dir, "kind=withdrawn")
	want(4, "certificates", "zone=example.com.")
	l.must(os.WriteFile(l.at("carol.pem"), nil, 0o644))
	want(1, "failing_files", dir, "reason=malformed") // and carol is still there
	want(4, "certificates", "zone=example.com.")
	looks := metric(t, "look_duration_seconds", dir)
	waitFor(t, "more looks", func() bool { return metric(t, "look_duration_seconds", dir) > looks+1 })

	// Queries, by type and result.
	before := func(qtype, result string) float64 {
		return metric(t, "queries_total", "zone=example.com.", "type="+qtype, "result="+result)
	}
	for _, q := range []struct {
		name   string
		qtype  uint16
		label  string
		result string
	}{
		{hashOwner("alice", "example.com."), dns.TypeSMIMEA, "SMIMEA", "success"},
		{hashOwner("bob", "example.com."), dns.TypeSMIMEA, "SMIMEA", "nxdomain"},
		{"alice._smime.example.com.", dns.TypeTXT, "TXT", "success"},
		{"alice._smime.example.com.", dns.TypeA, "other", "nodata"},
		{"example.com.", dns.TypeSOA, "other", "success"},
	} {
		n := before(q.label, q.result)
		ask(t, l.addr, question{name: q.name, qtype: q.qtype})
		// It is counted when it is answered, which is a moment before that.
		want(n+1, "queries_total", "zone=example.com.", "type="+q.label, "result="+q.result)
	}

	families, err := prometheus.DefaultGatherer.Gather()
	l.must(err)
	var text bytes.Buffer
	for _, family := range families {
		if strings.HasPrefix(family.GetName(), "coredns_smimea_") {
			_, err := expfmt.MetricFamilyToText(&text, family)
			l.must(err)
		}
	}
	problems, err := promlint.New(&text).Lint()
	l.must(err)
	for _, p := range problems {
		t.Errorf("promlint: %s: %s", p.Metric, p.Text)
	}
}

// TestHeld holds that an operator sees what the guard holds back, and can let it
// pass.
func TestHeld(t *testing.T) {
	l := &liveDir{T: t, dir: t.TempDir()}
	alice := l.write("sub/alice.pem", "alice")
	for i := range 29 {
		cert{addresses: []string{fmt.Sprintf("user%d@example.com", i)}}.write(t, l.at(fmt.Sprintf("sub/%d.pem", i)))
	}
	s := startProcess(t, "", block("example.com", "smimea "+l.dir+" {\nreload 1h\n}"))
	l.addr = s.addr
	l.rename("sub", ".sub")
	waitFor(t, "the message", func() bool { return strings.Contains(s.log.String(), "Holding back the withdrawal of 30 of 30") })
	if got := l.served("alice"); got != alice {
		t.Errorf("alice is %s", got)
	}
	// Others come and go meanwhile.
	bob := l.write("bob.pem", "bob")
	l.wait("bob", map[string]string{"bob": bob, "alice": alice})
	tick(t, time.Nanosecond)
	l.must(os.WriteFile(l.at(".withdraw"), nil, 0o644))
	l.wait("confirmed", map[string]string{"alice": gone, "bob": bob})
	if n := strings.Count(s.log.String(), "Holding back"); n != 1 {
		t.Errorf("it says so %d times\n%s", n, s.log)
	}
}

// TestLogged holds that the log has one line for each change of what is published,
// and one for each file whose reason changes.
func TestLogged(t *testing.T) {
	l := &liveDir{T: t, dir: filepath.Join(t.TempDir(), "certs")}
	l.write("alice.pem", "alice")
	metrics := harness.Loopback(freePort(t))
	s := startProcess(t, "", block("_smimecert.example.com _smime.example.com", "prometheus "+metrics, "smimea "+l.dir+" {\nttl 1s\nreload 200ms\n}"))
	l.addr = s.addr
	anotherLook := func() {
		t.Helper()
		looks := func() float64 {
			n, _ := sampleAt(t, metrics, `look_duration_seconds_count{dir="`+l.dir+`"}`)
			return n
		}
		before := looks()
		waitFor(t, "a look that began after this", func() bool { return looks() >= before+2 })
	}
	lines := func(pattern string) int {
		return len(regexp.MustCompile(`(?m)^.*`+pattern+`.*$`).FindAllString(s.log.String(), -1))
	}
	published := lines("Published ")
	if published != 1 {
		t.Errorf("%d lines at the start\n%s", published, s.log)
	}
	one := func(what string, do func() map[string]string) {
		t.Helper()
		l.wait(what, do())
		anotherLook()
		published++
		if n := lines("Published "); n != published {
			t.Errorf("%s: %d lines, not one\n%s", what, n-published+1, s.log)
			published = n
		}
	}
	type want = map[string]string
	one("added", func() want { return want{"bob": l.write("bob.pem", "bob")} })
	one("changed", func() want { return want{"bob": l.write("bob.pem", "bob")} })
	one("removed", func() want { l.remove("bob.pem"); return want{"bob": gone} })
	for _, line := range []string{"1 added", "1 changed", "1 withdrawn"} {
		if lines("Published .*"+line) != 1+strings.Count(line, "added") {
			t.Errorf("no line says %q\n%s", line, s.log)
		}
	}
	// One line for each change of a file's reason.
	for _, step := range []struct{ content, pattern string }{
		{"rubbish", `WARNING.*Keeping what "alice.pem" published before: no certificate`},
		{"-----BEGIN CERTIFICATE-----\n", `WARNING.*Keeping what "alice.pem" published before: the certificate file is damaged`},
	} {
		replaceFile(t, l.at("alice.pem"), step.content) // in one step: to be empty is another reason
		waitFor(t, step.pattern, func() bool { return lines(step.pattern) > 0 })
		anotherLook()
		if n := lines(step.pattern); n != 1 {
			t.Errorf("%d lines of %s", n, step.pattern)
		}
	}
	l.wait("whole again", want{"alice": l.write("alice.pem", "alice")})
	waitFor(t, "the message", func() bool { return lines(`Reading "alice.pem" again`) == 1 })
	if n := lines("Published "); n != published+1 {
		t.Errorf("%d lines for a torn and a whole file, not one", n-published)
	}
	// DIR away, and there again.
	l.must(os.Rename(l.dir, l.dir+".away"))
	waitFor(t, "the message", func() bool { return lines("ERROR.*What is published stays as it is") == 1 })
	anotherLook()
	l.must(os.Rename(l.dir+".away", l.dir))
	waitFor(t, "the message", func() bool { return lines("can be read again") == 1 })
	if n := lines("What is published stays"); n != 1 {
		t.Errorf("%d lines for one error", n)
	}
	if n := lines("Published "); n != published+1 {
		t.Errorf("%d lines for a directory away and back", n-published-1)
	}
}
