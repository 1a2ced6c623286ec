package publish

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"coredns-smimea/internal/disk/fake"
	"coredns-smimea/internal/testcert"
	"coredns-smimea/smimea"
)

var worldSeed = flag.Uint64("world", 0, "`SEED` of the one world of TestWorld to run; 0 for all")

// TestWorld drives the methods of a publisher's goroutine one by one in a world in
// memory, in an order that a seed says: users come and go, calls of the disk fail,
// looks and checks come at any time. Nobody is denied who has been read once and is
// there all along, and in the end what is served is what is there.
func TestWorld(t *testing.T) {
	const users = 12
	var certs [users][]byte
	for i := range certs {
		path := filepath.Join(t.TempDir(), "user.pem")
		err := testcert.Write(path, testcert.Template{Addresses: []string{fmt.Sprintf("user%d@example.com", i)}})
		if err == nil {
			certs[i], err = os.ReadFile(path)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for seed := uint64(1); seed <= 200; seed++ {
		if *worldSeed == 0 || seed == *worldSeed {
			t.Run(fmt.Sprint(seed), func(t *testing.T) { world(t, seed, certs[:]) })
		}
	}
}

func world(t *testing.T, seed uint64, certs [][]byte) {
	r := rand.New(rand.NewPCG(seed, 0))
	m := fake.New(time.Now())
	failing := 0      // percent of the calls below the directory
	var mu sync.Mutex // the reader has goroutines of its own
	m.Before = func(call, name string) error {
		mu.Lock()
		defer mu.Unlock()
		if r.IntN(100) < failing {
			return syscall.EIO
		}
		return nil
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	path := func(i int) string { return fmt.Sprintf("/certs/%d/user%d.pem", i%2, i) }
	must(m.MkdirAll("/certs/0"))
	must(m.MkdirAll("/certs/1"))
	there := make([]bool, len(certs))
	for i := range certs {
		if there[i] = i < 8; there[i] {
			must(m.WriteFile(path(i), certs[i]))
		}
	}
	m.Pass(time.Minute)
	c := aConfig(t, "/certs", "example.com")
	c.State, c.Unwatched, c.MaxWithdraw = "", true, 100
	w := Real()
	w.System, w.Workers = m, 1
	p := newPublisher(c, w)
	p.begin(t.Context(), nil)
	served := func(i int) bool {
		a := smimea.Address{Local: fmt.Sprintf("user%d", i), Domain: "example.com"}
		for range p.Zone(0).Files(a.Hash()) {
			return true
		}
		return false
	}
	var seen [4]bool // who has been read once
	for step := range 60 {
		failing = []int{0, 0, 3, 30}[r.IntN(4)]
		i := 4 + r.IntN(len(certs)-4) // the first four stay
		switch r.IntN(5) {
		case 0:
			p.look(t.Context())
		case 1:
			p.check(t.Context(), []string{strings.TrimPrefix(path(i), "/certs/")})
		case 2:
			p.expire(t.Context())
		default:
			if there[i] {
				must(m.RemoveAll(path(i)))
			} else {
				must(m.WriteFile(path(i), certs[i]))
			}
			there[i] = !there[i]
		}
		m.Pass(time.Duration(r.IntN(3000)) * time.Millisecond)
		for i := range 4 {
			switch {
			case p.Snapshot() == nil:
			case served(i):
				seen[i] = true
			case seen[i]:
				t.Fatalf("seed %d, step %d: user %d is denied in state %v; replay it with -world %[1]d", seed, step, i, p.State())
			}
		}
	}
	failing = 0
	for range 4 {
		m.Pass(time.Minute)
		p.look(t.Context())
	}
	for i := range certs {
		if served(i) != there[i] {
			t.Errorf("seed %d: user %d is served %v, and there %v; replay it with -world %[1]d", seed, i, served(i), there[i])
		}
	}
	if p.State() != Serving {
		t.Errorf("seed %d: in the end the state is %v", seed, p.State())
	}
}
