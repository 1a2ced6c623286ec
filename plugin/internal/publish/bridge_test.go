package publish

import (
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"coredns-smimea/internal/disk/fake"
	"coredns-smimea/internal/testcert"
	"coredns-smimea/plugin/internal/served"
	"coredns-smimea/smimea"
	"coredns-smimea/smimea/zone"
)

// aWorld is a publisher in a world in memory, whose methods a test calls one by one.
type aWorld struct {
	*testing.T
	*Publisher
	machine *fake.Machine
}

func newWorld(t *testing.T) *aWorld {
	w := &aWorld{T: t, machine: fake.New(time.Now())}
	w.must(w.machine.MkdirAll("/certs"))
	c := aConfig(t, "/certs", "example.com")
	c.State, c.Unwatched, c.MaxWithdraw, c.Paths = filepath.Join(t.TempDir(), "state"), true, 100, true
	w.begin(c)
	return w
}

// begin begins anew, with what the state has.
func (w *aWorld) begin(c Config) {
	world := Real()
	world.System, world.Workers = w.machine, 1
	w.Publisher = newPublisher(c, world)
	w.Publisher.begin(w.Context(), nil)
}

func (w *aWorld) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// certificate returns a new certificate, PEM and DER, that ends after some time.
func (w *aWorld) certificate(lasts time.Duration, addresses ...string) (text, der []byte) {
	w.Helper()
	path := filepath.Join(w.TempDir(), "user.pem")
	w.must(testcert.Write(path, testcert.Template{Addresses: addresses, NotAfter: w.machine.Now().Add(lasts)}))
	text, err := os.ReadFile(path)
	w.must(err)
	block, _ := pem.Decode(text)
	return text, block.Bytes
}

// write writes a file, and has it looked at when that has settled.
func (w *aWorld) write(path string, text []byte) {
	w.Helper()
	w.must(w.machine.WriteFile("/certs/"+path, text))
	w.settle()
}

// settle has everything looked at until nothing is about to change.
func (w *aWorld) settle() {
	for range 4 {
		w.machine.Pass(10 * time.Second)
		w.look(w.Context())
	}
}

// records returns how many SMIMEA records a user has, and whether there is a TXT.
func (w *aWorld) records(local string) (certs int, text bool) {
	w.Helper()
	a := smimea.Address{Local: local, Domain: "example.com"}
	files := map[uint32]bool{}
	for id := range w.Zone(0).Files(a.Hash()) {
		files[id] = true
	}
	return len(files), w.Zone(1).Owners(zone.Texts) > 0
}

// bridged returns the digests of what is bridged for a user.
func (w *aWorld) bridged(local string) (digests [][32]byte) {
	a := smimea.Address{Local: local, Domain: "example.com"}
	for id := range w.Zone(0).Files(a.Hash()) {
		if b, ok := w.Snapshot().Bridged(id); ok && !slices.Contains(digests, b.Digest) {
			digests = append(digests, b.Digest)
		}
	}
	return digests
}

func (w *aWorld) expect(what string, local string, certs int, bridged ...[]byte) {
	w.Helper()
	if got, _ := w.records(local); got != certs {
		w.Errorf("%s: %d certificates, want %d", what, got, certs)
	}
	digests := w.bridged(local)
	for _, der := range bridged {
		digest := sha256.Sum256(der)
		if !slices.Contains(digests, digest) {
			w.Errorf("%s: %x is not bridged", what, digest[:4])
		}
		if got, ok := w.Octets().Get(digest); !ok || string(got) != string(der) {
			w.Errorf("%s: the octets of what is bridged are not held", what)
		}
	}
	if len(digests) != len(bridged) {
		w.Errorf("%s: %d are bridged, want %d", what, len(digests), len(bridged))
	}
}

