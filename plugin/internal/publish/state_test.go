package publish

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"coredns-smimea/certsource/directory"
	"coredns-smimea/internal/statefile"
	"coredns-smimea/internal/testcert"
	"coredns-smimea/smimea"
	"coredns-smimea/smimea/zone"
)

// away moves a directory away, and returns what brings it back.
func away(t *testing.T, dir string) (back func()) {
	t.Helper()
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := os.Rename(dir+".away", dir); err != nil {
			t.Fatal(err)
		}
	}
}

// wantAll wants all zones to be served, with at least so many owners each.
func wantAll(t *testing.T, p *Publisher, owners int) {
	t.Helper()
	s := p.Snapshot()
	if s == nil {
		t.Fatal("nothing is published")
	}
	for i, z := range s.Zones {
		if z == nil || z.Owners(zone.Tree(i%2)) < owners {
			t.Errorf("zone %d has been published without what is in it: %v", i, z)
		}
	}
	select {
	case <-p.ready:
	default:
		t.Error("published, but not ready")
	}
}

// failingDirectory is a Directory whose next looks fail in their midst, as when the disk does.
type failingDirectory struct {
	Directory
	looks int
}

func (d *failingDirectory) Look(ctx context.Context, now time.Time, changed func(directory.Change)) (directory.Report, error) {
	if d.looks--; d.looks < 0 {
		return d.Directory.Look(ctx, now, changed)
	}
	d.Directory.Check(ctx, []string{"0/user1.pem"}, now, changed) // a part is seen
	return directory.Report{}, errors.New("input/output error")
}

// TestBeforeTheFirstLook holds that until a look at everything has succeeded every
// event leads to another one: nothing is published of a part of the directory, and
// so nobody is denied who has not been looked for.
func TestBeforeTheFirstLook(t *testing.T) {
	const users = 30
	dir := filepath.Join(t.TempDir(), "certs")
	first := aPublisher(t, dir, users)
	first.look(t.Context())
	first.saver.finish()
	for _, kept := range []string{"nothing", "a stale state", "a clean state"} {
		for what, events := range map[string]func(p *Publisher){
			"a file is heard of": func(p *Publisher) { p.check(t.Context(), []string{"0/user3.pem"}) },
			"time passes":        func(p *Publisher) { p.expire(t.Context()) },
			"signatures come":    func(p *Publisher) { p.keep() },
			"keys change":        func(p *Publisher) { p.adopt() },
			"a look fails":       func(p *Publisher) { p.look(t.Context()) },
		} {
			t.Run(kept+", "+what, func(t *testing.T) {
				c := aConfig(t, dir, "example.com")
				if kept == "nothing" {
					c.State = ""
				}
				p := newPublisher(c, Real())
				if kept != "nothing" {
					if err := p.saver.path.Mark(statefile.Mark{Clean: kept == "a clean state"}); err != nil {
						t.Fatal(err)
					}
				}
				back := away(t, dir)
				p.begin(t.Context(), nil)
				p.look(t.Context())
				events(p)
				if served := p.Snapshot() != nil; served != (kept == "a clean state") {
					t.Errorf("in state %v something is served: %v", p.State(), served)
				}
				back()
				p.directory = &failingDirectory{p.directory, 1}
				p.look(t.Context())
				events(p)
				p.check(t.Context(), []string{"0/user3.pem"})
				wantAll(t, p, users)
				if p.State() != Serving {
					t.Errorf("the state is %v", p.State())
				}
			})
		}
	}
}

// TestTransitions holds that no event leads to a state that is not drawn, and what
// pauses there are in each.
func TestTransitions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	p := aPublisher(t, dir, 40)
	want := func(s State) {
		t.Helper()
		if p.State() != s {
			t.Fatalf("the state is %v, want %v", p.State(), s)
		}
	}
	want(Unread)
	p.look(t.Context())
	want(Serving)
	back := away(t, dir)
	p.look(t.Context())
	want(Gone)
	p.check(t.Context(), []string{"0/user1.pem"})
	want(Gone)
	back()
	if err := os.Rename(filepath.Join(dir, "0"), dir+".0"); err != nil {
		t.Fatal(err)
	}
	p.look(t.Context())
	want(HeldBack)
	wantAll(t, p, 40)
	back = away(t, dir)
	p.look(t.Context())
	want(Gone)
	back()
	p.look(t.Context())
	want(HeldBack)
	if err := os.Rename(dir+".0", filepath.Join(dir, "0")); err != nil {
		t.Fatal(err)
	}
	p.look(t.Context())
	want(Serving)
	p.saver.finish()

	p = newPublisher(aConfig(t, dir, "example.com"), Real())
	p.begin(t.Context(), nil)
	want(Restored)
	back = away(t, dir)
	p.look(t.Context())
	want(Restored)
	back()
	p.look(t.Context())
	want(Serving)
	p.enter(Leaving)
	want(Leaving)
	for from, list := range transitions {
		for _, to := range list {
			if State(from) == to || State(from) == Leaving || to == Unread {
				t.Errorf("%v to %v is drawn", State(from), to)
			}
		}
	}
}

// successor returns what a reload makes of a publisher.
func successor(t *testing.T, old *Publisher, c Config) *Publisher {
	t.Helper()
	if c.Key() == old.config.Key() {
		t.Fatal("the publisher would be taken over whole")
	}
	if c.readKey() != old.config.readKey() {
		t.Fatal("what was read is of no use to the next one")
	}
	p := newPublisher(c, Real())
	p.begin(t.Context(), &predecessor{old.config, old.Snapshot(), nil})
	return p
}

