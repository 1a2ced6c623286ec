package certsource

import (
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

func TestReadTime(t *testing.T) {
	const utc, general = 23, 24
	for _, tt := range []struct {
		tag  byte
		text string
		want string // RFC 3339, or "" for no time
	}{
		{utc, "260102030405Z", "2026-01-02T03:04:05Z"},
		{utc, "491231235959Z", "2049-12-31T23:59:59Z"},
		{utc, "500101000000Z", "1950-01-01T00:00:00Z"},
		{utc, "2601020304Z", "2026-01-02T03:04:00Z"},
		{utc, "260102030405+0130", "2026-01-02T01:34:05Z"},
		{utc, "260102030405-0130", "2026-01-02T04:34:05Z"},
		{general, "99991231235959Z", "9999-12-31T23:59:59Z"},
		{general, "20500101000000Z", "2050-01-01T00:00:00Z"},
		{general, "20500101000000.5Z", "2050-01-01T00:00:00Z"},
		{general, "20240229000000Z", "2024-02-29T00:00:00Z"},
		{general, "20161231235960Z", "2017-01-01T00:00:00Z"}, // a leap second
		{general, "20250229000000Z", ""},
		{general, "20250631000000Z", ""},
		{general, "20251301000000Z", ""},
		{general, "20250001000000Z", ""},
		{general, "20250100000000Z", ""},
		{general, "20250101240000Z", ""},
		{utc, "260102030405", ""},
		{utc, "260102030405ZZ", ""},
		{utc, "26010203040Z", ""},
		{utc, "2601020304xxZ", ""},
		{utc, "260102030405+2500", ""},
		{utc, "260102030405?0100", ""},
		{utc, "", ""},
		{12, "260102030405Z", ""}, // UTF8String
	} {
		in := cryptobyte.String(append([]byte{tt.tag, byte(len(tt.text))}, tt.text...))
		got, ok := readTime(&in)
		if !ok {
			if tt.want != "" {
				t.Errorf("%d %q: no time, want %s", tt.tag, tt.text, tt.want)
			}
			continue
		}
		if s := got.Format(time.RFC3339); s != tt.want {
			t.Errorf("%d %q: %s, want %q", tt.tag, tt.text, s, tt.want)
		}
	}
}
