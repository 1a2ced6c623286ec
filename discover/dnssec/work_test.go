package dnssec

import (
	"context"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// An island is one zone, test., of one key, whose answers a test makes up. It is
// what a stranger can do to us who has a zone and a name server.
type island struct {
	t      testing.TB
	key    *dns.DNSKEY
	signer crypto.Signer

	mu      sync.Mutex
	answers map[dns.Question]*dns.Msg
}

func newIsland(t testing.TB, algorithm uint8) *island {
	t.Helper()
	i := &island{t: t, answers: map[dns.Question]*dns.Msg{}}
	i.key, i.signer = generate(t, "test.", algorithm)
	i.answer("test.", dns.TypeDNSKEY, i.sign(i.key), nil)
	return i
}

func generate(t testing.TB, zone string, algorithm uint8) (*dns.DNSKEY, crypto.Signer) {
	t.Helper()
	key := &dns.DNSKEY{
		Hdr:   dns.RR_Header{Name: zone, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 300},
		Flags: 257, Protocol: 3, Algorithm: algorithm,
	}
	bits := map[uint8]int{dns.ECDSAP256SHA256: 256, dns.ECDSAP384SHA384: 384, dns.ED25519: 256, dns.RSASHA256: 2048}[algorithm]
	private, err := key.Generate(bits)
	if err != nil {
		t.Fatal(err)
	}
	return key, private.(crypto.Signer)
}

// sign returns records with their signature.
func (i *island) sign(rrs ...dns.RR) []dns.RR { return signBy(i.t, i.key, i.signer, 0, rrs...) }

// signBy signs with a key, as a wildcard of so many labels if that is not 0.
func signBy(t testing.TB, key *dns.DNSKEY, signer crypto.Signer, labels uint8, rrs ...dns.RR) []dns.RR {
	t.Helper()
	now := uint32(time.Now().Unix())
	sig := &dns.RRSIG{
		Hdr: dns.RR_Header{Ttl: rrs[0].Header().Ttl}, Algorithm: key.Algorithm, KeyTag: key.KeyTag(),
		SignerName: key.Hdr.Name, Inception: now - 3600, Expiration: now + 3600,
	}
	owner := rrs[0].Header().Name
	if labels > 0 {
		for _, rr := range rrs {
			rr.Header().Name = "*." + ancestor(owner, int(labels))
		}
	}
	if err := sig.Sign(signer, rrs); err != nil {
		t.Fatal(err)
	}
	for _, rr := range append(rrs, sig) {
		rr.Header().Name = owner
	}
	return append(rrs, sig)
}

func (i *island) answer(name string, qtype uint16, answer, authority []dns.RR) *dns.Msg {
	i.t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.Response, m.Authoritative, m.Compress = true, true, true
	m.Answer, m.Ns = answer, authority
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answers[m.Question[0]] = m
	return m
}

func (i *island) exchange(_ context.Context, q *dns.Msg) (*dns.Msg, error) {
	i.mu.Lock()
	m := i.answers[q.Question[0]]
	i.mu.Unlock()
	if name := q.Question[0].Name; m == nil && q.Question[0].Qtype == dns.TypeDS {
		m = i.answer(name, dns.TypeDS, nil, i.sign(record(i.t, `%s 60 NSEC \000.%s A`, name, name)))
	}
	if m == nil {
		m = new(dns.Msg)
		m.SetRcode(q, dns.RcodeServerFailure)
		return m, nil
	}
	m = m.Copy()
	m.Id = q.Id
	return m, nil
}

func (i *island) validator() *Validator {
	return &Validator{Exchange: i.exchange, Anchors: Anchors{"test.": {i.key}}}
}

func record(t testing.TB, format string, args ...any) dns.RR {
	t.Helper()
	rr, err := dns.NewRR(fmt.Sprintf(format, args...))
	if err != nil {
		t.Fatal(err)
	}
	return rr
}

// forged returns n signatures that differ, and are wrong.
func forged(of *dns.RRSIG, n int) []dns.RR {
	var rrs []dns.RR
	for i := range n {
		wrong := *of
		wrong.Signature = fmt.Sprintf("%04x", i) + wrong.Signature[4:]
		rrs = append(rrs, &wrong)
	}
	return rrs
}

// colliding returns n keys that have the tag of key, and none is it.
func colliding(t testing.TB, key *dns.DNSKEY, n int) []dns.RR {
	t.Helper()
	wire := fromBase64(t, key.PublicKey)
	var rrs []dns.RR
	for i := range n {
		// Octets at even places count alike: what one gets, another loses.
		other := slices.Clone(wire)
		for left, at := i+1, 0; left > 0; at += 4 {
			step := min(left, int(other[at+2]), 255-int(other[at]))
			other[at], other[at+2] = other[at]+byte(step), other[at+2]-byte(step)
			left -= max(step, 0)
			if at+6 >= len(other) {
				break
			}
		}
		copied := *key
		copied.PublicKey = toBase64(other)
		if copied.KeyTag() != key.KeyTag() {
			t.Fatalf("key %d has another tag", i)
		}
		rrs = append(rrs, &copied)
	}
	return rrs
}

// TestWork holds that what a stranger sends costs no more than the limits say,
// and that what is beyond them is not believed. Counts do not depend on the
// machine; BenchmarkHostile has the times.
func TestWork(t *testing.T) {
	for what, h := range hostile {
		t.Run(what, func(t *testing.T) {
			i := newIsland(t, dns.ECDSAP256SHA256)
			h.make(i)
			s := i.validator().session(t.Context())
			a, err := s.lookup("x.test.", dns.TypeTXT)
			if err != nil || a.Security != h.want {
				t.Errorf("%+v, %v; want %v", a, err, h.want)
			}
			s.within(t)
			t.Logf("%d questions, %d verified, %d wrong, %d blocks hashed", len(s.messages), s.work.verified, s.work.failures, s.work.hashed)
		})
	}
}

// within holds the work of a look-up against its limits.
func (s *session) within(t testing.TB) {
	t.Helper()
	// Each message may need one signature of its answer, and those of the
	// closest encloser, the next closer name, the wildcard and the chosen NSEC3.
	if most := 5*len(s.messages) + maxFailures; s.work.failures > maxFailures || s.work.verified > min(most, maxVerified) || len(s.messages) > maxQuestions {
		t.Errorf("%d questions, %d signatures verified, %d wrong: too many", len(s.messages), s.work.verified, s.work.failures)
	}
	if s.work.hashed > maxHashed {
		t.Errorf("%d blocks hashed", s.work.hashed)
	}
}

func BenchmarkHostile(b *testing.B) {
	for _, algorithm := range []uint8{dns.ECDSAP256SHA256, dns.ECDSAP384SHA384, dns.RSASHA256} {
		for what, h := range hostile {
			b.Run(algorithmName(algorithm)+"/"+what, func(b *testing.B) {
				i := newIsland(b, algorithm)
				h.make(i)
				questions := 0
				before := processorTime(b)
				for b.Loop() {
					s := i.validator().session(b.Context())
					s.lookup("x.test.", dns.TypeTXT)
					questions += len(s.messages)
				}
				b.ReportMetric(float64(processorTime(b)-before)/1e6/float64(max(questions, 1)), "cpu-ms/answer")
			})
		}
	}
}

// processorTime is what this process has used, whoever else is on the machine.
func processorTime(b *testing.B) int64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return used.Utime.Nano() + used.Stime.Nano()
}

// TestTimeOut holds that a look-up ends with its context, also at work.
func TestTimeOut(t *testing.T) {
	i := newIsland(t, dns.ECDSAP256SHA256)
	i.answer("x.test.", dns.TypeTXT, i.sign(record(t, `x.test. 60 TXT "x"`)), nil)
	ctx, cancel := context.WithCancel(t.Context())
	v := i.validator()
	v.Exchange = func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
		if q.Question[0].Qtype == dns.TypeDNSKEY {
			cancel()
		}
		return i.exchange(ctx, q)
	}
	s := v.session(ctx)
	if a, err := s.lookup("x.test.", dns.TypeTXT); !errors.Is(err, context.Canceled) || s.work.verified != 0 {
		t.Errorf("%+v, %v, %d signatures verified; want that it was cancelled, and none", a, err, s.work.verified)
	}
}

func fromBase64(t testing.TB, text string) []byte {
	t.Helper()
	wire, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

func toBase64(wire []byte) string { return base64.StdEncoding.EncodeToString(wire) }
