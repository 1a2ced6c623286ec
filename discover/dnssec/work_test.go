package dnssec

import (
	"context"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
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

// hostile are answers of up to 64 KiB that are made to keep us busy, and what
// is to be made of them.
var hostile = map[string]struct {
	make func(i *island)
	want Security
}{
	"900 keys": {func(i *island) {
		rrs := []dns.RR{i.key}
		for n := range 900 {
			rrs = append(rrs, &dns.DNSKEY{Hdr: i.key.Hdr, Flags: 256, Protocol: 3, Algorithm: 13, PublicKey: toBase64([]byte{byte(n >> 8), byte(n), 1})})
		}
		i.answer("test.", dns.TypeDNSKEY, i.sign(rrs...), nil)
		i.answer("x.test.", dns.TypeTXT, i.sign(record(i.t, `x.test. 60 TXT "x"`)), nil)
	}, Bogus},
	"400 keys, and records of 490 that are wrongly signed": {func(i *island) {
		rrs := []dns.RR{i.key}
		for n := range 400 {
			rrs = append(rrs, &dns.DNSKEY{Hdr: i.key.Hdr, Flags: 256, Protocol: 3, Algorithm: 13, PublicKey: toBase64([]byte{byte(n >> 8), byte(n), 1})})
		}
		i.answer("test.", dns.TypeDNSKEY, i.sign(rrs...), nil)
		var texts []dns.RR
		for n := range 490 {
			texts = append(texts, record(i.t, "x.test. 60 TXT %d", n))
		}
		i.answer("x.test.", dns.TypeTXT, append(texts, forged(i.sign(texts...)[490].(*dns.RRSIG), 490)...), nil)
	}, Bogus},
	"3300 keys": {func(i *island) {
		rrs := []dns.RR{i.key}
		for n := range 3300 {
			rrs = append(rrs, &dns.DNSKEY{Hdr: i.key.Hdr, Flags: 256, Protocol: 3, Algorithm: 13, PublicKey: toBase64([]byte{byte(n >> 8), byte(n), 1})})
		}
		i.answer("test.", dns.TypeDNSKEY, i.sign(rrs...), nil)
		i.answer("x.test.", dns.TypeTXT, i.sign(record(i.t, `x.test. 60 TXT "x"`)), nil)
	}, Bogus},
	"KeyTrap: keys of one tag and 600 signatures": {func(i *island) {
		keys := append(colliding(i.t, i.key, 90), i.key)
		i.answer("test.", dns.TypeDNSKEY, i.sign(keys...), nil)
		signed := i.sign(record(i.t, `x.test. 60 TXT "x"`))
		i.answer("x.test.", dns.TypeTXT, append(signed[:1], forged(signed[1].(*dns.RRSIG), 600)...), nil)
	}, Bogus},
	"KeyTrap: 400 keys of one tag and 490 signatures": {func(i *island) {
		signed := i.sign(record(i.t, `x.test. 60 TXT "x"`))
		i.answer("x.test.", dns.TypeTXT, append(signed[:1], forged(signed[1].(*dns.RRSIG), 490)...), nil)
		i.answer("test.", dns.TypeDNSKEY, i.sign(append([]dns.RR{i.key}, colliding(i.t, i.key, 400)...)...), nil)
	}, Bogus},
	"DS records and keys of one tag": {func(i *island) {
		key, signer := generate(i.t, "sub.test.", i.key.Algorithm)
		keys := append(colliding(i.t, key, 400), key)
		i.answer("sub.test.", dns.TypeDNSKEY, signBy(i.t, key, signer, 0, keys...), nil)
		var ds []dns.RR
		for n := range 400 {
			wrong := key.ToDS(dns.SHA256)
			wrong.Digest = fmt.Sprintf("%064x", n)
			ds = append(ds, wrong)
		}
		i.answer("sub.test.", dns.TypeDS, i.sign(append(ds, key.ToDS(dns.SHA256))...), nil)
		i.answer("x.test.", dns.TypeTXT, i.sign(record(i.t, "x.test. 60 CNAME sub.test.")), nil)
		i.answer("sub.test.", dns.TypeTXT, signBy(i.t, key, signer, 0, record(i.t, `sub.test. 60 TXT "x"`)), nil)
	}, Bogus},
	"1000 NSEC and 1000 signatures": {func(i *island) {
		var ns []dns.RR
		for n := range 1000 {
			rr := record(i.t, "a%d.test. 60 NSEC z.test. A", n)
			ns = append(ns, rr, i.sign(rr)[1])
		}
		i.answer("x.test.", dns.TypeTXT, nil, ns)
		i.answer("x.test.", dns.TypeDS, nil, ns)
	}, Bogus},
	"490 NSEC of the longest names": {func(i *island) {
		long := strings.Repeat(strings.Repeat(`\000`, 60)+".", 3)
		long += strings.Repeat(`\000`, 252-3*61-1-6-6-1) + "."
		var ns []dns.RR
		sig := i.sign(record(i.t, "x.test. 60 TXT x"))[1].(*dns.RRSIG)
		for n := range 490 {
			rr := record(i.t, "%05d.%stest. 60 NSEC %05d.%stest. A", n, long, n+1, long)
			wrong := *sig
			wrong.Hdr.Name, wrong.TypeCovered = rr.Header().Name, dns.TypeNSEC
			ns = append(ns, rr, &wrong)
		}
		name := "00001z." + long + "test."
		i.alias(name)
		i.answer(name, dns.TypeTXT, nil, ns)
	}, Bogus},
	"490 NSEC with wrong signatures": {func(i *island) {
		var ns []dns.RR
		var sig *dns.RRSIG
		for n := range 490 {
			rr := record(i.t, "a%d.test. 60 NSEC z.test. A", n)
			if sig == nil {
				sig = i.sign(rr)[1].(*dns.RRSIG)
			}
			wrong := *sig
			wrong.Hdr.Name = rr.Header().Name
			ns = append(ns, rr, &wrong)
		}
		i.answer("x.test.", dns.TypeTXT, nil, ns)
		i.answer("x.test.", dns.TypeDS, nil, ns)
	}, Bogus},
	"490 NSEC, all signed": {func(i *island) {
		var ns []dns.RR
		for n := range 490 {
			ns = append(ns, i.sign(record(i.t, "a%d.test. 60 NSEC b%d.test. A", n, n))...)
		}
		i.answer("x.test.", dns.TypeTXT, nil, ns)
		i.answer("x.test.", dns.TypeDS, nil, i.sign(record(i.t, `x.test. 60 NSEC \000.x.test. A`)))
	}, Bogus},
	"900 NSEC of one name": {func(i *island) {
		var ns []dns.RR
		for n := range 900 {
			ns = append(ns, record(i.t, "a.test. 60 NSEC z%d.test. A", n))
		}
		ns = append(ns, forged(i.sign(ns[0])[1].(*dns.RRSIG), 90)...)
		i.answer("x.test.", dns.TypeTXT, nil, ns)
		i.answer("x.test.", dns.TypeDS, nil, ns)
	}, Bogus},
	"NSEC3 of 300 salts for a name of 120 labels (CVE-2023-50868)": {func(i *island) {
		name := strings.Repeat("a.", 110) + "x.test."
		var ns []dns.RR
		for n := range 300 {
			rr := &dns.NSEC3{
				Hdr:  dns.RR_Header{Name: fmt.Sprintf("%032x.test.", n), Rrtype: dns.TypeNSEC3, Class: dns.ClassINET, Ttl: 60},
				Hash: dns.SHA1, Iterations: maxIterations, SaltLength: 8, Salt: fmt.Sprintf("%016x", n),
				HashLength: 20, NextDomain: fmt.Sprintf("%032x", n+1), TypeBitMap: []uint16{dns.TypeA},
			}
			ns = append(ns, i.sign(rr)...)
		}
		i.alias(name)
		i.answer(name, dns.TypeTXT, nil, ns)
	}, Bogus},
	"NSEC3 with the longest salt and 150 iterations, for 120 labels": {func(i *island) {
		name := strings.Repeat("a.", 110) + "x.test."
		i.alias(name)
		i.answer(name, dns.TypeTXT, nil, i.sign(&dns.NSEC3{
			Hdr:  dns.RR_Header{Name: strings.Repeat("0", 32) + ".test.", Rrtype: dns.TypeNSEC3, Class: dns.ClassINET, Ttl: 60},
			Hash: dns.SHA1, Iterations: maxIterations, SaltLength: 255, Salt: strings.Repeat("ab", 255),
			HashLength: 20, NextDomain: strings.Repeat("0", 31) + "1", TypeBitMap: []uint16{dns.TypeA},
		}))
	}, Bogus},
	"5000 records of one name": {func(i *island) {
		var rrs []dns.RR
		for n := range 4000 {
			rrs = append(rrs, record(i.t, "x.test. 60 A 10.0.%d.%d", n>>8, n&255))
		}
		signed := i.sign(rrs...)
		for _, rr := range signed {
			rr.Header().Rrtype = dns.TypeA
		}
		i.answer("x.test.", dns.TypeTXT, append(signed, record(i.t, "x.test. 60 CNAME x.test.")), nil)
	}, Bogus},
	"1000 signers": {func(i *island) {
		name := strings.Repeat("a.", 110) + "x.test."
		i.alias(name)
		signed := i.sign(record(i.t, `%s 60 TXT "x"`, name))
		var sigs []dns.RR
		for n := range 90 {
			wrong := *signed[1].(*dns.RRSIG)
			wrong.SignerName = ancestor(name, 3+n)
			sigs = append(sigs, &wrong)
		}
		i.answer(name, dns.TypeTXT, append(signed[:1], sigs...), nil)
		for n := 2; n < 120; n++ {
			at := ancestor(name, n)
			i.answer(at, dns.TypeDS, nil, i.sign(record(i.t, `%s 60 NSEC \000.%s A`, at, at)))
		}
	}, Bogus},
}

// alias leads from x.test. to a name.
func (i *island) alias(to string) {
	i.answer("x.test.", dns.TypeTXT, i.sign(record(i.t, "x.test. 60 CNAME %s", to)), nil)
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
