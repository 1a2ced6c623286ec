package certhost

import (
	"net"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// hostName returns the form that names are compared in: A-labels, lower case,
// no port, no final dot. It takes a Host header, a server name of a handshake
// or a name from a configuration; ok is false for what cannot be a host name.
func hostName(s string) (name string, ok bool) {
	if strings.IndexByte(s, ':') >= 0 {
		host, port, err := net.SplitHostPort(s)
		if err != nil || strings.Trim(port, "0123456789") != "" {
			return "", false
		}
		s = host
	}
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 4*253 {
		return "", false
	}
	ascii := true
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_':
		case c >= 0x80:
			ascii = false
		default:
			return "", false
		}
	}
	if !ascii {
		if !utf8.ValidString(s) {
			return "", false
		}
		var err error
		if s, err = idna.Lookup.ToASCII(s); err != nil {
			return "", false
		}
	}
	s = strings.ToLower(s)
	if len(s) > 253 || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return "", false
	}
	return s, true
}