// TestBridge holds that a certificate whose file is overwritten with another one of
// the same user stays for one TTL, also over a restart, and no longer.
func TestBridge(t *testing.T) {
	const year = 365 * 24 * time.Hour
	w := newWorld(t)
	a, derA := w.certificate(year, "alice@example.com", "al@example.com")
	b, derB := w.certificate(year, "alice@example.com")
	w.write("alice.pem", a)
	w.expect("at first", "alice", 1)
	w.write("alice.pem", b)
	w.expect("overwritten", "alice", 2, derA)
	w.expect("an address that the next one has not", "al", 0)
	if end := w.nextExpiry(); end.Sub(w.machine.Now()) > time.Hour {
		t.Errorf("the next event is %v away", end.Sub(w.machine.Now()))
	}

	w.saver.save()
	w.saver.end(<-w.saver.ended())
	w.begin(w.config)
	w.expect("restarted, before the first look", "alice", 2, derA)
	w.settle()
	w.expect("restarted", "alice", 2, derA)

	w.write("alice.pem", a)
	w.expect("back again", "alice", 2, derB)
	w.machine.Pass(time.Hour)
	w.expire(t.Context())
	w.expect("a TTL later", "alice", 1)
	if !w.nextBridgeEnd().IsZero() {
		t.Error("something ends that is not there")
	}

	w.write("alice.pem", b)
	w.must(w.machine.RemoveAll("/certs/alice.pem"))
	w.settle()
	w.expect("removed", "alice", 0)

	other, _ := w.certificate(year, "carol@example.com")
	w.write("alice.pem", a)
	w.write("alice.pem", other)
	w.expect("of another user", "alice", 0)

	short, derShort := w.certificate(90*time.Minute, "dave@example.com")
	long, _ := w.certificate(year, "dave@example.com")
	w.write("dave.pem", short)
	w.write("dave.pem", long)
	w.expect("near its end", "dave", 2, derShort)
	w.machine.Pass(31 * time.Minute)
	w.expire(t.Context())
	w.expect("within a TTL of its end", "dave", 1)

	for range 2 * maxBridges {
		next, _ := w.certificate(year, "erin@example.com")
		w.write("erin.pem", next)
	}
	if n, _ := w.records("erin"); n != 1+maxBridges {
		t.Errorf("overwritten often: %d certificates", n)
	}
}

// TestTorn holds that the URL of a file that is torn, and stays published, is
// withdrawn if its octets are not held, and comes back with the file.
func TestTorn(t *testing.T) {
	for what, budget := range map[string]int{"held": octetsBudget, "not held": 0} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.octets.budget = budget
			text, der := w.certificate(1000*time.Hour, "alice@example.com")
			w.write("alice.pem", text)
			check := func(what string, named bool) {
				t.Helper()
				if n, got := w.records("alice"); n != 1 || got != named {
					t.Errorf("%s: %d certificates, and a URL %v", what, n, got)
				}
			}
			check("whole", true)
			w.write("alice.pem", text[:len(text)/2])
			check("torn", budget > 0)
			if got, ok := w.Octets().Get(sha256.Sum256(der)); ok != (budget > 0) || ok && string(got) != string(der) {
				t.Errorf("held: %v", ok)
			}
			w.saver.save()
			w.saver.end(<-w.saver.ended())
			w.begin(w.config)
			w.octets.budget = budget
			check("restarted", budget > 0)
			w.write("alice.pem", text)
			check("whole again", true)
			if len(w.torn.pinned)+len(w.torn.nameless) > 0 {
				t.Errorf("still torn: %+v", w.torn)
			}
		})
	}
}

