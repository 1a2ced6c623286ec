package zone

import (
	"bytes"
	"strings"
	"testing"

	"coredns-smimea/smimea"
)

// wire makes a name of labels.
func wire(labels ...string) []byte {
	var name []byte
	for _, label := range labels {
		name = append(name, byte(len(label)))
		name = append(name, label...)
	}
	return append(name, 0)
}

func TestSuccessor(t *testing.T) {
	x63, x62, x61 := strings.Repeat("x", 63), strings.Repeat("x", 62), strings.Repeat("x", 61)
	ff63 := strings.Repeat("\xff", 63)
	for _, test := range []struct {
		name, want []byte
	}{
		{wire(), wire("\x00")},
		{wire("Example", "com"), wire("\x00", "Example", "com")},
		{wire(x63, x63, x63, x61[:59]), wire("\x00", x63, x63, x63, x61[:59])}, // 253 octets
		{wire(x61[:60], x63, x63, x63), wire(x61[:60]+"\x00", x63, x63, x63)},  // 254 octets
		{wire(x61, x63, x63, x63), wire(x61[:60]+"y", x63, x63, x63)},          // 255 octets from here
		{wire(x61[:60]+"@", x63, x63, x63), wire(x61[:60]+"[", x63, x63, x63)},
		{wire(x61[:60]+"Z", x63, x63, x63), wire(x61[:60]+"{", x63, x63, x63)},
		{wire(x61[:59]+"a\xff", x63, x63, x63), wire(x61[:59]+"b", x63, x63, x63)},
		{wire(ff63, x62, x63, x62), wire(x62+"\x00", x63, x62)},
		{wire(ff63, x63, x63, x61), wire(x62+"y", x63, x61)},
		{wire(ff63, ff63, ff63, ff63[:61]), wire(ff63[:61] + "\x00")},
	} {
		before := bytes.Clone(test.name)
		got := successor(test.name)
		if !bytes.Equal(got, test.want) {
			t.Errorf("successor(%q) = %q; want %q", test.name, got, test.want)
		}
		if !bytes.Equal(before, test.name) {
			t.Errorf("successor(%q) changed its argument", before)
		}
		if len(got) > smimea.MaxName || compare(test.name, got) >= 0 {
			t.Errorf("successor(%q) = %q is too long or not greater", test.name, got)
		}
	}
}

// compare orders names as RFC 4034 section 6.1 does: label by label from the
// right, as strings of lower-case octets.
func compare(a, b []byte) int {
	la, lb := split(a), split(b)
	for i := 1; i <= len(la) && i <= len(lb); i++ {
		if c := strings.Compare(smimea.LowerASCII(la[len(la)-i]), smimea.LowerASCII(lb[len(lb)-i])); c != 0 {
			return c
		}
	}
	return len(la) - len(lb)
}

func split(name []byte) []string {
	var labels []string
	for name[0] != 0 {
		labels = append(labels, string(name[1:1+name[0]]))
		name = name[1+name[0]:]
	}
	return labels
}
