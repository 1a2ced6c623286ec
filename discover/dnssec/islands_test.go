package dnssec

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A pair is a zone's key.
type pair struct {
	key    *dns.DNSKEY
	signer crypto.Signer
}

// newPair makes a zone with a key, whose DNSKEY records i answers.
func (i *island) newPair(zone string) pair {
	key, signer := generate(i.t, zone, dns.ECDSAP256SHA256)
	p := pair{key, signer}
	i.answer(zone, dns.TypeDNSKEY, p.sign(i.t, key), nil)
	return p
}

func (p pair) sign(t testing.TB, rrs ...dns.RR) []dns.RR {
	return signBy(t, p.key, p.signer, 0, rrs...)
}

// judged compares with what Unbound finds, and then as expect does.
func (i *island) judged(v *Validator, name string, qtype uint16, want Security, reason Reason) *Answer {
	i.t.Helper()
	var text string
	for _, rrs := range v.Anchors {
		for _, rr := range rrs {
			text += rr.String() + "\n"
		}
	}
	anchors := filepath.Join(i.t.TempDir(), "anchors")
	if err := os.WriteFile(anchors, []byte(text), 0o644); err != nil {
		i.t.Fatal(err)
	}
	if got, out := unboundHost(i.t, i.serve(), anchors, name, dns.Type(qtype).String()); got != want {
		i.t.Errorf("%s %s: unbound-host finds %v; want %v\n%s", name, dns.Type(qtype), got, want, out)
	}
	return i.expect(v, name, qtype, want, reason)
}

// serve serves the answers until the test ends.
func (i *island) serve() string {
	i.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		i.t.Fatal(err)
	}
	packets, err := net.ListenPacket("udp", listener.Addr().String())
	if err != nil {
		i.t.Fatal(err)
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		if m, err := i.exchange(context.Background(), q); err == nil {
			if w.RemoteAddr().Network() == "udp" {
				m.Truncate(1232)
			}
			w.WriteMsg(m)
		}
	})
	for _, server := range []*dns.Server{{Listener: listener, Handler: handler}, {PacketConn: packets, Handler: handler}} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go server.ActivateAndServe()
		<-started
		i.t.Cleanup(func() { server.Shutdown() })
	}
	return listener.Addr().String()
}

// expect looks up and compares.
func (i *island) expect(v *Validator, name string, qtype uint16, want Security, reason Reason) *Answer {
	i.t.Helper()
	a, err := v.Lookup(i.t.Context(), name, qtype)
	if err != nil || a.Security != want || a.Reason != reason {
		i.t.Errorf("%s %s: %+v, %v; want %v %q", name, dns.Type(qtype), a, err, want, reason)
		return &Answer{}
	}
	return a
}

