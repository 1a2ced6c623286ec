package test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestRenewedInPlace holds that a certificate that is overwritten stays in the DNS and
// in HASH.p7c for one TTL, over a restart too, and goes at once with its file; and that
// a torn file's certificate is given out as long as the DNS has it.
func TestRenewedInPlace(t *testing.T) {
	t.Parallel()
	r := newRestarted(t, true)
	w, options := newWeb(t, "bridge.test", "example.com")
	r.options = "ttl 1h\n" + options // which is longer than anything here takes
	inPlace, renamed := r.write("inplace.pem", "inplace"), r.write("renamed.pem", "renamed")
	r.write("removed.pem", "removed")
	torn := r.write("torn.pem", "torn")
	r.write("ends.pem", "ends")
	old := map[string][]byte{"inplace": derOf(t, r.at("inplace.pem")), "renamed": derOf(t, r.at("renamed.pem"))}
	r.start()

	both := func(a, b string) string { return sorted(a + " " + b) }
	serves := func(what, local, data string) {
		t.Helper()
		waitFor(t, what+" of "+local, func() bool { return sorted(r.served(local)) == data })
	}
	// given is what HASH.p7c has, and what HASH.crt is.
	client := w.client(t)
	given := func(local string, want ...[]byte) {
		t.Helper()
		response, chain := fetch(t, client, hashURL("example.com", local, ".p7c"))
		if response.StatusCode != http.StatusOK {
			t.Fatalf("the certificates of %s: %s", local, response.Status)
		}
		for _, der := range want {
			if !bytes.Contains(chain, der) {
				t.Errorf("HASH.p7c of %s lacks a certificate", local)
			}
		}
		if _, best := fetch(t, client, hashURL("example.com", local, ".crt")); !bytes.Equal(best, want[0]) {
			t.Errorf("HASH.crt of %s is not the new one", local)
		}
	}
	nextInPlace := r.write("inplace.pem", "inplace")
	nextRenamed := r.write(".renamed", "renamed")
	r.rename(".renamed", "renamed.pem")
	r.write("removed.pem", "removed")
	r.must(os.WriteFile(r.at("torn.pem"), []byte("-----BEGIN CERTIFICATE-----\nMII"), 0o644))
	// check holds all that is to be while both are there.
	check := func(when string) {
		t.Helper()
		serves("both, "+when+",", "inplace", both(inPlace, nextInPlace))
		serves("both, "+when+",", "renamed", both(renamed, nextRenamed))
		for local := range old {
			given(local, derOf(t, r.at(local+".pem")), old[local])
		}
		serves("the last good one, "+when+",", "torn", torn)
		if response, _ := fetch(t, client, hashURL("example.com", "torn", ".crt")); response.StatusCode != http.StatusOK {
			t.Errorf("a torn file that is published, %s: %s", when, response.Status)
		}
	}
	again := func() {
		t.Helper()
		r.stop(syscall.SIGTERM)
		client.CloseIdleConnections()
		r.start()
	}
	check("at first")
	waitFor(t, "two of removed", func() bool { return len(strings.Fields(r.served("removed"))) == 2 })
	r.remove("removed.pem")
	serves("nothing", "removed", gone)
	again()
	check("after a restart")

	// The end, with a restart on the way to it. What was bridged for an hour stays.
	r.options = "ttl 15s\n" + options
	again()
	next := r.write("ends.pem", "ends")
	waitFor(t, "the new one", func() bool { return slices.Contains(strings.Fields(r.served("ends")), next) })
	again()
	serves("the new one alone, in the end,", "ends", next)
	given("ends", derOf(t, r.at("ends.pem")))
	check("in the end")
	if left, _ := filepath.Glob(r.state + ".aside*"); len(left) > 0 {
		t.Errorf("a state was set aside: %q\n%s", left, r.log)
	}
}
