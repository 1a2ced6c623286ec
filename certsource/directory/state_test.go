package directory

import (
	"bytes"
	"maps"
	"testing"
	"time"

	"coredns-smimea/certsource"
)

// restored returns a world that goes on in the directory of another one, with
// what that one knows.
func restored(t *testing.T, w *world) *world {
	t.Helper()
	next := newWorldAt(t, w.dir)
	next.skew = w.skew
	r := next.d.Restore(w.d.Files().Len(), w.d.Files().Weight())
	for path, record := range w.d.Files().Entries() {
		next.must(r.Add(bytes.Clone(path), bytes.Clone(record)))
	}
	r.End(w.d.Device())
	next.served = maps.Clone(w.served)
	next.check()
	return next
}

// TestRestore holds that a Directory that was restored knows what the one before
// did, and reads only what has changed since.
func TestRestore(t *testing.T) {
	w := newWorld(t)
	w.skew = time.Second // settled
	for _, p := range []string{"a.pem", "b.pem", "c.pem", "sub/d.pem", "torn.pem", "soon.pem"} {
		w.write(p)
	}
	w.write("soon.pem", until(w.now().Add(2*time.Hour)))
	w.write("expired.pem", until(w.now().Add(time.Minute)))
	w.write("authority.pem", authority)
	w.put("empty.pem", nil)
	w.look()
	w.put("torn.pem", []byte("torn"))
	w.remove("b.pem") // a number to be used again
	w.look()

	next := restored(t, w)
	next.look()
	if next.changes+next.report.Read > 0 {
		t.Errorf("%d changes, %d files read where nothing has changed", next.changes, next.report.Read)
	}
	next.want("a.pem", "c.pem", "sub/d.pem", "torn.pem", "soon.pem")
	next.wantState("torn.pem", "", certsource.NoCertificate)
	next.wantState("expired.pem", certsource.Expired, "")
	if f, _ := next.d.Files().Get("soon.pem"); f.Digest != w.served["soon.pem"] || len(f.Addresses) != 1 {
		t.Errorf("soon.pem is %+v", f)
	}

	next = restored(t, w)
	next.write("a.pem")
	next.remove("c.pem")
	next.write("e.pem")
	next.look()
	next.want("a.pem", "e.pem", "sub/d.pem", "torn.pem", "soon.pem")
	if next.report.Read != 2 {
		t.Errorf("%d files were read, not 2", next.report.Read)
	}
	if next.served["a.pem"] == w.served["a.pem"] {
		t.Error("a.pem is as it was")
	}

	next = restored(t, next)
	next.skew = 2 * time.Hour
	next.expire(next.now())
	next.want("a.pem", "e.pem", "sub/d.pem", "torn.pem")

	// What the guard holds back it holds back over a restart, too.
	w = guarded(t, 40)
	w.removeRange(0, 30)
	w.look()
	w.wantHeld(30, 40)
	next = restored(t, w)
	next.look()
	next.wantHeld(30, 40)

	// An empty directory is one, too.
	restored(t, newWorld(t)).look()
}

func TestRestoreMalformed(t *testing.T) {
	w := newWorld(t)
	w.write("a.pem")
	w.look()
	var good []byte
	for _, record := range w.d.Files().Entries() {
		good = bytes.Clone(record)
	}
	with := func(at int, octet byte) []byte {
		b := bytes.Clone(good)
		b[at] = octet
		return b
	}
	for what, record := range map[string][]byte{
		"empty": nil, "short": good[:len(good)-1], "long": append(bytes.Clone(good), 9), "no number": append(make([]byte, 4), good[4:]...),
		"a reason that is none": with(atReason, 99), "another": with(atFailing, 99), "not a bool": with(atFlags, 4),
		"a certificate too many": with(atReason, 1), "no certificate": good[:atFlags],
		"ended, and published": with(atFlags, flagEnded), "too many addresses": with(atFlags+ofAddress, 200),
	} {
		if err := New(Options{}).Restore(0, 0).Add([]byte("a.pem"), record); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
	for _, path := range []string{"", "/a.pem", "../a.pem", "a//b.pem", "\xff.pem"} {
		if err := New(Options{}).Restore(0, 0).Add([]byte(path), good); err == nil {
			t.Errorf("path %q: taken", path)
		}
	}
	r := New(Options{}).Restore(0, 0)
	if r.Add([]byte("a.pem"), good) != nil || r.Add([]byte("b.pem"), good) == nil {
		t.Error("a number is taken twice")
	}
}

func FuzzRecord(f *testing.F) {
	one := Certificate{ID: 1, NotAfter: time.Now(), Addresses: []string{"a@example.com", ""}}
	file := File{Certificate: one, More: []Certificate{{ID: 2, NotAfter: time.Now(), Ended: true}}, stamp: 2, Modified: time.Now(), Unused: 3}
	f.Add(file.append(nil))
	file.Reason = certsource.Malformed
	f.Add(file.append(nil))
	f.Fuzz(func(t *testing.T, record []byte) {
		if validRecord(record) {
			file := decodeFile(record)
			if again := file.append(nil); !validRecord(again) || file.ID != recordID(again) {
				t.Errorf("%x becomes %x", record, again)
			}
		}
	})
}
