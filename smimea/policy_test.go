package smimea

import (
	"strings"
	"testing"
)

func TestPolicy(t *testing.T) {
	url, err := ParseURLTemplate("https://{domain}/.well-known/smime/{file}")
	if err != nil {
		t.Fatal(err)
	}
	static, err := ParseURLTemplate("https://certs.example.net/{file}")
	if err != nil {
		t.Fatal(err)
	}
	a, err := ParseAddress("Alice@example.com")
	if err != nil {
		t.Fatal(err)
	}
	hashed := "https://example.com/.well-known/smime/" + a.Label() + ".crt"
	for name, tt := range map[string]struct {
		url     URLTemplate
		address string
		source  Source
		want    string
		no      string
	}{
		"plain":           {url, "alice@example.com", Source{"team/alice.crt", false, true}, "https://example.com/.well-known/smime/team/alice.crt", ""},
		"several users":   {url, "Alice@example.com", Source{"all.p7b", true, true}, hashed, ""},
		"sign only":       {url, "alice@example.com", Source{"alice.crt", false, false}, "", "nobody can encrypt"},
		"no URL":          {URLTemplate{}, "alice@example.com", Source{"alice.crt", false, true}, "", ""},
		"backslash":       {url, "alice@example.com", Source{`a\b.crt`, false, true}, "", "rename it"},
		"control":         {url, "alice@example.com", Source{"a\nb.crt", false, true}, "", "rename it"},
		"hidden":          {url, "alice@example.com", Source{".x/b.crt", false, true}, "", "rename it"},
		"long":            {url, "alice@example.com", Source{strings.Repeat("ä/", 700) + "a.crt", false, true}, "", "rename it"},
		"odd, of several": {url, "Alice@example.com", Source{`a\b.crt`, true, true}, hashed, ""},
		"somebody else's": {static, "alice@example.com", Source{`a\b.crt`, false, true}, "https://certs.example.net/a%5Cb.crt", ""},
		"quotes":          {url, `"a b"@example.com`, Source{"a.crt", false, true}, "", "needs quotes"},
		"a star":          {url, "*foo@example.com", Source{"a.crt", false, true}, "", "wildcard"},
		"two stars":       {url, "**@example.com", Source{"a.crt", false, true}, "", "wildcard"},
		"a star in front": {url, "*a.b@example.com", Source{"a.crt", false, true}, "", "wildcard"},
		"a star inside":   {url, "a*b@example.com", Source{"a.crt", false, true}, "https://example.com/.well-known/smime/a.crt", ""},
		"a later star":    {url, "a.*b@example.com", Source{"a.crt", false, true}, "https://example.com/.well-known/smime/a.crt", ""},
	} {
		p := Policy{URL: tt.url}
		e, err := p.Entry(tt.address, tt.source)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		no := ""
		if e.NoText != nil {
			no = e.NoText.Error()
		}
		if e.URL != tt.want || (no == "") != (tt.no == "") || !strings.Contains(no, tt.no) {
			t.Errorf("%s: %q, %q; want %q, %q", name, e.URL, no, tt.want, tt.no)
		}
	}
	for _, tt := range []struct {
		lists [][]string
		want  bool
	}{
		{[][]string{{"a"}}, false}, {[][]string{{"a"}, {"a"}}, false}, {[][]string{{"a", "b"}, {"b", "a"}}, false},
		{[][]string{{"a"}, {"b"}}, true}, {[][]string{{"a"}, {"a", "b"}}, true}, {[][]string{{"a", "b"}, {"a"}}, true},
	} {
		if got := Shared(tt.lists...); got != tt.want {
			t.Errorf("%v is shared: %v", tt.lists, got)
		}
	}
}
