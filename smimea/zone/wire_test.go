package zone

import (
	"bytes"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"coredns-smimea/smimea"
)

// FuzzAppendWire holds the short way to the long one, which is miekg/dns's.
func FuzzAppendWire(f *testing.F) {
	for _, name := range []string{
		"", ".", "..", "a", "a.", "a..", ".a.", "A.bC.", `a\.b.c.`, `\065.`, "*._smime.example.com.",
		strings.Repeat("x", 63) + ".", strings.Repeat("x", 64) + ".", strings.Repeat("abc.", 63) + "d.", strings.Repeat("abc.", 63) + "de.",
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		var short, long [300]byte
		got, ok := appendPlain(short[:0], name)
		if !ok {
			return
		}
		n, err := dns.PackDomainName(name, long[:], 0, nil, false)
		if err != nil {
			t.Fatalf("appendPlain(%q) = %q, PackDomainName fails: %v", name, got, err)
		}
		if want := []byte(smimea.LowerASCII(string(long[:n]))); !bytes.Equal(got, want) {
			t.Fatalf("appendPlain(%q) = %q, want %q", name, got, want)
		}
	})
}

func TestAppendWire(t *testing.T) {
	prefix := append(make([]byte, 0, 600), "prefix"...)
	for name, want := range map[string]string{
		"Hugh._SMIME.example.com.": "\x04hugh\x06_smime\x07example\x03com\x00",
		`A\.b.example.`:            "\x03a.b\x07example\x00",
		`\001.example.`:            "\x01\x01\x07example\x00",
		".":                        "\x00",
	} {
		if got, err := AppendWire(prefix, name); err != nil || string(got) != "prefix"+want {
			t.Errorf("AppendWire(%q) = %q, %v, want %q", name, got, err, want)
		}
	}
	full := append(make([]byte, 0, 6), "prefix"...)
	if got, err := AppendWire(full, "Hugh."); err != nil || string(got) != "prefix\x04hugh\x00" {
		t.Errorf("AppendWire = %q, %v", got, err)
	}
	for _, name := range []string{"a..b.", strings.Repeat("x", 64) + ".", strings.Repeat("abc.", 64)} {
		if got, err := AppendWire(prefix, name); err == nil {
			t.Errorf("AppendWire(%q) = %q, want an error", name, got)
		}
	}
	var buf [smimea.MaxName + 1]byte
	if n := testing.AllocsPerRun(10, func() { AppendWire(buf[:0], "Hugh._smime.example.com.") }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// TestForeign holds what is told at first sight to what is found.
func TestForeign(t *testing.T) {
	sub := []*Place{testPlace(t, "_smimecert.example.com", SubZone), testPlace(t, "_smime.example.com", SubZone)}
	for name, places := range map[string][]*Place{
		"sub-zones": sub,
		"beside":    {testPlace(t, "example.com", Beside)},
		"whole":     {testPlace(t, "example.com", Whole)},
		"both":      append(sub, testPlace(t, "example.net", Whole)),
	} {
		x, err := NewIndex(places)
		if err != nil {
			t.Fatal(err)
		}
		foreign := 0
		for _, owner := range []string{
			".", "com.", "example.com.", "www.example.com.", "example.net.", "a.example.net.", "_smime.example.com.", "_SMIME.EXAMPLE.com.",
			"a._smime.example.com.", `a.\095smime.example.com.`, "a._smimecert.example.com.", "_dmarc.example.com.", "a_b.example.com.",
		} {
			wire, err := Wire(owner)
			if err != nil {
				t.Fatal(err)
			}
			if _, ours := x.Find(wire); ours && x.Foreign(owner) {
				t.Errorf("%s: Foreign(%q) is true, but it is ours", name, owner)
			}
			if x.Foreign(owner) {
				foreign++
			}
		}
		if want := map[string]int{"sub-zones": 6, "beside": 6}[name]; foreign != want {
			t.Errorf("%s: %d names are foreign at first sight, want %d", name, foreign, want)
		}
	}
}
