package certhost

import (
	"crypto/sha256"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Header values that never change are shared between answers: net/http only
// reads them.
var (
	allowOrigin  = []string{"*"}
	noSniff      = []string{"nosniff"}
	varyAccept   = []string{"Accept"}
	allowMethods = []string{"GET, HEAD"}
	noCache      = []string{"no-cache"}
	textPlain    = []string{"text/plain; charset=utf-8"}
	mediaTypes   = map[string][]string{
		typeDER: {typeDER}, typePEM: {typePEM}, typeChain: {typeChain}, typeP7C: {typeP7C}, textPlain[0]: textPlain,
	}
)

var (
	missBody   = newBody([32]byte{}, textPlain[0], []byte("not found\n"))
	methodBody = newBody([32]byte{}, textPlain[0], []byte("only GET and HEAD\n"))
	policyBody = func() *body {
		text := []byte("version: 1\noffers: FILE HASH.crt HASH.p7c\naccept: " + typeDER + " " + typePEM + " " + typeChain + "\n")
		return newBody(sha256.Sum256(text), textPlain[0], text)
	}()
)

var policy = answer{
	kind:   policyBody.kind,
	etag:   policyBody.etag[0],
	maxAge: 24 * time.Hour,
	body:   func() (*body, error) { return policyBody, nil },
}

// An answer is what a request found: a body that can be made when it turns out
// to be needed, and the headers about its freshness.
type answer struct {
	kind     string
	etag     string // compared before anything is read that has no issuers
	modified time.Time
	maxAge   time.Duration
	vary     bool
	// body makes the body. An error beside it says what it lacks.
	body func() (*body, error)
}

func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header["Access-Control-Allow-Origin"] = allowOrigin
	header["X-Content-Type-Options"] = noSniff
	t := h.routes.Load()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header["Allow"] = allowMethods
		t.metrics.Request(respond(w, r, http.StatusMethodNotAllowed, methodBody))
		return
	}
	found, ok := h.find(t, r)
	if !ok {
		h.miss(t, w, r)
		return
	}
	if code := found.condition(r); code != 0 {
		found.describe(header)
		header["Etag"] = []string{found.etag}
		w.WriteHeader(code)
		t.metrics.Request(code)
		return
	}
	b, err := found.body()
	if err != nil {
		// Most likely swapped since the last look at the directory. The path is
		// not logged: it may be an address.
		if h.complain.due(time.Now()) {
			t.log.Warningf("https: a published certificate cannot be given out now: %v", err)
		}
	}
	if b == nil {
		h.miss(t, w, r)
		return
	}
	found.describe(header)
	header["Etag"] = b.etag
	t.metrics.Request(respond(w, r, http.StatusOK, b))
}

// find decides by host, path and query what is asked for.
func (h *host) find(t *routes, r *http.Request) (answer, bool) {
	raw, ok := strings.CutPrefix(r.URL.EscapedPath(), Root)
	if !ok {
		return answer{}, false
	}
	path, ok := CleanPath(raw)
	if !ok {
		return answer{}, false
	}
	site, ok := t.site(r.Host)
	if !ok {
		if site, ok = h.unnamed(t, r.Host); !ok {
			return answer{}, false
		}
	}
	if path == "policy" {
		return policy, true
	}
	// The names of labels are reserved: a file that happens to be called so
	// cannot stand in for an address that is published.
	if hash, extension, ok := labelPath(path); ok {
		if domain := asked(site.domain, r.URL.RawQuery); domain != "" {
			if lease := site.in(domain); lease != nil {
				if certificates, err := lease.current().ByHash(domain, hash); err == nil && len(certificates) > 0 {
					if extension == ".p7c" {
						return h.allOf(certificates)
					}
					return h.oneOf(certificates, r)
				}
			}
		}
	}
	certificate, err := site.file(path)
	if err != nil {
		return answer{}, false
	}
	return h.oneOf([]Certificate{certificate}, r)
}

