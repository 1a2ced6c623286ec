package smimea

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

const maxURL = 2000 // octets of a template

// A URLTemplate makes the URL of a certificate. The zero value is no template:
// it expands to nothing.
type URLTemplate struct {
	text string
}

// ParseURLTemplate reads a template of an https URL with any of
//
//	{domain}  the mail domain
//	{file}    the certificate's path below the directory
//	{hash}    the 56 digits of the owner name
//
// in its path or query; in its host only {domain} can be. The default of the
// directive is https://{domain}/.well-known/smime/{file}.
func ParseURLTemplate(s string) (URLTemplate, error) {
	if len(s) > maxURL {
		return URLTemplate{}, fmt.Errorf("the URL template has %d octets; %d are possible", len(s), maxURL)
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return URLTemplate{}, errors.New("the URL template has a character that must be percent-encoded in a URL")
		}
	}
	if err := checkPlaceholders(s); err != nil {
		return URLTemplate{}, err
	}
	t := URLTemplate{s}
	u, err := url.Parse(t.Expand("example.com", "file.crt", strings.Repeat("0", 2*HashSize)))
	switch {
	case err != nil:
		return URLTemplate{}, fmt.Errorf("reading the URL template %q: %w", s, err)
	case u.Scheme != "https" || u.Opaque != "" || u.Hostname() == "":
		return URLTemplate{}, fmt.Errorf("the URL template %q must begin with https:// and a host", s)
	case u.User != nil:
		return URLTemplate{}, errors.New("the URL template must not have a user or password in it")
	case strings.Contains(s, "#"):
		return URLTemplate{}, fmt.Errorf("the URL template %q must not have a fragment", s)
	case !validPort(u):
		return URLTemplate{}, fmt.Errorf("the URL template %q has a port that is not 1 to 65535", s)
	case strings.Contains(u.Path+"/", "/../"):
		return URLTemplate{}, fmt.Errorf("the URL template %q must not have .. in its path", s)
	}
	return t, nil
}

// checkPlaceholders refuses braces that are not a placeholder we know, and
// placeholders in the host that would let a file choose the host.
func checkPlaceholders(s string) error {
	_, afterScheme, _ := strings.Cut(s, "://")
	host := afterScheme
	if end := strings.IndexAny(host, "/?#"); end >= 0 {
		host = host[:end]
	}
	if strings.Contains(host, "{file}") || strings.Contains(host, "{hash}") {
		return fmt.Errorf("the URL template %q has {file} or {hash} in its host; only {domain} can be there", s)
	}
	rest := s
	for {
		open := strings.IndexAny(rest, "{}")
		if open < 0 {
			return nil
		}
		length := strings.IndexByte(rest[open:], '}')
		if length <= 0 {
			return fmt.Errorf("the URL template %q has a brace without its other half", s)
		}
		switch name := rest[open : open+length+1]; name {
		case "{domain}", "{file}", "{hash}":
		default:
			return fmt.Errorf("the URL template %q has the unknown placeholder %s; known are {domain}, {file} and {hash}", s, name)
		}
		rest = rest[open+length+1:]
	}
}

func validPort(u *url.URL) bool {
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && port > 0
}

// String returns the template as it was given.
func (t URLTemplate) String() string { return t.text }

// Expand returns the URL of a certificate. File is a path with slashes: it is
// percent-encoded segment by segment, and segments that are empty, "." or ".."
// are left out, so that no file name changes the rest of the URL.
func (t URLTemplate) Expand(domain, file, label string) string {
	var b strings.Builder
	b.Grow(len(t.text) + len(domain) + len(file) + len(label))
	rest := t.text
	for {
		open := strings.IndexByte(rest, '{')
		if open < 0 {
			b.WriteString(rest)
			return b.String()
		}
		b.WriteString(rest[:open])
		rest = rest[open+1:]
		end := strings.IndexByte(rest, '}')
		switch rest[:end] {
		case "domain":
			b.WriteString(domain)
		case "file":
			writeFile(&b, file)
		case "hash":
			b.WriteString(label)
		}
		rest = rest[end+1:]
	}
}

// writeFile writes a path with all but the unreserved characters of RFC 3986
// percent-encoded, which holds in a query as well as in a path.
func writeFile(b *strings.Builder, file string) {
	const hexDigits = "0123456789ABCDEF"
	first := true
	for segment := range strings.SplitSeq(file, "/") {
		if segment == "" || segment == "." || segment == ".." {
			continue
		}
		if !first {
			b.WriteByte('/')
		}
		first = false
		for i := range len(segment) {
			if c := segment[i]; isUnreserved(c) {
				b.WriteByte(c)
			} else {
				b.WriteByte('%')
				b.WriteByte(hexDigits[c>>4])
				b.WriteByte(hexDigits[c&15])
			}
		}
	}
}

func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}