// TestHeldBackGivenOut holds the same of files that are gone, and whose withdrawal is held
// back; none of them is read when they are back.
func TestHeldBackGivenOut(t *testing.T) {
	const users = 30
	for what, budget := range map[string]int{"held": octetsBudget, "not held": 0} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.config.MaxWithdraw, w.config.Reload = 20, time.Hour
			w.begin(w.config)
			w.octets.budget = budget
			w.must(w.machine.MkdirAll("/certs/a"))
			var der []byte
			for n := range users {
				var text []byte
				text, der = w.certificate(1000*time.Hour, fmt.Sprintf("user%d@example.com", n))
				w.must(w.machine.WriteFile(fmt.Sprintf("/certs/a/user%d.pem", n), text))
			}
			w.settle()
			check := func(what string, named, failing int) {
				t.Helper()
				certs, texts := w.Zone(0).Owners(zone.Certs), w.Zone(1).Owners(zone.Texts)
				if certs != users || texts != named || len(w.directory.Failing()) > 0 != (failing > 0) {
					t.Errorf("%s: %d users, %d URLs, want %d; failing: %v", what, certs, texts, named, w.directory.Failing())
				}
				if _, ok := w.Octets().Get(sha256.Sum256(der)); named > 0 && failing > 0 && !ok {
					t.Errorf("%s: what has a URL is not given out", what)
				}
			}
			check("there", users, 0)
			named := 0
			if budget > 0 {
				named = users
			}
			w.must(w.machine.Rename("/certs/a", "/certs/.a"))
			w.settle()
			check("gone", named, users)
			w.saver.save()
			w.saver.end(<-w.saver.ended())
			w.begin(w.config)
			w.octets.budget = budget
			check("restarted", named, users)
			w.settle()
			check("looked at again", named, users)
			w.must(w.machine.Rename("/certs/.a", "/certs/a"))
			reads := 0
			w.machine.Before = func(call, name string) error {
				if call == "read" {
					reads++
				}
				return nil
			}
			w.settle()
			check("back", users, 0)
			if reads > 0 || len(w.torn.pinned)+len(w.torn.nameless) > 0 {
				t.Errorf("%d reads, still torn: %+v", reads, w.torn)
			}
		})
	}
}

// TestOctets holds that no more is held than the budget, that what is pinned stays,
// and that what was read last does.
func TestOctets(t *testing.T) {
	o := newOctets(3)
	put := func(b byte, renew bool) [32]byte {
		digest := sha256.Sum256([]byte{b})
		o.put(digest, []byte{b}, renew)
		return digest
	}
	a, b := put('a', true), put('b', true)
	if !o.pin(a) {
		t.Fatal("it is not held")
	}
	for _, c := range []byte("cdefg") {
		put(c, true)
	}
	if _, ok := o.Get(a); !ok {
		t.Error("what is pinned is gone")
	}
	if _, ok := o.Get(b); ok || o.size > o.budget || len(o.held) != 3 {
		t.Errorf("%d octets, %d certificates", o.size, len(o.held))
	}
	h := put('h', false)
	if _, ok := o.Get(h); ok {
		t.Error("something has given way that was not to")
	}
	o.unpin(a)
	for _, c := range []byte("ijk") {
		put(c, true)
	}
	if _, ok := o.Get(a); ok {
		t.Error("what is pinned no more stays")
	}
}

// TestBridgeWithoutState holds that a server that begins without a state, and so without
// what was bridged, has a later serial than one that bridges: its records are others.
func TestBridgeWithoutState(t *testing.T) {
	w := newWorld(t)
	c := w.config
	c.State = ""
	served.Forget()
	w.begin(c)
	one, _ := w.certificate(240*time.Hour, "user@example.com")
	two, _ := w.certificate(240*time.Hour, "user@example.com")
	w.write("user.pem", one)
	w.write("user.pem", two)
	if certs, _ := w.records("user"); certs != 2 {
		t.Fatalf("%d certificates, want the new one and the bridged one", certs)
	}
	bridging := w.Zone(0).Serial
	served.Forget()
	w.begin(c)
	w.settle()
	if certs, _ := w.records("user"); certs != 1 || !served.Later(w.Zone(0).Serial, bridging) {
		t.Errorf("%d certificates with serial %d, want one, and later than %d", certs, w.Zone(0).Serial, bridging)
	}
}