// TestNestedAnchors has an anchor for the root and one for a private zone below
// a zone that is not signed. What is at or below the private zone is its to say.
func TestNestedAnchors(t *testing.T) {
	i := newIsland(t, dns.ECDSAP256SHA256)
	root, private := i.newPair("."), i.newPair("island.example.")
	example, _ := generate(t, "example.", dns.ECDSAP256SHA256)
	v := &Validator{Exchange: i.exchange, Anchors: Anchors{".": {root.key}, "island.example.": {private.key}}}
	i.answer("example.", dns.TypeDS, nil, root.sign(t, record(t, "example. 60 NSEC test. NS RRSIG NSEC")))
	txt := func(name string) dns.RR { return record(t, `%s 60 TXT "forged"`, name) }

	for _, name := range []string{"island.example.", "x.island.example."} {
		// The zone between them is not signed: its signatures are worth nothing.
		forged := signBy(t, example, i.signer, 0, txt(name))
		i.answer(name, dns.TypeTXT, forged, nil)
		i.answer("x.island.example.", dns.TypeDS, nil, private.sign(t, record(t, `x.island.example. 60 NSEC \000.x.island.example. TXT`)))
		i.expect(v, name, dns.TypeTXT, Bogus, SignatureMissing)
		// The root's signatures are good, but not for this.
		i.answer(name, dns.TypeTXT, root.sign(t, txt(name)), nil)
		i.expect(v, name, dns.TypeTXT, Bogus, SignatureMissing)
		// Nor for denials: the root cannot know the private zone.
		nothing := append(root.sign(t, record(t, "com. 60 NSEC net. NS DS RRSIG NSEC")), root.sign(t, record(t, ". 60 NSEC aaa. NS SOA RRSIG NSEC DNSKEY"))...)
		m := i.answer(name, dns.TypeTXT, nil, nothing)
		m.Rcode = dns.RcodeNameError
		i.expect(v, name, dns.TypeTXT, Bogus, DenialMissing)
		// The private zone's own are.
		i.answer(name, dns.TypeTXT, private.sign(t, txt(name)), nil)
		if a := i.expect(v, name, dns.TypeTXT, Secure, ""); len(a.Records) != 1 {
			t.Errorf("%+v; want the record", a)
		}
	}
	// Beside the private zone nothing changes.
	i.answer("other.example.", dns.TypeTXT, []dns.RR{txt("other.example.")}, nil)
	i.expect(v, "other.example.", dns.TypeTXT, Insecure, Unsigned)
}

// TestAnchorDS asks for the DS records of anchors, which are the parents'.
func TestAnchorDS(t *testing.T) {
	i := newIsland(t, dns.ECDSAP256SHA256)
	i.answer("test.", dns.TypeDS, nil, i.sign(record(t, "test. 60 NSEC a.test. NS SOA RRSIG NSEC DNSKEY")))
	i.expect(i.validator(), "test.", dns.TypeDS, Indeterminate, NoAnchor)

	root := i.newPair(".")
	v := &Validator{Exchange: i.exchange, Anchors: Anchors{".": {root.key}, "test.": {i.key}}}
	i.answer("test.", dns.TypeDS, root.sign(t, i.key.ToDS(dns.SHA256)), nil)
	if a := i.expect(v, "test.", dns.TypeDS, Secure, ""); len(a.Records) != 1 {
		t.Errorf("%+v; want the record", a)
	}
	// The zone itself has no say in it.
	i.answer("test.", dns.TypeDS, i.sign(i.key.ToDS(dns.SHA256)), nil)
	i.expect(v, "test.", dns.TypeDS, Bogus, SignatureMissing)

	// The root has no parent, and denies its DS itself.
	i.answer(".", dns.TypeDS, nil, root.sign(t, record(t, ". 60 NSEC test. NS SOA RRSIG NSEC DNSKEY")))
	if a := i.expect(v, ".", dns.TypeDS, Secure, ""); len(a.Records) != 0 || a.NameError {
		t.Errorf("%+v; want a denial of the type", a)
	}
}

// TestWildcardDS holds that a wildcard delegates nothing (RFC 4592 section 4.6),
// however well it is signed.
func TestWildcardDS(t *testing.T) {
	i := newIsland(t, dns.ECDSAP256SHA256)
	child := i.newPair("x.test.")
	ds := child.key.ToDS(dns.SHA256)
	proof := i.sign(record(t, "test. 60 NSEC z.test. NS SOA RRSIG NSEC DNSKEY"))
	i.answer("x.test.", dns.TypeDS, signBy(t, i.key, i.signer, 1, ds), proof)
	i.answer("x.test.", dns.TypeTXT, child.sign(t, record(t, `x.test. 60 TXT "x"`)), nil)
	i.expect(i.validator(), "x.test.", dns.TypeTXT, Bogus, WildcardWrong) // Unbound takes it
	i.expect(i.validator(), "x.test.", dns.TypeDS, Bogus, WildcardWrong)
	// The same DS at the name itself is right.
	i.answer("x.test.", dns.TypeDS, i.sign(child.key.ToDS(dns.SHA256)), nil)
	i.judged(i.validator(), "x.test.", dns.TypeTXT, Secure, "")
}

