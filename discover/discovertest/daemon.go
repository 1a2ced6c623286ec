package discovertest

import (
	"os/exec"
	"testing"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/internal/harness"
)

// FreePort returns a port of the loopback address that nobody has.
func FreePort(t testing.TB) int {
	t.Helper()
	port, err := harness.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// StartDaemon runs a name server or resolver in a folder until the test ends,
// and waits until it answers for a zone.
func StartDaemon(t testing.TB, dir, address, zone, command string, args ...string) {
	t.Helper()
	c := exec.Command(command, args...)
	c.Dir = dir
	p, err := harness.Start(c, &harness.Log{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(zone), dns.TypeSOA)
	client := &dns.Client{Timeout: 10 * time.Second}
	if err := p.Until("it answers for "+zone, harness.Patience, func() bool {
		m, _, err := client.Exchange(q, address)
		return err == nil && m.Rcode == dns.RcodeSuccess
	}); err != nil {
		t.Fatal(err)
	}
}
