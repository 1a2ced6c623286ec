package plaintext_test

import (
	"testing"

	"coredns-smimea/internal/plaintext"
)

func TestDecode(t *testing.T) {
	for data, want := range map[string]string{
		"":                                 "",
		"a\r\n":                            "a\r\n",
		"\xef\xbb\xbfa":                    "a",
		"\xff\xfea\x00\n\x00":              "a\n",
		"\xfe\xff\x00a\x00\n":              "a\n",
		"\xff\xfea\x00\n":                  "a",
		"\xfe\xff\xd8\x3d\xde\x00\x00\x0a": "😀\n",
	} {
		if got := string(plaintext.Decode([]byte(data))); got != want {
			t.Errorf("%q: %q, want %q", data, got, want)
		}
	}
}
