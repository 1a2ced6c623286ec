package smimea

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/miekg/dns"
	"golang.org/x/text/unicode/norm"
)

func TestParseAddress(t *testing.T) {
	for _, test := range []struct {
		in, local, domain string
	}{
		{"hugh@example.com", "hugh", "example.com"},
		{"Hugh@EXAMPLE.Com", "Hugh", "example.com"},
		{`"hugh"@example.com`, "hugh", "example.com"},
		{`"h\ugh"@example.com`, "hugh", "example.com"},
		{`"a@b"@example.com`, "a@b", "example.com"},
		{`"a\"@b"@example.com`, `a"@b`, "example.com"},
		{`" "@example.com`, " ", "example.com"},
		{` "a b" @example.com`, "a b", "example.com"},
		{"john . doe@example.com", "john.doe", "example.com"},
		{"john (the (first) one \\) @ home). doe @ example . com (work)", "john.doe", "example.com"},
		{"\tjohn@\texample.com", "john", "example.com"},
		{"(x)john(y)@(z)example.com", "john", "example.com"},
		{"!#$%&'*+-/=?^_`{|}~@localhost", "!#$%&'*+-/=?^_`{|}~", "localhost"},
		{"jo\u0308rg@example.com", "j\u00f6rg", "example.com"},
		{"\u212a@example.com", "K", "example.com"}, // KELVIN SIGN is K in NFC
		{"a@m\u00fcnchen.example", "a", "xn--mnchen-3ya.example"},
		{"a@M\u00dcNCHEN.example", "a", "xn--mnchen-3ya.example"},
		{"a@mu\u0308nchen.example", "a", "xn--mnchen-3ya.example"},
		{"a@stra\u00dfe.example", "a", "xn--strae-oqa.example"}, // IDNA2008, not strasse
		{"a@\u4f8b\u3048\u3002\u30c6\u30b9\u30c8", "a", "xn--r8jz45g.xn--zckzah"},
		{"a@XN--mnchen-3ya.example", "a", "xn--mnchen-3ya.example"},
		{"a@xn--ls8h.la", "a", "xn--ls8h.la"}, // an emoji: not IDNA2008, but in use
		{"a@1and1.com", "a", "1and1.com"},
		{strings.Repeat("x", 64) + "@example.com", strings.Repeat("x", 64), "example.com"},
		{strings.Repeat("jo\u0308", 21) + "@example.com", strings.Repeat("j\u00f6", 21), "example.com"},
	} {
		a, err := ParseAddress(test.in)
		if want := (Address{test.local, test.domain}); err != nil || a != want {
			t.Errorf("ParseAddress(%q) = %q, %v; want %q", test.in, a, err, want)
			continue
		}
		if again, err := ParseAddress(a.String()); err != nil || again != a {
			t.Errorf("ParseAddress(%q) = %q, %v; want %q", a.String(), again, err, a)
		}
	}
}

func TestParseAddressRefuses(t *testing.T) {
	for _, in := range []string{
		"", "@", "hugh", "hugh@", "@example.com", "hugh@@example.com", "a@b@example.com",
		`""@example.com`, `"hugh@example.com`, `hugh"@example.com`, `"hugh\"@example.com`, `"hugh\`,
		`"a"b@example.com`, `a"b"@example.com`, `"a"."b"@example.com`, `"a""b"@example.com`,
		".a@example.com", "a.@example.com", "a..b@example.com", "a b@example.com", "a(x)b@example.com",
		`a\b@example.com`, "a,b@example.com", "<a@example.com>", "Hugh <hugh@example.com>", "mailto:hugh@example.com",
		"(hugh@example.com", "hugh@example.com(", "hugh@(example.com)",
		"a\x00b@example.com", "\"a\x00b\"@example.com", "\"a\tb\"@example.com", "\"a\\\nb\"@example.com",
		"a\r\n .b@example.com", "a\x7f@example.com", "a\u0085@example.com", "a\xff@example.com", "a@exam\xffple.com",
		"hugh@example.com.", "hugh@.example.com", "hugh@example..com", "hugh@exa_mple.com", "hugh@-a.com", "hugh@a-.com",
		"hugh@exa mple.com", "hugh@example.com\n", "hugh@\\example.com", `hugh@"example.com"`,
		"hugh@[192.0.2.1]", "hugh@[IPv6:2001:db8::1]", "hugh@192.0.2.1", "hugh@2001:db8::1",
		"hugh@a\u2260.example\u00a0", "hugh@\u200d.example", "hugh@a\u0000.example",
		strings.Repeat("x", 65) + "@example.com",
		strings.Repeat("\u00f6", 33) + "@example.com",
		"hugh@" + strings.Repeat("x", 64) + ".com",
		"hugh@" + strings.Repeat("abc.", 46) + "com", // 188 octets with the root
	} {
		a, err := ParseAddress(in)
		if err == nil || a != (Address{}) {
			t.Errorf("ParseAddress(%q) = %q, %v; want nothing and an error", in, a, err)
		}
		if err != nil && len(in) > 3 && strings.Contains(err.Error(), in) {
			t.Errorf("ParseAddress(%q): the error %q has the address in it", in, err)
		}
	}
	longest := "hugh@" + strings.Repeat("abc.", 45) + "abcde" // 187 octets with the root
	a, err := ParseAddress(longest)
	if err != nil {
		t.Fatal(err)
	}
	if n := packedSize(t, a.Owner()); n != MaxName {
		t.Errorf("the owner with the longest domain has %d octets; want %d", n, MaxName)
	}
}

func TestLower(t *testing.T) {
	if got, want := (Address{"J\u00d6rG.A", "example.com"}).Lower(), (Address{"j\u00d6rg.a", "example.com"}); got != want {
		t.Errorf("Lower() = %q; want %q", got, want)
	}
}

// FuzzParseAddress holds the laws of an address: it is canonical, it survives
// being written and read again, and its owner is a legal name of known size.
func FuzzParseAddress(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.address)
	}
	f.Add(`"a\"@b"@example.com`)
	f.Add("john (a (b) \\) c). doe @ example . com (d)")
	f.Add("a@m\u00fcnchen.example")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			if a != (Address{}) {
				t.Fatalf("%q: an address and an error", s)
			}
			return
		}
		if len(a.Local) == 0 || len(a.Local) > maxLocalPart || !utf8.ValidString(a.Local) || !norm.NFC.IsNormalString(a.Local) {
			t.Fatalf("%q: local-part %q is not canonical", s, a.Local)
		}
		if again, err := ParseAddress(a.String()); err != nil || again != a {
			t.Fatalf("%q: written as %q it is read as %q, %v; want %q", s, a.String(), again, err, a)
		}
		if n, want := packedSize(t, a.Owner()), 57+11+len(a.Domain)+2; n != want {
			t.Fatalf("%q: owner %q has %d octets; want %d", s, a.Owner(), n, want)
		}
		labels, err := a.TextLabels()
		if err != nil {
			return
		}
		owner, err := a.TextOwner()
		if err != nil {
			return
		}
		if n, want := packedSize(t, owner), len(labels)+7+len(a.Domain)+2; n != want {
			t.Fatalf("%q: TXT owner %q has %d octets; want %d", s, owner, n, want)
		}
	})
}

// packedSize returns how many octets miekg/dns makes of a name.
func packedSize(t *testing.T, name string) int {
	t.Helper()
	n, err := dns.PackDomainName(name, make([]byte, 300), 0, nil, false)
	if err != nil {
		t.Fatalf("packing %q: %v", name, err)
	}
	return n
}
