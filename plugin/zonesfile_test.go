package plugin

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func TestParseZones(t *testing.T) {
	for _, tt := range []struct {
		text string
		want int // zones; 0: an error
	}{
		{"example.com\n", 2},
		{"# comment\n\n example.com # one\r\nexample.org", 4},
		{"example.com\nEXAMPLE.com.\n", 2},
		{"\ufeffexample.com\r\n", 2},
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

// TestZonesWatch holds that a change of the file is acted on once it has settled, again
// after an attempt that has failed, and that the watch can be ended by what it calls.
func TestZonesWatch(t *testing.T) {
	f := zonesFile{path: filepath.Join(t.TempDir(), "zones")}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(f.path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("example.com\n")
	if _, err := f.read(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine is left
		calls, succeeds := 0, false
		var w *zonesWatch
		w = watchZones(f, func() bool {
			calls++
			if succeeds {
				w.end()
			}
			return succeeds
		})
		after := func(what string, want int) {
			t.Helper()
			<-time.After(5 * zonesEvery) // of the bubble's clock
			if synctest.Wait(); calls != want {
				t.Errorf("%s: %d calls, want %d", what, calls, want)
			}
		}
		after("unchanged", 0)
		write("two names\n")
		after("no zones", 0)
		write("example.org\n")
		after("an attempt that fails", 1)
		succeeds = true
		write("example.net\n")
		after("changed", 2)
		w.ended.Wait()
		write("example.com\n")
		after("ended", 2)
		w.end()
	})
}
