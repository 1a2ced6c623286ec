package test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestRenewedInPlace holds that a certificate that is overwritten stays in the DNS and
// in HASH.p7c for one TTL, over a restart too, and goes at once with its file; and that
// a torn file's certificate is given out as long as the DNS has it.
func TestRenewedInPlace(t *testing.T) {
	t.Parallel()
	r := newRestarted(t, true)
	w, options := newWeb(t, "bridge.test", "example.com")
	r.options = "ttl 20s\n" + options
	inPlace, renamed := r.write("inplace.pem", "inplace"), r.write("renamed.pem", "renamed")
	r.write("removed.pem", "removed")
	torn := r.write("torn.pem", "torn")
	old := map[string][]byte{"inplace": derOf(t, r.at("inplace.pem")), "renamed": derOf(t, r.at("renamed.pem"))}
	r.start()
	r.settled()

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
	serves("both", "inplace", both(inPlace, nextInPlace))
	serves("both", "renamed", both(renamed, nextRenamed))
	for local := range old {
		given(local, derOf(t, r.at(local+".pem")), old[local])
	}
	waitFor(t, "two of removed", func() bool { return len(strings.Fields(r.served("removed"))) == 2 })
	r.remove("removed.pem")
	began := time.Now()
	serves("nothing", "removed", gone)
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("what was removed on purpose went after %v", took)
	}
	serves("the last good one", "torn", torn)
	if response, _ := fetch(t, client, hashURL("example.com", "torn", ".crt")); response.StatusCode != http.StatusOK {
		t.Errorf("a torn file that is published: %s", response.Status)
	}
	serves("the new one alone, in the end,", "inplace", nextInPlace)
	serves("the new one alone, in the end,", "renamed", nextRenamed)
	given("inplace", derOf(t, r.at("inplace.pem")))

	// A restart in the middle.
	r.stop(syscall.SIGTERM)
	r.options = "ttl 40s\n" + options
	r.start()
	r.settled()
	before := derOf(t, r.at("inplace.pem"))
	third := r.write("inplace.pem", "inplace")
	serves("both", "inplace", both(nextInPlace, third))
	r.stop(syscall.SIGTERM)
	client.CloseIdleConnections()
	r.start()
	serves("both, after a restart,", "inplace", both(nextInPlace, third))
	given("inplace", derOf(t, r.at("inplace.pem")), before)
	if response, _ := fetch(t, client, hashURL("example.com", "torn", ".crt")); response.StatusCode != http.StatusOK {
		t.Errorf("a torn file that is published, after a restart: %s", response.Status)
	}
	waitLong(t, "the new one alone", 90*time.Second, func() bool { return r.served("inplace") == third })
	if left, _ := filepath.Glob(r.state + ".aside*"); len(left) > 0 {
		t.Errorf("a state was set aside: %q\n%s", left, r.log)
	}
}