// TestSuccessor holds that what protects what is served outlives a change of the
// configuration: withdrawals that are held back stay so, a torn file keeps what it
// had, and a directory that is not mounted withdraws nobody.
func TestSuccessor(t *testing.T) {
	const users = 40
	another := map[string]func(c *Config, dir string){
		"ttl": func(c *Config, _ string) {
			c.TTL = time.Minute
			for i, at := range c.Places {
				copied := *at
				copied.TTL = 60
				c.Places[i], _ = zone.NewPlace(copied)
			}
		},
		"record": func(c *Config, _ string) { c.Records[0].Selector = 0 },
		"url": func(c *Config, _ string) {
			c.URL, _ = smimea.ParseURLTemplate("https://certs.example.net/.well-known/smime/{file}?of={domain}")
		},
		"max_withdraw": func(c *Config, _ string) { c.MaxWithdraw = 60 },
		"a domain":     nil,
	}
	for what, change := range another {
		t.Run(what, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "certs")
			old := aPublisher(t, dir, users)
			writeUsers(t, dir, 1000, 1003, "example.org")
			old.look(t.Context())
			torn := filepath.Join(dir, "0", "user7.pem")
			if err := os.WriteFile(torn, []byte("-----BEGIN CERTIFICATE-----\nMII"), 0o644); err != nil {
				t.Fatal(err)
			}
			old.look(t.Context())
			wantAll(t, old, users)
			c := aConfig(t, dir, "example.com")
			if change == nil {
				c = aConfig(t, dir, "example.com", "example.org")
			} else {
				change(&c, dir)
			}

			t.Run("held back", func(t *testing.T) {
				if err := os.Rename(filepath.Join(dir, "0"), dir+".0"); err != nil {
					t.Fatal(err)
				}
				old.look(t.Context())
				p := successor(t, old, c)
				p.look(t.Context())
				if p.State() != HeldBack {
					t.Errorf("the state is %v", p.State())
				}
				wantUsers(t, p, "example.com", users)
				if err := os.Rename(dir+".0", filepath.Join(dir, "0")); err != nil {
					t.Fatal(err)
				}
				p.look(t.Context())
				wantUsers(t, p, "example.com", users)
			})
			t.Run("not mounted", func(t *testing.T) {
				old.look(t.Context())
				back := away(t, dir)
				p := successor(t, old, c)
				p.look(t.Context())
				wantUsers(t, p, "example.com", users)
				if change == nil && p.Snapshot().Zones[2] != nil {
					t.Error("a zone whose users nobody has looked for is served")
				}
				select {
				case <-p.ready:
				default:
					t.Error("the reload waits")
				}
				back()
				p.look(t.Context())
				wantUsers(t, p, "example.com", users)
				if change == nil {
					wantUsers(t, p, "example.org", 3)
				}
			})
			t.Run("torn", func(t *testing.T) {
				p := successor(t, old, c)
				wantUsers(t, p, "example.com", users)
				p.look(t.Context())
				wantUsers(t, p, "example.com", users)
				if err := testcert.Write(torn, testcert.Template{Addresses: []string{"First.Last7@example.com"}}); err != nil {
					t.Fatal(err)
				}
				p.look(t.Context())
				wantUsers(t, p, "example.com", users)
				p.unbridgeDue(time.Now().Add(2 * c.TTL))
				p.commit()
				// What is published in the end is what one that begins anew publishes.
				fresh := newPublisher(func() Config { c := c; c.State = ""; return c }(), Real())
				fresh.begin(t.Context(), nil)
				fresh.look(t.Context())
				for i, z := range fresh.Snapshot().Zones {
					if got := records(p.Snapshot().Zones[i]); !equal(got, records(z)) {
						t.Errorf("%s has other records than one that was read anew", z.Origin)
					}
					if p.counts[i] != fresh.counts[i] {
						t.Errorf("%s counts %+v, want %+v", z.Origin, p.counts[i], fresh.counts[i])
					}
				}
				if p.foreign != fresh.foreign {
					t.Errorf("%d files are foreign, want %d", p.foreign, fresh.foreign)
				}
			})
		})
	}
}

// wantUsers wants a mail domain's zones to have the owners of so many users.
func wantUsers(t *testing.T, p *Publisher, domain string, users int) {
	t.Helper()
	for _, i := range p.domains[domain] {
		tree := zone.Certs
		if !p.config.Places[i].Serves(tree) {
			tree = zone.Texts
		}
		want := users
		if tree == zone.Certs {
			want *= 2 // in lower case, too
		}
		if z := p.Zone(i); z == nil || z.Owners(tree) != want {
			t.Errorf("%s in state %v: %v, want %d owners", p.config.Places[i].Origin, p.State(), z, want)
		}
	}
}

// records returns the records of the users of a zone.
func records(z *zone.Zone) map[string]bool {
	all := map[string]bool{}
	for rrs := range z.Records() {
		for _, rr := range rrs {
			if rr.Header().Name != z.Origin {
				all[rr.String()] = true
			}
		}
	}
	return all
}

func equal(a, b map[string]bool) bool {
	for r := range a {
		if !b[r] {
			return false
		}
	}
	return len(a) == len(b)
}
