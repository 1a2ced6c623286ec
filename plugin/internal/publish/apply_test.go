package publish

import (
	"bytes"
	golog "log"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestForeign holds what the log says of files with certificates of other domains: one
// that is published in part is not said to be left out, and certificates are counted, not
// files.
func TestForeign(t *testing.T) {
	var lines bytes.Buffer
	golog.SetOutput(&lines)
	defer golog.SetOutput(os.Stderr)
	w := newWorld(t)
	said := func(what string, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(lines.String(), part) {
				t.Errorf("%s: the log has no %s:\n%s", what, part, &lines)
			}
		}
		if strings.Contains(lines.String(), "Skipping") != strings.Contains(what, "skipped") {
			t.Errorf("%s: the log has\n%s", what, &lines)
		}
		lines.Reset()
	}
	of := func(addresses ...string) []byte {
		var files [][]byte
		for _, address := range addresses {
			text, _ := w.certificate(1000*time.Hour, address)
			files = append(files, text)
		}
		return slices.Concat(files...)
	}
	w.settle()
	lines.Reset()
	w.write("part.pem", of("a@example.com", "a@example.org", "b@example.org"))
	said("part", `Of "part.pem" a part is not published: certificates without an address in the zones of this block (2)`, "Published 1 certificates", ", 1 added")
	w.write("ours.pem", of("c@example.com", "d@example.com", "e@example.com"))
	said("ours", "Published 4 certificates", ", 3 added")
	w.write("foreign.pem", of("f@example.org", "g@example.org"))
	said("skipped", `Skipping "foreign.pem": none of its addresses is in the zones of this block`)
	w.must(w.machine.RemoveAll("/certs/ours.pem"))
	w.settle()
	said("removed", "Published 1 certificates", ", 3 withdrawn")
}