// TestDuplicates has records twice, and in other case (RFC 4034 section 6.3).
func TestDuplicates(t *testing.T) {
	i := newIsland(t, dns.ECDSAP256SHA256)
	one := record(t, `x.test. 60 TXT "a"`)
	signed := i.sign(one, record(t, `x.test. 60 TXT "A"`))
	again := dns.Copy(one)
	again.Header().Name, again.Header().Ttl = "X.tEst.", 30
	i.answer("x.test.", dns.TypeTXT, append(signed, again, one), nil)
	if a := i.judged(i.validator(), "x.test.", dns.TypeTXT, Secure, ""); len(a.Records) != 2 {
		t.Errorf("%v; want two records", a.Records)
	}
	for _, alias := range []string{"CNAME x.test.", "CNAME X.tesT."} {
		signed := i.sign(record(t, "y.test. 60 CNAME x.test."))
		i.answer("y.test.", dns.TypeTXT, append(signed, record(t, "y.test. 60 %s", alias)), nil)
		i.judged(i.validator(), "y.test.", dns.TypeTXT, Secure, "")
	}
	i.answer("y.test.", dns.TypeTXT, append(i.sign(record(t, "y.test. 60 CNAME x.test.")), record(t, "y.test. 60 CNAME z.test.")), nil)
	i.expect(i.validator(), "y.test.", dns.TypeTXT, Bogus, AliasWrong)
}

// TestRoot has a DNAME and NSEC3 records at the root.
func TestRoot(t *testing.T) {
	i := newIsland(t, dns.ECDSAP256SHA256)
	root := i.newPair(".")
	v := &Validator{Exchange: i.exchange, Anchors: Anchors{".": {root.key}}}
	dname := func() []dns.RR { return root.sign(t, record(t, ". 60 DNAME new.")) }
	i.answer("a.b.", dns.TypeTXT, dname(), nil)
	i.answer("a.b.new.", dns.TypeTXT, root.sign(t, record(t, `a.b.new. 60 TXT "x"`)), nil)
	if a := i.expect(v, "a.b.", dns.TypeTXT, Secure, ""); a.Name != "a.b.new." || len(a.Records) != 1 {
		t.Errorf("%+v; want the records of a.b.new.", a)
	}
	// NSEC3 records have the hash as a label: at the root itself there is none.
	nsec3 := &dns.NSEC3{
		Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeNSEC3, Class: dns.ClassINET, Ttl: 60}, Hash: dns.SHA1,
		HashLength: 20, NextDomain: strings.Repeat("0", 32), TypeBitMap: []uint16{dns.TypeNS},
	}
	i.answer("c.", dns.TypeTXT, nil, root.sign(t, nsec3))
	i.answer("c.", dns.TypeDS, nil, root.sign(t, record(t, `c. 60 NSEC \000.c. A`)))
	i.expect(v, "c.", dns.TypeTXT, Bogus, DenialMissing)
	// With the hash as a label they are the root's.
	hash := func(name string) string { return dns.HashName(name, dns.SHA1, 0, "") }
	nsec3 = dns.Copy(nsec3).(*dns.NSEC3)
	nsec3.Hdr.Name, nsec3.NextDomain = hash("c.")+".", hash("c.")
	i.answer("c.", dns.TypeTXT, nil, root.sign(t, nsec3))
	i.expect(v, "c.", dns.TypeTXT, Bogus, DenialMissing) // it is a delegation
	nsec3 = dns.Copy(nsec3).(*dns.NSEC3)
	nsec3.TypeBitMap = []uint16{dns.TypeA}
	i.answer("c.", dns.TypeTXT, nil, root.sign(t, nsec3))
	i.expect(v, "c.", dns.TypeTXT, Secure, "")
}

