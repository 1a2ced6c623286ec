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
		"example.com. IN DS 1 13 2 abcd", "example.com. IN DS 1 13 9 abcd", "example.com. IN DS 1 5 2 " + strings.Repeat("ab", 32),
		"example.com. IN DNSKEY 257 3 13 !!!!", "example.com. IN DNSKEY 257 3 5 AAAA",
		"example.com. IN DNSKEY 385 3 13 AAAA", "example.com. IN DNSKEY 0 3 13 AAAA", "example.com. IN DNSKEY 257 2 13 AAAA",
	} {
		if a, err := ReadAnchors(strings.NewReader(text)); err == nil {
			t.Errorf("ReadAnchors(%q) = %v; want an error", text, a)
		}
	}
}

// TestAnchorFiles reads anchors as other systems write them.
func TestAnchorFiles(t *testing.T) {
	text := "; a comment\nexample.com. IN DS 1 13 2 " + strings.Repeat("ab", 32) + "\nexample.net. IN DNSKEY 257 3 13 AAAA ;;state=2 [  VALID  ]\n"
	wide := "\xff\xfe"
	for _, c := range text {
		wide += string(c) + "\x00"
	}
	for name, text := range map[string]string{
		"mark": "\xef\xbb\xbf" + text, "mark before a record": "\xef\xbb\xbf" + text[strings.Index(text, "\n")+1:], "CRLF": strings.ReplaceAll(text, "\n", "\r\n"),
		"CR": strings.ReplaceAll(text, "\n", "\r"), "UTF-16": wide,
	} {
		if a, err := ReadAnchors(strings.NewReader(text)); err != nil || len(a["example.com."]) != 1 || len(a["example.net."]) != 1 {
			t.Errorf("%s: %v, %v", name, a, err)
		}
	}
	beside := text + "example.com. IN DS 1 13 9 abcd\n"
	if a, err := ReadAnchors(strings.NewReader(beside)); err != nil || len(a["example.com."]) != 2 {
		t.Errorf("one that is not supported, beside one that is: %v, %v", a, err)
	}
	_, err := ReadAnchors(strings.NewReader("; a comment\n-----BEGIN SECRET-----\n"))
	if err == nil || !strings.Contains(err.Error(), "line 2") || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("of a file that is none is said: %v", err)
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
