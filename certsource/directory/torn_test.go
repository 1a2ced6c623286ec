package directory

import (
	"slices"
	"strings"
	"testing"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/internal/testcert"
)

// TestTorn holds that a file that cannot be read as a certificate keeps what it
// published, and that one that can, or is none any more, does not.
func TestTorn(t *testing.T) {
	whole, digest := cert(t, "a@example.com")
	for what, torn := range map[string][]byte{
		"empty": nil, "half": whole[:len(whole)/2], "one octet": whole[:1], "all but one line": whole[:len(whole)-30],
		"rubbish": []byte("rubbish"), "large": make([]byte, certsource.MaxFileSize+1),
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.put("a.pem", whole)
			w.look()
			w.put("a.pem", torn)
			w.look()
			w.want("a.pem")
			if w.served["a.pem"] != digest {
				t.Error("it publishes something else")
			}
			if f, _ := w.d.Files().Get("a.pem"); f.Failing == "" || len(w.d.Failing()) != 1 {
				t.Errorf("it does not show: %v", w.d.Failing())
			}
			w.look()
			w.want("a.pem")
			next := w.write("a.pem")
			w.look()
			w.want("a.pem")
			w.wantState("a.pem", "", "")
			if w.served["a.pem"] != next {
				t.Error("the next certificate is not published")
			}
			w.put("a.pem", torn)
			w.look()
			w.remove("a.pem")
			w.look()
			w.want()
			// What is new and torn is not published, and then is.
			w.put("b.pem", torn)
			w.look()
			w.want()
			w.put("b.pem", whole)
			w.look()
			w.want("b.pem")
		})
	}
	noAddress := func(t *testcert.Template) { t.Addresses = nil }
	expired := func(t *testcert.Template) {
		t.NotBefore, t.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	}
	within := func(t *testcert.Template) { t.NotAfter = time.Now().Add(time.Minute) }
	// What is whole and may not be published replaces it once it has stayed.
	for reason, do := range map[string]func(w *world){
		string(certsource.Authority):           func(w *world) { w.write("a.pem", authority) },
		string(certsource.NoAddress):           func(w *world) { w.write("a.pem", noAddress) },
		string(certsource.Expired):             func(w *world) { w.write("a.pem", expired) },
		string(certsource.Expired) + " in TTL": func(w *world) { w.write("a.pem", within) },
		string(certsource.Outside):             func(w *world) { w.remove("a.pem"); w.link("/etc/hostname", "a.pem") },
		string(certsource.Outside) + " dang":   func(w *world) { w.remove("a.pem"); w.link("nobody.pem", "a.pem") },
		string(certsource.Outside) + " loop":   func(w *world) { w.remove("a.pem"); w.link("a.pem", "a.pem") },
	} {
		t.Run(reason, func(t *testing.T) {
			w := newWorld(t)
			w.put("a.pem", whole)
			w.look()
			do(w)
			why := certsource.Reason(strings.Fields(reason)[0])
			for range 2 { // it may be so for a moment only
				w.look()
				w.want("a.pem")
				w.wantState("a.pem", "", why)
			}
			if !slices.Contains(w.report.Unsettled, "a.pem") {
				t.Error("it is not looked at again soon")
			}
			w.skew += patience
			w.checkPaths("a.pem")
			w.want()
			w.wantState("a.pem", why, "")
			w.look()
			w.want()
			w.remove("a.pem")
			w.put("a.pem", whole)
			w.look()
			w.want("a.pem")
		})
	}
}
