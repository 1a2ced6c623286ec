package world

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/discover"
	"coredns-smimea/discover/dnssec"
	"coredns-smimea/internal/testcert"
	"coredns-smimea/ldap"
	"coredns-smimea/smimea"
)

// A zone answers as a validating resolver does, for what a test puts there.
type zone struct {
	mu      sync.Mutex
	records map[string][]dns.RR
	failing error
	asked   int // SMIMEA questions
	delay   time.Duration
}

func (z *zone) Lookup(ctx context.Context, name string, qtype uint16) (*dnssec.Answer, error) {
	z.mu.Lock()
	if qtype == dns.TypeSMIMEA {
		z.asked++
	}
	delay, failing := z.delay, z.failing
	a := &dnssec.Answer{Security: dnssec.Secure, Name: name}
	if qtype == dns.TypeSMIMEA {
		a.Records = z.records[name]
	}
	z.mu.Unlock()
	if qtype == dns.TypeSMIMEA && delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return a, failing
}

// publish puts a record with a whole certificate there.
func (z *zone) publish(t *testing.T, address string, template testcert.Template) []byte {
	t.Helper()
	template.Addresses = append(template.Addresses, address)
	der, err := template.DER()
	if err != nil {
		t.Fatal(err)
	}
	owner := parse(t, address).Owner()
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records[owner] = append(z.records[owner], &dns.SMIMEA{
		Hdr: dns.RR_Header{Name: owner, Rrtype: dns.TypeSMIMEA, Class: dns.ClassINET, Ttl: 300}, Usage: 3, Certificate: fmt.Sprintf("%x", der),
	})
	return der
}

func parse(t *testing.T, address string) smimea.Address {
	t.Helper()
	a, err := smimea.ParseAddress(address)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newWorld(o Options) (*World, *zone) {
	z := &zone{records: map[string][]dns.RR{}}
	o.Client = &discover.Client{Resolver: z}
	return New(o), z
}

func find(t *testing.T, w *World, address string) (ldap.Found, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
	defer cancel()
	return w.Find(ctx, parse(t, address))
}

// TestTogether holds that those who ask for one address at one time wait for one
// look-up, and that what is known is not asked for again until it has expired.
func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, z := newWorld(Options{})
		defer w.Close()
		der := z.publish(t, "hugh@example.com", testcert.Template{})
		z.delay = time.Second
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				found, err := find(t, w, "hugh@example.com")
				if err != nil || len(found.Certificates) != 1 || !bytes.Equal(found.Certificates[0].Raw, der) {
					t.Errorf("%v, %v", found, err)
				}
			})
		}
		all.Wait()
		for _, address := range []string{"hugh@example.com", "nobody@example.com", "nobody@example.com"} {
			if found, err := find(t, w, address); err != nil || (len(found.Certificates) == 0) == (address == "hugh@example.com") {
				t.Errorf("%s: %v, %v", address, found, err)
			}
		}
		if z.asked != 2 {
			t.Errorf("asked %d times; want 2", z.asked)
		}
		<-time.After(5*time.Minute + time.Second) // of the test's own clock
		find(t, w, "hugh@example.com")
		if z.asked != 3 {
			t.Errorf("asked %d times; want 3, after what was known has expired", z.asked)
		}
	})
}

// TestSlow holds that a look-up goes on when nobody waits, for the next who asks.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, z := newWorld(Options{})
		defer w.Close()
		z.publish(t, "hugh@example.com", testcert.Template{})
		z.delay = 4 * time.Second
		if _, err := find(t, w, "hugh@example.com"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("at first: %v", err)
		}
		if found, err := find(t, w, "hugh@example.com"); err != nil || len(found.Certificates) != 1 || z.asked != 1 {
			t.Errorf("then: %v, %v, asked %d times", found, err, z.asked)
		}
	})
}

// TestFailures holds that a failure is no verdict: it is asked again at once.
func TestFailures(t *testing.T) {
	w, z := newWorld(Options{})
	defer w.Close()
	z.failing = errors.New("no answer")
	for range 2 {
		if found, err := find(t, w, "nobody@example.com"); err == nil || len(found.Certificates) > 0 {
			t.Errorf("%v, %v", found, err)
		}
	}
	z.failing = nil
	if _, err := find(t, w, "nobody@example.com"); err != nil || z.asked != 3 {
		t.Errorf("%v, asked %d times", err, z.asked)
	}
}

// TestBusy holds that there are only so many look-ups, and only so much is known.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, z := newWorld(Options{Lookups: 2, Remembered: 3})
		z.delay = time.Hour
		for _, address := range []string{"a@example.com", "b@example.com"} {
			if _, err := find(t, w, address); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", address, err)
			}
		}
		if _, err := find(t, w, "c@example.com"); !errors.Is(err, ldap.ErrBusy) {
			t.Errorf("one more: %v", err)
		}
		<-time.After(time.Minute)
		synctest.Wait()
		z.delay = 0
		for i := range 10 {
			find(t, w, fmt.Sprintf("u%d@example.com", i))
		}
		if n := len(w.verdicts); n > 3 {
			t.Errorf("%d verdicts are kept", n)
		}
		z.delay = time.Hour
		find(t, w, "last@example.com")
		w.Close()
		if _, err := find(t, w, "later@example.com"); err == nil {
			t.Error("a closed world answers")
		}
	})
}

// TestVerdicts holds what is handed out, the best first.
func TestVerdicts(t *testing.T) {
	var looked []Lookup
	w, z := newWorld(Options{Looked: func(l Lookup) { looked = append(looked, l) }})
	z.publish(t, "both@example.com", testcert.Template{KeyUsage: 1})
	agrees := z.publish(t, "both@example.com", testcert.Template{KeyUsage: 1<<0 | 1<<4})
	enciphers := z.publish(t, "both@example.com", testcert.Template{Key: testcert.RSA2048, KeyUsage: 1<<0 | 1<<2})
	z.publish(t, "past@example.com", testcert.Template{NotBefore: time.Now().AddDate(-2, 0, 0)})
	z.publish(t, "upper@example.com", testcert.Template{})

	found, err := find(t, w, "both@example.com")
	if err != nil || len(found.Certificates) != 3 || !bytes.Equal(found.Certificates[0].Raw, enciphers) || !bytes.Equal(found.Certificates[1].Raw, agrees) {
		t.Errorf("%d certificates, or in another order: %v", len(found.Certificates), err)
	}
	if found, err := find(t, w, "past@example.com"); err != nil || len(found.Certificates) != 0 || !strings.Contains(found.Why, "expired") {
		t.Errorf("an expired one: %v, %v", found, err)
	}
	if found, err := find(t, w, "UPPER@example.com"); err != nil || len(found.Certificates) != 0 {
		t.Errorf("in another case: %v, %v", found, err)
	}
	w.Close()
	if len(looked) != 3 || looked[1].Verdict != discover.Wrong || looked[2].Suggestion != "upper@example.com" {
		t.Errorf("told %+v", looked)
	}
}