// unnamed returns what a request is for whose Host header names nothing of ours.
// To a listener without TLS a proxy may have sent its own name for it, as nginx
// and Apache do unless they are told otherwise. Where there is one mail domain
// only, that one is meant.
func (h *host) unnamed(t *routes, asked string) (site, bool) {
	if !t.plain {
		return site{}, false
	}
	sole, ok := t.sole()
	h.proxied.Do(func() {
		const remedy = "a proxy has to pass the name on that it was asked for: proxy_set_header Host $host (nginx), ProxyPreserveHost On (Apache)"
		if ok {
			t.log.Warningf("http: the Host header %.100q on %s is none of ours, and is taken for %s, the only mail domain there; %s", asked, h.key, sole.domain, remedy)
		} else {
			t.log.Warningf("http: the Host header %.100q on %s is none of ours, and several mail domains are there: the answer is 404; %s", asked, h.key, remedy)
		}
	})
	return sole, ok
}

// asked returns the mail domain that HASH.crt is for: ?domain=, or the host's.
// It is empty if there is neither.
func asked(domain, query string) string {
	if query == "" {
		return domain
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return ""
	}
	named, ok := values["domain"]
	if !ok {
		return domain
	}
	name, ok := hostName(named[0])
	if !ok || len(named) > 1 {
		return ""
	}
	return name
}

// oneOf answers with the first of these certificates, best first, that can be read.
func (h *host) oneOf(certificates []Certificate, r *http.Request) (answer, bool) {
	best := &certificates[0]
	age := best.maxAge(time.Now())
	if age < 0 {
		return answer{}, false
	}
	kind := negotiate(r.Header["Accept"])
	a := answer{
		kind:     kind,
		etag:     entityTag(best.Digest, kind),
		modified: best.Modified,
		maxAge:   age,
		vary:     true,
		body:     func() (*body, error) { return h.cache.first(certificates, kind) },
	}
	if kind == typeChain {
		a.read()
	}
	return a, true
}

func (h *host) allOf(certificates []Certificate) (answer, bool) {
	now := time.Now()
	a := answer{
		kind:   typeP7C,
		maxAge: certificates[0].maxAge(now),
		vary:   true,
		body:   func() (*body, error) { return h.cache.all(certificates) },
	}
	for i := range certificates {
		a.maxAge = min(a.maxAge, certificates[i].maxAge(now))
		if certificates[i].Modified.After(a.modified) {
			a.modified = certificates[i].Modified
		}
	}
	if a.maxAge < 0 {
		return answer{}, false
	}
	a.read()
	return a, true
}

// read makes the body, since the issuers in it are only known when they have been read.
// The entity tag covers them.
func (a *answer) read() {
	b, err := a.body()
	if b != nil {
		a.etag = b.etag[0]
	}
	a.body = func() (*body, error) { return b, err }
}

// maxAge is negative when the certificate has expired.
func (c *Certificate) maxAge(now time.Time) time.Duration {
	left := c.NotAfter.Sub(now)
	if left <= 0 {
		return -1
	}
	return max(0, min(c.TTL, left))
}

// describe sets the headers that a 200 and a 304 share.
func (a *answer) describe(header http.Header) {
	header["Cache-Control"] = []string{"public, max-age=" + strconv.FormatInt(int64(a.maxAge/time.Second), 10)}
	if a.vary {
		header["Vary"] = varyAccept
	}
	if !a.modified.IsZero() {
		header["Last-Modified"] = []string{a.modified.UTC().Format(http.TimeFormat)}
	}
}

// miss is the one answer to everything that is not there.
func (h *host) miss(t *routes, w http.ResponseWriter, r *http.Request) {
	w.Header()["Cache-Control"] = noCache
	t.metrics.Request(respond(w, r, http.StatusNotFound, missBody))
}

func respond(w http.ResponseWriter, r *http.Request, code int, b *body) int {
	header := w.Header()
	header["Content-Type"] = mediaTypes[b.kind]
	header["Content-Length"] = b.length
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		w.Write(b.data) // an error is the client's: it has gone
	}
	return code
}
