package test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
)

// misses are URLs of what is not to be found, for each of the reasons that a stranger
// must not tell from each other.
func misses() map[string]string {
	return map[string]string{
		"no such file":          fileURL("example.com", "nobody.pem"),
		"expired":               fileURL("example.com", "expired.pem"),
		"a private key beside":  fileURL("example.com", "secret.pem"),
		"an authority":          fileURL("example.com", "authority.pem"),
		"not for mail":          fileURL("example.com", "server.pem"),
		"rubbish":               fileURL("example.com", "rubbish.pem"),
		"hidden":                fileURL("example.com", ".hidden.pem"),
		"another domain's":      fileURL("example.com", "other.pem"),
		"several others'":       fileURL("example.com", "others.pem"),
		"no such hash":          hashURL("example.com", "nobody", ".crt"),
		"an expired one's hash": hashURL("example.com", "expired", ".crt"),
		"another domain's hash": hashURL("example.com", "mallory", ".p7c"),
		"a path game":           "https://example.com" + wellKnown + "a%2f..%2fb",
		"no host of ours":       fileURL("example.org", "alice.crt"),
		"no path of ours":       "https://example.com/index.html",
	}
}

// TestMisses compares all that strangers see of a miss: every kind has the same
// status, headers and body, over both versions of HTTP, and takes the same time.
func TestMisses(t *testing.T) {
	dir := t.TempDir()
	users(t, dir, "example.com")
	cert{addresses: []string{"mallory@other.test"}}.write(t, filepath.Join(dir, "other.pem"))
	many := cert{}
	for i := range 20 {
		many.addresses = append(many.addresses, fmt.Sprintf("user%d@other.test", i))
	}
	many.write(t, filepath.Join(dir, "others.pem"))
	w, options := newWeb(t, "example.com", "example.org")
	startServer(t, block("example.com", smimea(dir, options)))
	kinds := slices.Sorted(maps.Keys(misses()))

	for _, h2 := range []bool{false, true} {
		c := w.client(t)
		transport := c.Transport.(*http.Transport)
		transport.ForceAttemptHTTP2 = h2
		if !h2 {
			transport.TLSClientConfig.NextProtos = []string{"http/1.1"}
		}
		want := ""
		for _, kind := range kinds {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				request, err := http.NewRequest(method, misses()[kind], nil)
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set("If-None-Match", "*")
				request.Header.Set("Accept", "application/x-pem-file")
				response, err := c.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(response.Body)
				response.Body.Close()
				if err != nil {
					t.Fatal(err)
				}
				response.Header.Del("Date")
				if method == http.MethodHead {
					body = []byte("not found\n")
				}
				got := fmt.Sprintf("%s %v %q", response.Status, response.Header, body)
				if want == "" {
					want = got
				}
				if got != want || response.StatusCode != 404 {
					t.Errorf("%s (%s, HTTP/2: %v):\n got %s\nwant %s", kind, method, h2, got, want)
				}
			}
		}
	}

	// What a stranger cannot see is a difference that comes and goes with what the
	// machine does besides: a kind that is told from the others differs every time.
	suspects := kinds
	for try := 0; try < 5 && len(suspects) > 0; try++ {
		suspects = differing(t, w, suspects)
	}
	for _, kind := range suspects {
		t.Errorf("%s takes another time than a file that there never was", kind)
	}
}

// differing asks for what is not to be found, in turns, and returns those of the kinds
// whose median is more than an eighth from that of a file that there never was. Each kind has a connection
// of its own: one that is asked less often answers later, whatever it is asked.
func differing(t *testing.T, w *web, kinds []string) (differ []string) {
	t.Helper()
	const never = "no such file"
	asked := append(slices.DeleteFunc(slices.Clone(kinds), func(kind string) bool { return kind == never }), never)
	clients, times := map[string]*http.Client{}, map[string][]time.Duration{}
	for _, kind := range asked {
		clients[kind] = w.client(t)
		fetch(t, clients[kind], misses()[kind])
	}
	for range 400 {
		rand.Shuffle(len(asked), func(i, j int) { asked[i], asked[j] = asked[j], asked[i] })
		for _, kind := range asked {
			began := time.Now()
			response, _ := fetch(t, clients[kind], misses()[kind])
			times[kind] = append(times[kind], time.Since(began))
			if response.StatusCode != 404 {
				t.Fatalf("%s: %s", kind, response.Status)
			}
		}
	}
	base := quartiles(times[never])
	for _, kind := range kinds {
		q := quartiles(times[kind])
		t.Logf("%-22s %s", kind, q)
		if noise := max((base[2]-base[0])/2, base[1]/8); q[1] > base[1]+noise || q[1] < base[1]-noise {
			differ = append(differ, kind)
		}
	}
	return differ
}

func quartiles(times []time.Duration) [3]time.Duration {
	slices.Sort(times)
	n := len(times)
	return [3]time.Duration{times[n/4], times[n/2], times[3*n/4]}
}

// TestHTTPSMetrics holds that what the host does is counted, and that the metrics'
// names are as Prometheus wants them.
func TestHTTPSMetrics(t *testing.T) {
	dir := t.TempDir()
	users(t, dir, "example.com")
	w, options := newWeb(t, "metrics.test", "example.com")
	startServer(t, block("example.com", smimea(dir, options)))
	before := gather(t)
	for url, n := range map[string]int{fileURL("example.com", "alice.crt"): 3, fileURL("example.com", "nobody.crt"): 2} {
		for range n {
			w.status(t, url)
		}
	}
	w.status(t, fileURL("example.com", "alice.crt"), "-X", "PUT")
	if _, err := (&web{addr: w.addr}).client(t).Get("http://example.com/"); err == nil { // plain HTTP
		t.Error("plain HTTP is answered")
	}
	for metric, least := range map[string]float64{
		`coredns_smimea_https_requests_total{code="200"}`:                  3,
		`coredns_smimea_https_requests_total{code="404"}`:                  2,
		`coredns_smimea_https_requests_total{code="405"}`:                  1,
		`coredns_smimea_https_handshake_errors_total{reason="protocol"}`:   1,
		`coredns_smimea_tls_expiry_timestamp_seconds{name="metrics.test"}`: 1,
	} {
		// It is counted a moment after the client has its answer.
		waitFor(t, fmt.Sprintf("%s, which was %v", metric, before[metric]), func() bool {
			now := gather(t)[metric]
			return now >= least && (now-before[metric] >= least || strings.Contains(metric, "name="))
		})
	}
	var ours bytes.Buffer
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if strings.HasPrefix(family.GetName(), "coredns_smimea_") {
			if _, err := expfmt.MetricFamilyToText(&ours, family); err != nil {
				t.Fatal(err)
			}
		}
	}
	problems, err := promlint.New(&ours).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// gather returns the values of our metrics by name and labels.
func gather(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			values[family.GetName()+"{"+strings.Join(labels, ",")+"}"] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return values
}
