package download

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestGet downloads from a server that does all that servers do.
func TestGet(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/list", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "list") })
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", 17)) })
	mux.Handle("/moved", http.RedirectHandler("/list", http.StatusFound))
	mux.Handle("/circle", http.RedirectHandler("/circle", http.StatusFound))
	mux.Handle("/away", http.RedirectHandler("file:///etc/passwd", http.StatusFound))
	mux.HandleFunc("/silent", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	s := httptest.NewServer(mux)
	defer s.Close()
	c := Client{Size: 16, Time: time.Minute, Private: true}
	for path, want := range map[string]string{"/list": "list", "/moved": "list"} {
		if got, err := c.Get(t.Context(), s.URL+path); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	for path, want := range map[string]string{
		"/large": "larger than 16 octets", "/circle": "more than 5 times", "/away": "no URL of http", "/none": "404",
	} {
		if _, err := c.Get(t.Context(), s.URL+path); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), s.URL) {
			t.Errorf("%s: %v; want it to say %q", path, err, want)
		}
	}
	for _, place := range []string{"ftp://example.org/", "http://", "http://u:p@example.org/", ":", "ldap:///cn=x"} {
		if _, err := c.Get(t.Context(), place); err == nil {
			t.Errorf("%s can be asked", place)
		}
	}
	c.Time = 50 * time.Millisecond
	if _, err := c.Get(t.Context(), s.URL+"/silent"); err == nil {
		t.Error("a silent server is waited for without an end")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Get(ctx, s.URL+"/list"); err == nil {
		t.Error("a download that was given up succeeds")
	}
	public := Client{Size: 16, Time: time.Minute}
	if _, err := public.Get(t.Context(), s.URL+"/list"); err == nil || !strings.Contains(err.Error(), "not a public one") {
		t.Errorf("an address that is not public: %v", err)
	}
}
