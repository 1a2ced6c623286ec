package smimea

import (
	"net/url"
	"strings"
	"testing"
)

const defaultTemplate = "https://{domain}/.well-known/smime/{file}"

func TestURLTemplate(t *testing.T) {
	for _, test := range []struct {
		template, file, want string
	}{
		{defaultTemplate, "firstname_lastname.crt", "https://example.com/.well-known/smime/firstname_lastname.crt"},
		{defaultTemplate, "sales/a b%c+d&e#f?g.crt", "https://example.com/.well-known/smime/sales/a%20b%25c%2Bd%26e%23f%3Fg.crt"},
		{defaultTemplate, `a\b` + "\xff\x00.crt", "https://example.com/.well-known/smime/a%5Cb%FF%00.crt"},
		{defaultTemplate, "../../x/./..//y.crt", "https://example.com/.well-known/smime/x/y.crt"},
		{defaultTemplate, "a..b/...crt", "https://example.com/.well-known/smime/a..b/...crt"},
		{defaultTemplate, "{hash}", "https://example.com/.well-known/smime/%7Bhash%7D"},
		{"https://keys.{domain}:8443/{hash}.cer?l={file}", "a/b.crt", "https://keys.example.com:8443/0123.cer?l=a/b.crt"},
		{"https://[2001:db8::1]/{hash}", "", "https://[2001:db8::1]/0123"},
		{"HTTPS://example.net/all.p7c", "", "HTTPS://example.net/all.p7c"},
		{"https://{domain}", "", "https://example.com"},
	} {
		tmpl, err := ParseURLTemplate(test.template)
		if err != nil {
			t.Errorf("ParseURLTemplate(%q): %v", test.template, err)
			continue
		}
		if got := tmpl.Expand("example.com", test.file, "0123"); got != test.want {
			t.Errorf("%q with %q: %s; want %s", test.template, test.file, got, test.want)
		}
		if tmpl.String() != test.template {
			t.Errorf("String() = %q; want %q", tmpl, test.template)
		}
	}
}

func TestURLTemplateRefuses(t *testing.T) {
	for _, template := range []string{
		"", "off", "http://{domain}/{file}", "ftp://{domain}/{file}", "//{domain}/{file}", "https:///{file}", "https:{domain}/{file}",
		"https://user:password@{domain}/{file}", "https://user@{domain}/{file}", "https://@{domain}/", "https://{domain}@evil.example/",
		"https://{file}/", "https://{hash}.{domain}/", "https://{domain}/{user}", "https://{domain}/{}", "https://{domain}/{FILE}",
		"https://{domain}/{file", "https://{domain}/file}", "https://{domain}/}{", "https://{domain}/{{file}}",
		"https://{domain}/../{file}", "https://{domain}/%2e%2e/{file}", "https://{domain}/a/..", "https://{domain}/{file}#x",
		"https://{domain}/a b/{file}", "https://{domain}/\u00f6", "https://{domain}/\x00", "https://{domain}/%zz", "https://{domain}:/",
		"https://{domain}:0/", "https://{domain}:65536/", "https://{domain}:x/",
		"https://{domain}/" + strings.Repeat("x", maxURL),
	} {
		if tmpl, err := ParseURLTemplate(template); err == nil || tmpl != (URLTemplate{}) {
			t.Errorf("ParseURLTemplate(%q) = %q; want an error", template, tmpl)
		}
	}
}

// FuzzURLTemplate holds that whatever the template and the file, the URL is an
// https one, of the host that the template names, without a step upwards.
func FuzzURLTemplate(f *testing.F) {
	f.Add(defaultTemplate, "a b/c.crt")
	f.Add("https://keys.{domain}:8443/{hash}.cer?l={file}", "../x")
	f.Add("https://{domain}/x{file}", "..")
	f.Fuzz(func(t *testing.T, template, file string) {
		tmpl, err := ParseURLTemplate(template)
		if err != nil {
			return
		}
		expanded := tmpl.Expand("example.com", file, "0123")
		u, err := url.Parse(expanded)
		if err != nil {
			t.Fatalf("%q with %q: %v", template, file, err)
		}
		plain, err := url.Parse(tmpl.Expand("example.com", "file.crt", "0123"))
		if err != nil {
			t.Fatal(err)
		}
		if u.Scheme != "https" || u.Host != plain.Host || u.User != nil || u.Fragment != "" {
			t.Fatalf("%q with %q: %s", template, file, expanded)
		}
		if strings.Contains(u.Path+"/", "/../") {
			t.Fatalf("%q with %q steps up: %s", template, file, expanded)
		}
	})
}
