package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain, jörg": "plain, jörg",
		"a\nsmimea: verified: b\x1b[2J\u202e\x00": "a smimea: verified: b\ufffd[2J\ufffd\ufffd",
		"a\tb\xff": "a b\ufffd",
		"\u009b31m\u0085\u200b\u200f\u2028\u2066\ufeff\u00ad\U000e0041\ufe0f\u3164": "\ufffd31m" + strings.Repeat("\ufffd", 10),
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %q; want %q", in, got, want)
		}
	}
}

// TestJSONIsPrintable holds that no character of JSON does anything to a terminal, and
// that what was there can be read from it.
func TestJSONIsPrintable(t *testing.T) {
	for _, text := range []string{
		"plain, jörg <&>", "\u009b31m", "a\u202eb\u2066c", "\x1b[2J\r\n\t\x00\x7f", "tag \U000e0041", "\u200b\ufeff\u00ad\u180e\ufe0f", "\u2028\ufffd",
	} {
		var stdout bytes.Buffer
		u := newUI(&stdout, &bytes.Buffer{})
		if err := u.emit(map[string]string{text: text}); err != nil {
			t.Fatal(err)
		}
		u.flush()
		if strings.ContainsFunc(stdout.String(), func(r rune) bool { return r != '\n' && isHidden(r) }) {
			t.Errorf("the JSON of %q is %q", text, &stdout)
		}
		var back map[string]string
		if err := json.Unmarshal(stdout.Bytes(), &back); err != nil || back[text] != text {
			t.Errorf("%q is read as %q, %v", text, back, err)
		}
	}
}

func TestProgress(t *testing.T) {
	var stderr bytes.Buffer
	u := newUI(&bytes.Buffer{}, &stderr)
	p := u.progress("reading")
	// withinTheSecond has the second last that began just now.
	withinTheSecond := func() {
		t.Helper()
		if p.last.IsZero() || time.Since(p.last) > time.Hour {
			t.Errorf("the second began at %v", p.last)
		}
		p.last = p.last.Add(24 * time.Hour)
	}
	withinTheSecond()
	p.at(1, 10)
	if stderr.Len() > 0 {
		t.Errorf("in the first second: %q", &stderr)
	}
	p.last = time.Now().Add(-2 * time.Hour)
	p.at(5, 10)
	withinTheSecond()
	p.at(6, 10)
	p.last = time.Now().Add(-2 * time.Hour)
	p.at(7, 0)
	p.end()
	if got, want := stderr.String(), "smimea: reading: 5 of 10\nsmimea: reading: 7\n"; got != want {
		t.Errorf("progress is %q; want %q", got, want)
	}
	stderr.Reset()
	u.terminal = true
	p.last = time.Time{}
	p.at(8, 10)
	p.end()
	if got, want := stderr.String(), "\rsmimea: reading: 8 of 10 \r\x1b[K"; got != want {
		t.Errorf("progress on a terminal is %q; want %q", got, want)
	}
}

// TestColours holds that only terminals get any.
func TestColours(t *testing.T) {
	var stdout, stderr bytes.Buffer
	u := newUI(&stdout, &stderr)
	u.print("%s", u.paint(red, "x"))
	u.warn("y")
	u.flush()
	if strings.Contains(stdout.String()+stderr.String(), "\x1b") {
		t.Errorf("colours in %q and %q", &stdout, &stderr)
	}
	u.colours = true
	if got, want := u.paint(red, "x"), "\x1b[31mx\x1b[0m"; got != want {
		t.Errorf("paint = %q; want %q", got, want)
	}
}
