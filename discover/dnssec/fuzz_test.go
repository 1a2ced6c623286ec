package dnssec

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// FuzzWorld has a server answer all questions with the same records, which are
// anything at all: nothing of it is signed, and it costs no more than the limits
// say. Half of the look-ups have an anchor whose zone is the server's.
func FuzzWorld(f *testing.F) {
	const name = "a.b.test."
	i := newIsland(f, dns.ECDSAP256SHA256)
	key, signer := generate(f, ".", dns.ECDSAP256SHA256)
	for _, h := range hostile {
		h.make(i)
	}
	i.answer(name, dns.TypeTXT, signBy(f, key, signer, 0, record(f, ". 60 DNAME test.")), nil)
	for _, m := range i.answers {
		if wire, err := m.Pack(); err == nil {
			f.Add(wire)
		}
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		m := new(dns.Msg)
		if m.Unpack(wire) != nil {
			return
		}
		exchange := func(_ context.Context, q *dns.Msg) (*dns.Msg, error) {
			answer := m.Copy()
			answer.Id, answer.Question, answer.Response = q.Id, q.Question, true
			return answer, nil
		}
		foreign := *key // nobody has signed with
		foreign.PublicKey = toBase64(make([]byte, 64))
		for zone, anchor := range map[string]*dns.DNSKEY{"test.": i.key, ".": &foreign} {
			for _, qtype := range []uint16{dns.TypeTXT, dns.TypeDS, dns.TypeSMIMEA} {
				v := &Validator{Anchors: Anchors{zone: {anchor}}, Exchange: exchange}
				s := v.session(t.Context())
				a, err := s.lookup(name, qtype)
				s.within(t)
				if zone == "." && err == nil && a.Security >= Insecure {
					t.Fatalf("%+v without the key of the root", a)
				}
			}
		}
		a, err := (&Trusting{Exchange: exchange}).Lookup(t.Context(), name, dns.TypeTXT)
		if err == nil && a.Security == Secure && !m.AuthenticatedData {
			t.Fatalf("%+v without the AD flag", a)
		}
	})
}

// FuzzPlaces holds places against the order of RFC 4034 section 6.1, done label
// by label.
func FuzzPlaces(f *testing.F) {
	f.Add([]byte("\x01a\x00"), []byte("\x02ab\x01a\x00"))
	f.Add([]byte("\x02\x00\x01\x00"), []byte("\x01\x00\x00"))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		a, _, err := dns.UnpackDomainName(one, 0)
		if err != nil {
			return
		}
		b, _, err := dns.UnpackDomainName(two, 0)
		if err != nil {
			return
		}
		la, lb := octetLabels(t, a), octetLabels(t, b)
		if got, want := cmp.Compare(placeOf(a), placeOf(b)), slices.CompareFunc(la, lb, bytes.Compare); got != want {
			t.Fatalf("%q and %q compare as %d; want %d", a, b, got, want)
		}
		within := len(la) >= len(lb) && slices.EqualFunc(la[:len(lb)], lb, bytes.Equal)
		if got := placeOf(a).within(placeOf(b)); got != within {
			t.Fatalf("%q is in %q: %v; want %v", a, b, got, within)
		}
	})
}

// octetLabels are the labels of a name in lower case, from the right.
func octetLabels(t *testing.T, name string) [][]byte {
	t.Helper()
	wire, err := pack(name)
	if err != nil {
		t.Fatal(err)
	}
	var labels [][]byte
	for wire[0] != 0 {
		end := 1 + int(wire[0])
		labels = append(labels, wire[1:end])
		wire = wire[end:]
	}
	slices.Reverse(labels)
	return labels
}

// FuzzReadAnchors holds that anchors that are read can be used.
func FuzzReadAnchors(f *testing.F) {
	f.Add("test. IN DS 1 13 2 00\n. DNSKEY 257 3 8 AAAA\n")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ReadAnchors(strings.NewReader(text))
		if err != nil {
			return
		}
		for zone := range a {
			if top, ok := a.closest(zone); !ok || top != zone {
				t.Fatalf("the anchor of %q is at %q", zone, top)
			}
			v := &Validator{Anchors: a, Exchange: func(_ context.Context, q *dns.Msg) (*dns.Msg, error) {
				m := new(dns.Msg)
				m.SetReply(q)
				m.Answer = a[zone]
				return m, nil
			}}
			if a, err := v.Lookup(t.Context(), zone, dns.TypeTXT); err == nil && a.Security == Secure {
				t.Fatalf("%+v without a signature", a)
			}
		}
	})
}

// FuzzAnswer has a server answer anything at all about one name, and the truth
// about what leads to it. What is Secure must be the truth.
func FuzzAnswer(f *testing.F) {
	const name = "user._smimecert.compact.test."
	c := newCompact(f)
	truth, err := c.exchange(context.Background(), question(name, dns.TypeSMIMEA))
	if err != nil {
		f.Fatal(err)
	}
	want := truth.Answer[0].(*dns.SMIMEA).Certificate
	for _, q := range []*dns.Msg{
		question(name, dns.TypeSMIMEA), question(name, dns.TypeTXT), question("nobody._smimecert.compact.test.", dns.TypeSMIMEA),
		question("_smimecert.compact.test.", dns.TypeA), question("compact.test.", dns.TypeDNSKEY),
	} {
		m, err := c.exchange(context.Background(), q)
		if err != nil {
			f.Fatal(err)
		}
		m.Question = truth.Question
		wire, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		m := new(dns.Msg)
		if m.Unpack(wire) != nil {
			return
		}
		v := &Validator{Anchors: Anchors{"compact.test.": {c.key}}, Exchange: func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
			if q.Question[0].Name == name && q.Question[0].Qtype == dns.TypeSMIMEA {
				return m.Copy(), nil
			}
			return c.exchange(ctx, q)
		}}
		s := v.session(t.Context())
		a, err := s.lookup(name, dns.TypeSMIMEA)
		s.within(t)
		if err != nil || a.Security != Secure {
			return
		}
		for _, rr := range a.Records {
			if got := rr.(*dns.SMIMEA); got.Certificate != want {
				t.Fatalf("%v is secure", got)
			}
		}
		if len(a.Records) != 1 && len(a.Aliases) == 0 {
			t.Fatalf("the denial of a name that exists is secure: %v", m)
		}
	})
}
