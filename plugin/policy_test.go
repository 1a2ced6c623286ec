package plugin

import (
	"strings"
	"testing"

	"coredns-smimea/plugin/internal/certhost"
	"coredns-smimea/smimea"
)

// FuzzServable holds that the policy gives a file a URL exactly if the host of ours
// would look it up under that.
func FuzzServable(f *testing.F) {
	for _, name := range []string{"a.crt", `a\b.crt`, "a b.crt", "a\nb", "a\x7fb", ".hidden/a.crt", "a/.b", "ä.crt", "a%2fb.crt", "%", "\xff", strings.Repeat("x", 4096), strings.Repeat("x", 4097), strings.Repeat("ä", 683)} {
		f.Add(name)
	}
	url, err := smimea.ParseURLTemplate("https://{domain}" + certhost.Root + "{file}")
	if err != nil {
		f.Fatal(err)
	}
	policy := smimea.Policy{URL: url}
	f.Fuzz(func(t *testing.T, name string) {
		for segment := range strings.SplitSeq(name, "/") {
			if segment == "" || segment == "." || segment == ".." {
				return // no path of a file below a directory
			}
		}
		entry, err := policy.Entry("alice@example.com", smimea.Source{Path: name, Encrypts: true})
		if err != nil {
			t.Fatal(err)
		}
		encoded := strings.TrimPrefix(url.Expand("example.com", name, ""), "https://example.com"+certhost.Root)
		path, ok := certhost.CleanPath(encoded)
		if ok != (entry.URL != "") || ok && path != name {
			t.Errorf("%q has the URL %q (%v); the host reads %q, %v", name, entry.URL, entry.NoText, path, ok)
		}
	})
}
