package certhost

import (
	"encoding/hex"
	"net/url"
	"strings"
)

// Root is the path that everything is below.
const Root = "/.well-known/smime/"

// maxPath bounds the path of a request, still encoded.
const maxPath = 4096

// CleanPath decodes the path of a URL below [Root], as sent, and reports
// whether it can name a file. Each segment is decoded once, and must not be
// empty, start with a dot (so neither "." nor ".."), or contain a slash, a
// backslash, NUL or another control character when decoded. What is refused
// here is never looked up, so a file whose own name has such characters is not
// served.
func CleanPath(raw string) (path string, ok bool) {
	if raw == "" || len(raw) > maxPath {
		return "", false
	}
	path = raw
	if strings.IndexByte(raw, '%') >= 0 {
		// Segment by segment: an encoded slash must not become a separator.
		segments := strings.Split(raw, "/")
		for i, segment := range segments {
			decoded, err := url.PathUnescape(segment)
			if err != nil || strings.IndexByte(decoded, '/') >= 0 {
				return "", false
			}
			segments[i] = decoded
		}
		path = strings.Join(segments, "/")
	}
	start := true // of a segment
	for i := range len(path) {
		switch c := path[i]; {
		case c == '/':
			if start {
				return "", false
			}
			start = true
		case c < 0x20, c == 0x7f, c == '\\', start && c == '.':
			return "", false
		default:
			start = false
		}
	}
	return path, !start
}

// labelPath splits HASH.crt and HASH.p7c. Only lower-case hex is the label:
// one resource, one URL.
func labelPath(path string) (hash [28]byte, extension string, ok bool) {
	if len(path) != 60 {
		return hash, "", false
	}
	label, extension := path[:56], path[56:]
	if extension != ".crt" && extension != ".p7c" {
		return hash, "", false
	}
	if strings.Trim(label, "0123456789abcdef") != "" {
		return hash, "", false
	}
	if _, err := hex.Decode(hash[:], []byte(label)); err != nil {
		return hash, "", false
	}
	return hash, extension, true
}
