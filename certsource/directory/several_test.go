package directory

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"coredns-smimea/certsource"
	"coredns-smimea/internal/testcert"
)

// TestSeveral holds what becomes of a file with several certificates, as they come,
// end, and go.
func TestSeveral(t *testing.T) {
	w := newWorld(t)
	start := w.now().Truncate(time.Second)
	made := func(address string, ends time.Duration) []byte {
		der, err := testcert.Template{Addresses: []string{address}, NotAfter: start.Add(ends)}.DER()
		if err != nil {
			t.Fatal(err)
		}
		return testcert.PEM(der)
	}
	first, second, third := made("a@example.com", 3*time.Hour), made("b@example.com", 5*time.Hour), made("a@example.com", 100*time.Hour)
	put := func(parts ...[]byte) { w.put("all.pem", bytes.Join(parts, nil)); w.skew += time.Second }
	live := func(n int, reason, failing certsource.Reason) {
		t.Helper()
		w.wantState("all.pem", reason, failing)
		if f, _ := w.d.Files().Get("all.pem"); f.live() != n {
			t.Errorf("%d are published, want %d", f.live(), n)
		}
	}
	ids := func() (list []uint32) {
		f, _ := w.d.Files().Get("all.pem")
		for _, c := range f.Certificates() {
			list = append(list, c.ID)
		}
		return list
	}

	put(first)
	w.look()
	live(1, "", "")
	before := ids()
	// One is added, and half of one.
	put(first, second)
	w.look()
	live(2, "", "")
	if now := ids(); len(now) != 2 || now[0] != before[0] {
		t.Errorf("the numbers %v became %v", before, now)
	}
	put(first, second, third[:100])
	w.look()
	live(2, "", certsource.Malformed)
	put(first, second, third)
	w.look()
	live(3, "", "")

	// They end one after the other; nothing is read for that.
	w.skew = time.Until(start.Add(2*time.Hour)) + time.Second
	if next := w.d.NextExpiry(); !next.Equal(start.Add(2 * time.Hour)) {
		t.Errorf("the first ends at %v", next)
	}
	w.expire(w.now())
	live(2, "", "")
	w.look()
	if w.report.Read != 0 {
		t.Error("it was read again")
	}
	next := restored(t, w)
	next.look()
	if next.changes+next.report.Read > 0 {
		t.Error("a restored directory reads it again")
	}
	w.skew = time.Until(start.Add(4*time.Hour)) + time.Second
	w.expire(w.now())
	live(1, "", "")
	// The clock goes back.
	w.skew = time.Until(start.Add(time.Minute))
	w.look()
	live(3, "", "")

	// A file that is shorter than it was may be written just now.
	put(third)
	w.look()
	live(3, "", "")
	if !slices.Contains(w.report.Unsettled, "all.pem") {
		t.Error("it is not looked at again soon")
	}
	w.skew += patience + time.Second
	w.look()
	w.look()
	live(1, "", "")
	put(made("c@example.com", 100*time.Hour), made("d@example.com", 100*time.Hour))
	w.look()
	w.skew += patience + time.Second
	w.look()
	live(2, "", "")
	w.remove("all.pem")
	w.look()
	w.skew += patience + time.Second
	w.look()
	w.want()
}
