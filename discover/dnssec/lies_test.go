package dnssec

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// drop removes the records of some types, in all sections.
func drop(types ...uint16) func(*dns.Msg) {
	return func(m *dns.Msg) {
		gone := func(rr dns.RR) bool { return slices.Contains(types, rr.Header().Rrtype) }
		m.Answer, m.Ns = slices.DeleteFunc(m.Answer, gone), slices.DeleteFunc(m.Ns, gone)
	}
}

// of lets a lie be told only in answer to one type.
func of(qtype uint16, lie func(*dns.Msg)) func(*dns.Msg) {
	return func(m *dns.Msg) {
		if m.Question[0].Qtype == qtype {
			lie(m)
		}
	}
}

func isSigned(covered uint16) func(dns.RR) bool {
	return func(rr dns.RR) bool {
		sig, ok := rr.(*dns.RRSIG)
		return ok && sig.TypeCovered == covered
	}
}

func TestLies(t *testing.T) {
	z := makeZones(t, recipes[:2]) // NSEC and NSEC3
	other, err := z.validator(nil).Exchange(t.Context(), question("zzz.secure.test.", dns.TypeSMIMEA))
	if err != nil {
		t.Fatal(err)
	}
	deny := func(m *dns.Msg) { m.Answer, m.Ns, m.Rcode = nil, nil, dns.RcodeNameError }
	for _, test := range []struct {
		what, name string
		lie        func(*dns.Msg)
	}{
		{"the signature is gone", "user._smimecert.secure.test", of(dns.TypeSMIMEA, drop(dns.TypeRRSIG))},
		{"all signatures are gone", "user._smimecert.secure.test", drop(dns.TypeRRSIG)},
		{"as if the zone were not signed", "user._smimecert.secure.test", drop(dns.TypeRRSIG, dns.TypeDS, dns.TypeDNSKEY, dns.TypeNSEC)},
		{"there is no DS", "user._smimecert.secure.test", drop(dns.TypeDS)},
		{"there is no DNSKEY", "user._smimecert.secure.test", drop(dns.TypeDNSKEY)},
		{"another digest", "user._smimecert.secure.test", of(dns.TypeSMIMEA, func(m *dns.Msg) {
			m.Answer[0].(*dns.SMIMEA).Certificate = strings.Repeat("00", 32)
		})},
		{"one more record", "user._smimecert.secure.test", of(dns.TypeSMIMEA, func(m *dns.Msg) {
			more := *m.Answer[0].(*dns.SMIMEA)
			more.Certificate = strings.Repeat("00", 32)
			m.Answer = append(m.Answer, &more)
		})},
		{"records of another name", "nobody._smimecert.secure.test", of(dns.TypeSMIMEA, func(m *dns.Msg) {
			answer, _ := z.validator(nil).Exchange(context.Background(), question("user._smimecert.secure.test.", dns.TypeSMIMEA))
			m.Answer, m.Ns, m.Rcode = answer.Answer, nil, 0
			for _, rr := range m.Answer {
				rr.Header().Name = "nobody._smimecert.secure.test."
			}
		})},
		{"denied without a word", "user._smimecert.secure.test", of(dns.TypeSMIMEA, deny)},
		{"denied with an SOA only", "user._smimecert.secure.test", of(dns.TypeSMIMEA, func(m *dns.Msg) {
			deny(m)
			m.Ns = slices.DeleteFunc(slices.Clone(other.Ns), func(rr dns.RR) bool {
				return rr.Header().Rrtype == dns.TypeNSEC || isSigned(dns.TypeNSEC)(rr)
			})
		})},
		{"denied with the proof of another name", "user._smimecert.secure.test", of(dns.TypeSMIMEA, func(m *dns.Msg) {
			deny(m)
			m.Ns = other.Ns
		})},
		{"denied with a forged NSEC", "user._smimecert.secure.test", of(dns.TypeSMIMEA, func(m *dns.Msg) {
			deny(m)
			for _, rr := range other.Ns {
				if nsec, ok := rr.(*dns.NSEC); ok {
					forged := *nsec
					forged.Hdr.Name, forged.NextDomain = "_smimecert.secure.test.", "wild.secure.test."
					m.Ns = append(m.Ns, &forged)
				} else if isSigned(dns.TypeNSEC)(rr) {
					forged := *rr.(*dns.RRSIG)
					forged.Hdr.Name = "_smimecert.secure.test."
					m.Ns = append(m.Ns, &forged)
				}
			}
		})},
		{"the type is denied at the name", "user._smimecert.secure.test", of(dns.TypeSMIMEA, func(m *dns.Msg) {
			answer, _ := z.validator(nil).Exchange(context.Background(), question("user._smimecert.secure.test.", dns.TypeA))
			m.Answer, m.Ns = nil, answer.Ns
		})},
		{"an NSEC3 is missing", "nobody._smimecert.nsec3.test", of(dns.TypeSMIMEA, func(m *dns.Msg) {
			first := true
			m.Ns = slices.DeleteFunc(m.Ns, func(rr dns.RR) bool {
				if rr.Header().Rrtype == dns.TypeNSEC3 && first {
					first = false
					return true
				}
				return false
			})
		})},
		{"a wildcard without proof", "a.wild.secure.test", of(dns.TypeSMIMEA, drop(dns.TypeNSEC))},
		{"a wildcard without NSEC3", "a.wild.nsec3.test", of(dns.TypeSMIMEA, drop(dns.TypeNSEC3))},
		{"a wildcard for a name that has nothing", "exact.wild.secure.test", of(dns.TypeSMIMEA, func(m *dns.Msg) {
			answer, _ := z.validator(nil).Exchange(context.Background(), question("a.wild.secure.test.", dns.TypeSMIMEA))
			m.Answer, m.Ns = answer.Answer, answer.Ns
			for _, rr := range m.Answer {
				rr.Header().Name = "exact.wild.secure.test."
			}
		})},
		{"an alias that is not signed", "user._smimecert.secure.test", of(dns.TypeSMIMEA, func(m *dns.Msg) {
			alias, _ := dns.NewRR("user._smimecert.secure.test. IN CNAME user._smimecert.nsec3.test.")
			m.Answer = []dns.RR{alias}
		})},
		{"a DNAME that is not signed", "user._smimecert.secure.test", of(dns.TypeSMIMEA, func(m *dns.Msg) {
			alias, _ := dns.NewRR("_smimecert.secure.test. IN DNAME _smimecert.nsec3.test.")
			m.Answer = []dns.RR{alias}
		})},
		{"too many signatures", "user._smimecert.secure.test", of(dns.TypeSMIMEA, func(m *dns.Msg) {
			right := m.Answer[1].(*dns.RRSIG)
			wrong := *right
			wrong.Signature = wrong.Signature[4:] + "AAAA"
			many := []dns.RR{m.Answer[0]}
			for range maxSetFailures {
				many = append(many, &wrong)
			}
			m.Answer = append(many, right) // after which it would be right
		})},
		{"aliases in a circle", "loop.secure.test", nil},
	} {
		t.Run(test.what, func(t *testing.T) {
			a, err := z.validator(test.lie).Lookup(t.Context(), test.name, dns.TypeSMIMEA)
			if err != nil {
				t.Fatal(err)
			}
			if a.Security != Bogus || a.Why == "" || len(a.Records) > 0 {
				t.Errorf("%v (%s) with %v; want bogus", a.Security, a.Why, a.Records)
			}
		})
	}
}