func TestMoved(t *testing.T) {
	for _, test := range [][4]string{
		{"a.b.", ".", ".", "a.b."}, {"a.b.", ".", "c.", "a.b.c."}, {"a.b.", "b.", ".", "a."}, {"a.b.", "b.", "c.d.", "a.c.d."},
	} {
		if got, ok := moved(test[0], test[1], test[2]); !ok || got != test[3] {
			t.Errorf("%s by %s DNAME %s is %q, %v; want %s", test[0], test[1], test[2], got, ok, test[3])
		}
	}
	if got, ok := moved(strings.Repeat("a.", 100)+"b.", "b.", strings.Repeat("c.", 100)); ok {
		t.Errorf("%s is no name", got)
	}
}

// TestUnsignedServerFails holds that failures of a zone's servers are told apart:
// those in zones that are proven unsigned will never be worth anything.
func TestUnsignedServerFails(t *testing.T) {
	for _, rcode := range []int{dns.RcodeServerFailure, dns.RcodeRefused, dns.RcodeNotImplemented, dns.RcodeFormatError} {
		i := newIsland(t, dns.ECDSAP256SHA256)
		i.answer("bad.test.", dns.TypeDS, nil, i.sign(record(t, `bad.test. 60 NSEC \000.bad.test. NS RRSIG NSEC`)))
		i.answer("alias.test.", dns.TypeCNAME, i.sign(record(t, "alias.test. 60 CNAME user.bad.test.")), nil)
		for _, name := range []string{"user.bad.test.", "bad.test.", "alias.test.", "user.test."} {
			i.answer(name, dns.TypeSMIMEA, nil, nil).Rcode = rcode
			_, err := i.validator().Lookup(t.Context(), name, dns.TypeSMIMEA)
			var unsigned *UnsignedError
			var server *ServerError
			if !errors.As(err, &server) || server.Rcode != rcode || errors.As(err, &unsigned) != (name != "user.test.") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	// No answer at all, where it is known already that the zone is not signed.
	i := newIsland(t, dns.ECDSAP256SHA256)
	i.answer("bad.test.", dns.TypeDS, nil, i.sign(record(t, `bad.test. 60 NSEC \000.bad.test. NS RRSIG NSEC`)))
	i.answer("user.bad.test.", dns.TypeTXT, []dns.RR{record(t, `user.bad.test. 60 TXT "x"`)}, nil)
	v := i.validator()
	v.Exchange = func(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
		if q.Question[0].Qtype == dns.TypeSMIMEA {
			return nil, context.DeadlineExceeded
		}
		return i.exchange(ctx, q)
	}
	i.expect(v, "user.bad.test.", dns.TypeTXT, Insecure, Unsigned)
	var unsigned *UnsignedError
	if _, err := v.Lookup(t.Context(), "user.bad.test.", dns.TypeSMIMEA); !errors.As(err, &unsigned) || unsigned.Reason != Unsigned {
		t.Errorf("%v; want that the zone is not signed", err)
	}
}

// TestReferral has a server that is no resolver.
func TestReferral(t *testing.T) {
	i := newIsland(t, dns.ECDSAP256SHA256)
	i.answer("bad.test.", dns.TypeDS, nil, i.sign(record(t, `bad.test. 60 NSEC \000.bad.test. NS RRSIG NSEC`)))
	m := i.answer("user.bad.test.", dns.TypeTXT, nil, []dns.RR{record(t, "bad.test. 60 NS ns.bad.test.")})
	m.Authoritative = false
	if a, err := i.validator().Lookup(t.Context(), "user.bad.test.", dns.TypeTXT); err == nil {
		t.Errorf("%+v; want an error", a)
	}
	m.Ns = append(m.Ns, record(t, "bad.test. 60 SOA ns.bad.test. h.bad.test. 1 1 1 1 1"))
	i.expect(i.validator(), "user.bad.test.", dns.TypeTXT, Insecure, Unsigned)
}

// TestReasons holds each reason of a Bogus answer.
func TestReasons(t *testing.T) {
	i := newIsland(t, dns.ECDSAP256SHA256)
	txt := func() dns.RR { return record(t, `x.test. 60 TXT "x"`) }
	i.answer("x.test.", dns.TypeTXT, i.sign(txt()), nil)
	now := time.Now()
	v := i.validator()
	for age, reason := range map[time.Duration]Reason{2 * time.Hour: SignatureExpired, -2 * time.Hour: SignatureEarly} {
		v.Now = func() time.Time { return now.Add(age) }
		i.expect(v, "x.test.", dns.TypeTXT, Bogus, reason)
	}
	i.answer("x.test.", dns.TypeTXT, append([]dns.RR{txt()}, forged(i.sign(txt())[1].(*dns.RRSIG), 1)...), nil)
	i.expect(i.validator(), "x.test.", dns.TypeTXT, Bogus, SignatureWrong)
	other, signer := generate(t, "test.", dns.ECDSAP256SHA256)
	i.answer("x.test.", dns.TypeTXT, signBy(t, other, signer, 0, txt()), nil)
	i.expect(i.validator(), "x.test.", dns.TypeTXT, Bogus, KeyMissing)
	a := i.expect(&Validator{Exchange: i.exchange}, "x.test.", dns.TypeTXT, Indeterminate, NoAnchor)
	var security *SecurityError
	if err := a.Err(); !errors.As(err, &security) || security.Reason != NoAnchor || !strings.Contains(fmt.Sprint(err), "indeterminate") {
		t.Errorf("%v", err)
	}
}

// TestUnusableRSA names RSA keys that are not looked at, however good their
// signatures may be.
func TestUnusableRSA(t *testing.T) {
	for what, test := range map[string]struct {
		exponent []byte
		modulus  int // octets
		want     string
	}{
		"the usual":              {[]byte{3, 1, 0, 1}, 128, ""},
		"the largest exponent":   {[]byte{4, 0x7f, 0xff, 0xff, 0xff}, 512, ""},
		"of three octets length": {[]byte{0, 0, 3, 1, 0, 1}, 256, ""},
		"2^31":                   {[]byte{4, 0x80, 0, 0, 0}, 256, "exponent has 32 bits"},
		"2^32+1":                 {[]byte{5, 1, 0, 0, 0, 1}, 256, "exponent has 33 bits"},
		"as long as the modulus": {append([]byte{0, 1, 0}, bytes.Repeat([]byte{0xff}, 256)...), 256, "exponent has 2048 bits"},
		"512 bits":               {[]byte{3, 1, 0, 1}, 64, "modulus has 512 bits"},
		"8192 bits":              {[]byte{3, 1, 0, 1}, 1024, "modulus has 8192 bits"},
		"nothing":                {nil, 0, "no RSA key"},
		"no exponent":            {[]byte{0, 0, 0}, 128, "no RSA key"},
		"no modulus":             {[]byte{3, 1, 0, 1}, 0, "no RSA key"},
		"cut short":              {[]byte{200, 1}, 0, "no RSA key"},
	} {
		i := newIsland(t, dns.RSASHA256)
		i.key.PublicKey = toBase64(append(test.exponent, bytes.Repeat([]byte{0xff}, test.modulus)...))
		if got := unusableRSA(i.key); (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: %q; want %q", what, got, test.want)
		}
		signed := i.sign(i.key) // by another key: but it is not looked at
		i.answer("test.", dns.TypeDNSKEY, signed, nil)
		i.answer("test.", dns.TypeTXT, i.sign(record(t, `test. 60 TXT "x"`)), nil)
		reason := SignatureWrong
		if test.want != "" {
			reason = KeyUnusable
		}
		i.expect(i.validator(), "test.", dns.TypeTXT, Bogus, reason)
	}
}
