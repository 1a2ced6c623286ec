package discover

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"coredns-smimea/internal/harness"
	"coredns-smimea/internal/testcert"
)

// hostile publishes what costs most to judge: certificates, authorities of one name,
// and records that any of them could be meant by.
func hostile(t *testing.T, w *world, address string, leaves, authorities, records int) {
	t.Helper()
	var all []*testcert.Authority
	for range authorities {
		a, err := testcert.NewAuthority("Hostile Authority", nil)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	var file [][]byte
	for _, a := range all {
		file = append(file, a.Certificate)
	}
	// The newest is judged first: with those of the last authority at the front, by chance
	// of the clock, there would be no signatures left to verify.
	since := time.Now().Add(-time.Hour)
	for i := range leaves {
		file = append(file, certificate(t, testcert.Template{Addresses: []string{address}, Issuer: all[i%len(all)], NotBefore: since}))
	}
	w.files["/"+address] = testcert.PEM(file...)
	w.publish(address, all[0].Certificate, nil, w.url("example.test", "/"+address))
	for i := range records {
		w.publish(address, all[i%len(all)].Certificate, []string{"2 0 1"})
	}
}

// TestHostileBundle holds that 100 certificates, 100 authorities and 100 records do
// not cost 100 * 100 * 100 signatures: they took 104 seconds once.
func TestHostileBundle(t *testing.T) {
	w := newWorld(t)
	hostile(t, w, "many@example.test", 100, 100, 100)
	c := w.client()
	began := harness.ProcessorTime()
	r := c.Lookup(t.Context(), parse(t, "many@example.test"))
	if took := harness.ProcessorTime() - began; took > 30*time.Second {
		t.Errorf("judged in %v of the processor", took)
	}
	if len(r.Certificates) != 100 || r.Verdict != Verified || r.Certificates[0].Match != ByAuthority {
		t.Errorf("%d certificates; %s (%s)", len(r.Certificates), r.Verdict, r.Why)
	}
	chained := 0
	for _, c := range r.Certificates {
		if !strings.Contains(c.Untrusted, "too many") {
			chained++
		}
	}
	if chained != maxChained {
		t.Errorf("%d certificates were held against chains; want %d", chained, maxChained)
	}
}

// TestLargeBundle holds that limits do not hide the user among hundreds of others.
func TestLargeBundle(t *testing.T) {
	w := newWorld(t)
	var file [][]byte
	for i := range 120 {
		a, err := testcert.NewAuthority(fmt.Sprintf("Company Authority %d", i), nil)
		if err != nil {
			t.Fatal(err)
		}
		file = append(file, a.Certificate, certificate(t, testcert.Template{Addresses: []string{fmt.Sprintf("u%d@example.test", i)}, Issuer: a}))
		if i == 119 {
			w.publish("u119@example.test", a.Certificate, []string{"2 1 1"}, w.url("example.test", "/all"))
		}
	}
	w.files["/all"] = testcert.PEM(file...)
	if r := w.expect(w.client(), "u119@example.test", Verified); r.Certificates[0].Addresses[0] != "u119@example.test" {
		t.Errorf("the first certificate is %v", r.Certificates[0].Addresses)
	}
}

// TestCountOfCertificates holds the limit of what is read at all.
func TestCountOfCertificates(t *testing.T) {
	w := newWorld(t)
	var file [][]byte
	for i := range maxCertificates + 10 {
		file = append(file, user(t, fmt.Sprintf("u%d@example.test", i)))
	}
	w.files["/all"] = testcert.PEM(file...)
	w.publish("u1@example.test", file[1], []string{"3 1 1"}, w.url("example.test", "/all"))
	r := w.expect(w.client(), "u1@example.test", Verified)
	if len(r.Certificates) != maxCertificates || !strings.Contains(strings.Join(r.Story, "\n"), fmt.Sprintf("only the first %d certificates", maxCertificates)) {
		t.Errorf("%d certificates\n%s", len(r.Certificates), strings.Join(r.Story, "\n"))
	}
}

// TestInterruptedJudging holds that an end of the context in the midst of judging is
// no verdict on what was not judged.
func TestInterruptedJudging(t *testing.T) {
	w := newWorld(t)
	hostile(t, w, "many@example.test", 3, 3, 3)
	c := w.client()
	ctx, cancel := context.WithCancel(t.Context())
	c.Story = func(step string) {
		if strings.HasPrefix(step, "download: ") {
			cancel()
		}
	}
	if r := c.Lookup(ctx, parse(t, "many@example.test")); r.Verdict != Unknown || r.Why.Code != Interrupted {
		t.Errorf("%s (%s)", r.Verdict, r.Why)
	}
}
