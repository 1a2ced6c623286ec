package plugin

import "testing"

func TestParseZones(t *testing.T) {
	for _, tt := range []struct {
		text string
		want int // zones; 0: an error
	}{
		{"example.com\n", 2},
		{"# comment\n\n example.com # one\r\nexample.org", 4},
		{"example.com\nEXAMPLE.com.\n", 2},
		{"bücher.example\nxn--bcher-kva.example\n", 2},
		{"", 0},
		{"# none\n", 0},
		{"two names\n", 0},
		{"example..com\n", 0},
		{"-\x00\n", 0},
	} {
		origins, err := parseZones([]byte(tt.text))
		if len(origins) != tt.want || (err != nil) != (tt.want == 0) {
			t.Errorf("parseZones(%q) = %v, %v, want %d zones", tt.text, origins, err, tt.want)
		}
	}
}

func FuzzParseZones(f *testing.F) {
	f.Add([]byte("example.com\n# comment\nexample.org"))
	f.Fuzz(func(t *testing.T, text []byte) {
		origins, err := parseZones(text)
		if err == nil && (len(origins) == 0 || len(origins)%2 != 0) {
			t.Errorf("%d zones", len(origins))
		}
	})
}