// TestDNAME holds that the CNAME beside a DNAME is not believed, but made.
func TestDNAME(t *testing.T) {
	z := makeZones(t, recipes[:2])
	a, err := z.validator(of(dns.TypeSMIMEA, func(m *dns.Msg) {
		for _, rr := range m.Answer {
			if cname, ok := rr.(*dns.CNAME); ok {
				cname.Target = "evil.secure.test."
			}
		}
	})).Lookup(t.Context(), "user.moved.secure.test", dns.TypeSMIMEA)
	if err != nil || a.Security != Secure || a.Name != "user._smimecert.nsec3.test." {
		t.Errorf("%+v, %v; want the name that the DNAME makes", a, err)
	}
}

// TestNoAnswer holds that what is no answer is an error, and no denial.
func TestNoAnswer(t *testing.T) {
	z := makeZones(t, recipes[:1])
	for what, lie := range map[string]func(*dns.Msg){
		"SERVFAIL":         func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure },
		"REFUSED":          of(dns.TypeSMIMEA, func(m *dns.Msg) { m.Rcode = dns.RcodeRefused }),
		"another question": of(dns.TypeSMIMEA, func(m *dns.Msg) { m.Question[0].Name = "x.secure.test." }),
		"another type":     of(dns.TypeDS, func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeA }),
		"no question":      of(dns.TypeSMIMEA, func(m *dns.Msg) { m.Question = nil }),
		"a question":       of(dns.TypeSMIMEA, func(m *dns.Msg) { m.Response = false }),
		"cut short":        of(dns.TypeSMIMEA, func(m *dns.Msg) { m.Truncated = true }),
	} {
		if a, err := z.validator(lie).Lookup(t.Context(), "user._smimecert.secure.test", dns.TypeSMIMEA); err == nil {
			t.Errorf("%s: %+v; want an error", what, a)
		}
	}
	v := z.validator(nil)
	v.Exchange = func(context.Context, *dns.Msg) (*dns.Msg, error) { return nil, errors.New("no route") }
	if a, err := v.Lookup(t.Context(), "user._smimecert.secure.test", dns.TypeSMIMEA); err == nil {
		t.Errorf("no route: %+v; want an error", a)
	}
	v = z.validator(nil)
	v.Anchors = Anchors{}
	if a, err := v.Lookup(t.Context(), "user._smimecert.secure.test", dns.TypeSMIMEA); err != nil || a.Security != Indeterminate || len(a.Records) > 0 {
		t.Errorf("without an anchor: %+v, %v; want indeterminate", a, err)
	}
}

func question(name string, qtype uint16) *dns.Msg {
	q := new(dns.Msg)
	q.SetQuestion(name, qtype)
	q.SetEdns0(1232, true)
	return q
}
