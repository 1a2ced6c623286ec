package test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestSerial holds what serials are without a state.
func TestSerial(t *testing.T) {
	t.Parallel()
	r := newRestarted(t, false)
	r.write("alice.pem", "alice")
	r.write("sub/bob.pem", "bob")
	// Of what follows within a quarter of a second, a server without a state cannot
	// tell after a restart that it was later.
	past := time.Now().Add(-time.Hour)
	for _, path := range []string{"alice.pem", "sub/bob.pem", "sub", "."} {
		r.must(os.Chtimes(r.at(path), past, past))
	}
	r.start()
	before := r.serials()
	restart := func(what string) {
		t.Helper()
		r.stop(syscall.SIGTERM)
		r.start()
		now := r.serials()
		rose(t, "restarted after: "+what, before, now, false)
		before = now
	}
	step := func(what string, want func() map[string]string) {
		t.Helper()
		r.waitFor(what, want())
		now := r.serials()
		rose(t, what, before, now, false)
		if now[0] == before[0] { // the other one has no change where the URL is the same
			t.Errorf("%s: serial %d as before", what, now[0])
		}
		before = now
		restart(what)
	}
	restart("nothing")
	type want = map[string]string
	step("created", func() want { return want{"carol": r.write("carol.pem", "carol")} })
	step("rewritten", func() want { return want{"carol": r.write("carol.pem", "carol")} })
	step("renamed over", func() want {
		data := r.write(".carol", "carol")
		r.rename(".carol", "carol.pem")
		return want{"carol": data}
	})
	step("an old file moved in", func() want {
		data := r.write(".dave", "dave")
		long := time.Now().AddDate(-20, 0, 0)
		r.must(os.Chtimes(r.at(".dave"), long, long))
		r.rename(".dave", "dave.pem")
		return want{"dave": data}
	})
	step("deleted", func() want { r.remove("carol.pem"); return want{"carol": gone} })
	step("the last of a directory deleted", func() want { r.remove("sub/bob.pem"); return want{"bob": gone} })
	step("a directory deleted", func() want { r.remove("sub"); return want{"alice": r.write("alice.pem", "alice")} })
	step("refused", func() want {
		cert{addresses: []string{"alice@example.com"}, ca: true}.write(t, r.at("alice.pem"))
		return want{"alice": gone}
	})
	r.options = "ttl 1s"
	restart("another TTL")
	step("expired", func() want {
		r.write("alice.pem", "alice")
		r.ending("gina.pem", "gina", time.Second, func() { before = r.serials() })
		return want{"gina": gone}
	})
	// A file of a time to come tells nothing of the past.
	future := time.Now().AddDate(1, 0, 0)
	r.must(os.Chtimes(r.at("alice.pem"), future, future))
	restart("a time to come")
	if now := r.serials(); int32(now[0]-uint32(time.Now().Unix()*4)) > 40 {
		t.Errorf("serial %d is one of a time to come", now[0])
	}

	// Other things do not raise it.
	r.must(os.WriteFile(r.at("notes.txt"), []byte("notes"), 0o644))
	data, err := os.ReadFile(r.at("dave.pem"))
	r.must(err)
	r.must(os.WriteFile(r.at("dave.pem"), data, 0o644))
	r.must(os.WriteFile(r.at("torn.pem"), []byte("-----BEGIN CERT"), 0o644))
	r.must(os.Chmod(r.at("dave.pem"), 0o600))
	waitFor(t, "them to be seen", func() bool { return strings.Contains(r.log.String(), "torn.pem") })
	if now := r.serials(); now != before {
		t.Errorf("without a change: serials %d after %d", now, before)
	}
}

// TestReplicas holds that servers of equal directories have equal serials.
func TestReplicas(t *testing.T) {
	t.Parallel()
	a, b := &liveDir{T: t, dir: filepath.Join(t.TempDir(), "a")}, &liveDir{T: t, dir: filepath.Join(t.TempDir(), "b")}
	a.write("alice.pem", "alice")
	a.write("sub/bob.pem", "bob")
	a.write("sub/gone.pem", "gone")
	a.remove("sub/gone.pem")
	tick(t, time.Second) // another copy of another time
	command(t, "cp", "-a", a.dir, b.dir)
	for _, l := range []*liveDir{a, b} {
		l.addr = startServer(t, block("_smimecert.example.com _smime.example.com", "smimea "+l.dir+" {\nreload 1h\n}")).addr
	}
	equal := func(what string) {
		t.Helper()
		for _, zone := range []string{"_smimecert.example.com.", "_smime.example.com."} {
			if x, y := a.serial(zone), b.serial(zone); x != y {
				t.Errorf("%s: %s has the serials %d and %d", what, zone, x, y)
			}
		}
	}
	equal("equal copies")
	for _, what := range []string{"created", "rewritten", "rewritten again"} {
		data := a.write("carol.pem", "carol")
		a.waitFor(what, map[string]string{"carol": data})
		// As rsync -t does it: beside its place, with its time, then renamed.
		command(t, "cp", "-p", a.at("carol.pem"), b.at(".carol.pem.Xyz"))
		b.rename(".carol.pem.Xyz", "carol.pem")
		b.waitFor(what, map[string]string{"carol": data})
		equal(what)
		tick(t, serialTick)
	}
}

// TestSerialOfConfiguration changes the Corefile of a running server: whatever
// it publishes after it, the serial has risen if it is something else.
func TestSerialOfConfiguration(t *testing.T) {
	l := &liveDir{T: t, dir: t.TempDir()}
	other := &liveDir{T: t, dir: t.TempDir()}
	l.write("alice.pem", "alice")
	other.write("old.pem", "old")
	old := time.Now().AddDate(-1, 0, 0)
	other.must(os.Chtimes(other.at("old.pem"), old, old))
	other.must(os.Chtimes(other.dir, old, old))
	corefile := func(dir, options string) string { return block("example.com", "smimea "+dir+" {\n"+options+"\n}") }
	i := startInstance(t, corefile(l.dir, ""))
	l.addr = i.addr
	serial := func() uint32 {
		m, _ := ask(t, l.addr, question{name: "example.com.", qtype: dns.TypeSOA})
		return m.Answer[0].(*dns.SOA).Serial
	}
	before := serial()
	for _, step := range []struct {
		what, corefile string
		same           bool
	}{
		{"nothing", corefile(l.dir, ""), true},
		{"how often to look", corefile(l.dir, "reload 1h"), true},
		{"records", corefile(l.dir, "record 3 0 1"), false},
		{"records back", corefile(l.dir, ""), false},
		{"URLs", corefile(l.dir, "url https://x.example/{file}"), false},
		{"no URLs", corefile(l.dir, "url off"), false},
		{"TTL", corefile(l.dir, "url off\nttl 60"), false},
		{"mbox", corefile(l.dir, "url off\nttl 60\nmbox a.example.com"), false},
		{"an older directory", corefile(other.dir, ""), false},
		{"back", corefile(l.dir, ""), false},
	} {
		if err := i.reload(step.corefile); err != nil {
			t.Fatal(err)
		}
		now := serial()
		if d := int32(now - before); d < 0 || step.same != (d == 0) {
			t.Errorf("%s: serial %d after %d", step.what, now, before)
		}
		before = now
	}
}
