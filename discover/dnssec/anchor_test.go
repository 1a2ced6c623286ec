package dnssec

import (
	"cmp"
	"strings"
	"testing"
)

func TestRootAnchors(t *testing.T) {
	if a := RootAnchors(); len(a["."]) != 2 {
		t.Errorf("there are %d anchors of the root; want 2", len(a["."]))
	}
}

func TestReadAnchors(t *testing.T) {
	a, err := ReadAnchors(strings.NewReader("; a comment\n$TTL 300\nExample.com. IN DS 1 13 2 " + strings.Repeat("ab", 32) +
		"\nexample.com. 60 IN DNSKEY 257 3 13 ( AAAA )\nexample.net. DS 1 13 2 " + strings.Repeat("ab", 32) + "\n"))
	if err != nil || len(a["example.com."]) != 2 || len(a["example.net."]) != 1 {
		t.Errorf("ReadAnchors = %v, %v", a, err)
	}
	for _, text := range []string{
		"", "; nothing", "nonsense", "example.com. IN A 127.0.0.1", "$INCLUDE /etc/passwd",
		"example.com. IN DNSKEY 385 3 13 AAAA", "example.com. IN DNSKEY 0 3 13 AAAA", "example.com. IN DNSKEY 257 2 13 AAAA",
	} {
		if a, err := ReadAnchors(strings.NewReader(text)); err == nil {
			t.Errorf("ReadAnchors(%q) = %v; want an error", text, a)
		}
	}
}

func TestPlaces(t *testing.T) {
	// The example of RFC 4034 section 6.1.
	names := []string{"example.", "a.example.", "yljkjljk.a.example.", "Z.a.example.", "zABC.a.EXAMPLE.", "z.example.", `\001.z.example.`, "*.z.example.", `\200.z.example.`}
	for i, a := range names {
		for j, b := range names {
			if got, want := cmp.Compare(placeOf(a), placeOf(b)), cmp.Compare(i, j); got != want {
				t.Errorf("%q and %q compare as %d; want %d", a, b, got, want)
			}
		}
	}
}
