package certhost

import (
	"net/http"
	"strings"
	"time"
)

// condition evaluates the preconditions of RFC 9110 section 13.2.2 in their
// order and returns 412, 304 or 0. Dates are compared for equality, as nginx
// does by default: a newer certificate may be withdrawn in favour of an older.
func (a *answer) condition(r *http.Request) int {
	if match := r.Header["If-Match"]; match != nil {
		if !tagListed(match, a.etag, true) {
			return http.StatusPreconditionFailed
		}
	} else if since := r.Header["If-Unmodified-Since"]; since != nil && !a.modified.IsZero() {
		if at, err := http.ParseTime(since[0]); err == nil && a.modified.Truncate(time.Second).After(at) {
			return http.StatusPreconditionFailed
		}
	}
	if match := r.Header["If-None-Match"]; match != nil {
		if tagListed(match, a.etag, false) {
			return http.StatusNotModified
		}
	} else if since := r.Header["If-Modified-Since"]; since != nil && !a.modified.IsZero() {
		if at, err := http.ParseTime(since[0]); err == nil && a.modified.Truncate(time.Second).Equal(at) {
			return http.StatusNotModified
		}
	}
	return 0
}

// tagListed reports whether an entity tag is in a list of them, or the list is
// "*". Our tags contain no comma, so splitting at commas cannot join parts of
// others into one of ours. A weak tag matches where strong is not asked for.
func tagListed(lines []string, etag string, strong bool) bool {
	for _, line := range lines {
		for tag := range strings.SplitSeq(line, ",") {
			tag = strings.TrimSpace(tag)
			if !strong {
				tag = strings.TrimPrefix(tag, "W/")
			}
			if tag == etag || tag == "*" {
				return true
			}
		}
	}
	return false
}
