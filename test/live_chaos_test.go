package test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"coredns-smimea/certsource"
	"coredns-smimea/internal/harness"
)

// A chaos is a directory in which a seeded generator does at random what can be
// done to one.
type chaos struct {
	*testing.T
	*rand.Rand
	dir   string
	users int

	asked  atomic.Int64 // questions that are answered
	mu     sync.Mutex
	made   []map[string]bool // by user: the data of all certificates that there ever were
	always string            // the data of the one user whom nobody touches
}

// duration is how long chaos reigns: 20 s, or SMIMEA_CHAOS seconds.
func duration() time.Duration {
	if n, err := strconv.Atoi(os.Getenv("SMIMEA_CHAOS")); err == nil {
		return time.Duration(n) * time.Second
	}
	return 20 * time.Second
}

// TestChaos creates, tears, swaps and deletes at random, while clients ask. They
// never get a wrong or half an answer, and in the end the server has what one
// that starts then has.
func TestChaos(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("SMIMEA_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("SMIMEA_SEED=%d", seed)
	for _, options := range []string{"reload 3s", "reload 200ms\nwatch off"} {
		t.Run(strings.ReplaceAll(options, "\n", ","), func(t *testing.T) {
			t.Parallel()
			testChaos(t, seed, options+"\nmax_withdraw 100\nttl 1s")
		})
	}
}

func testChaos(t *testing.T, seed uint64, options string) {
	c := &chaos{T: t, Rand: rand.New(rand.NewPCG(seed, 1)), dir: t.TempDir(), users: 40}
	for range c.users {
		c.made = append(c.made, map[string]bool{})
	}
	l := &liveDir{T: t, dir: c.dir}
	c.always = l.write("always/here.pem", "always")
	corefile := block("_smimecert.example.com _smime.example.com", "smimea "+c.dir+" {\n"+options+"\n}")
	s := startServer(t, corefile)
	l.addr = s.addr

	stop := make(chan struct{})
	var clients sync.WaitGroup
	for client := range 2 {
		clients.Go(func() { c.ask(s.addr, rand.New(rand.NewPCG(seed, uint64(2+client))), stop) })
	}
	end := sync.OnceFunc(func() {
		close(stop)
		clients.Wait()
	})
	defer end()
	steps := 0
	for until := time.Now().Add(duration()); time.Now().Before(until); steps++ {
		c.step()
		if c.IntN(20) == 0 { // let a look get between
			l.waitFor("a look", map[string]string{"mark": l.write("mark/here.pem", "mark")})
		}
	}
	end()

	// What is torn keeps what it had before, as long as somebody remembers: a
	// server that starts now does not. Make all whole, or gone.
	c.mend()
	// By another name of the directory: a server of this process that reads the same
	// one would begin with what this one knows, as after a reload.
	other := filepath.Join(t.TempDir(), "certs")
	if err := os.Symlink(c.dir, other); err != nil {
		t.Fatal(err)
	}
	fresh := &liveDir{T: t, dir: c.dir, addr: startServer(t, block("_smimecert.example.com _smime.example.com", "smimea "+other+" {\nreload 1h\nmbox fresh.example.com\n}")).addr}
	answers := func(l *liveDir) []string {
		var all []string
		for user := range c.users {
			all = append(all, sorted(l.served(local(user))))
			m, _ := ask(t, l.addr, question{name: local(user) + "._smime.example.com.", qtype: dns.TypeTXT, size: 4096, tcp: true})
			var urls []string
			for _, rr := range m.Answer {
				urls = append(urls, rr.(*dns.TXT).Txt...)
			}
			all = append(all, sorted(strings.Join(urls, " ")))
		}
		return append(all, l.served("always"))
	}
	want := answers(fresh)
	var got []string
	harness.Wait(harness.Patience, nil, func() bool {
		got = answers(l)
		return slices.Equal(got, want)
	})
	published := 0
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("answer %d is %s, that of a server that starts now %s", i, got[i], want[i])
		}
		if want[i] != gone && want[i] != "" {
			published++
		}
	}
	t.Logf("%d steps; %d of %d answers at the end are records", steps, published, len(want))
}

func local(user int) string { return fmt.Sprint("user", user) }

func sorted(data string) string {
	fields := strings.Fields(data)
	slices.Sort(fields)
	return strings.Join(fields, " ")
}

// ask asks until it is stopped, and judges each answer.
func (c *chaos) ask(addr string, rng *rand.Rand, stop <-chan struct{}) {
	for asked := 0; ; asked++ {
		select {
		case <-stop:
			if asked > 0 { // however slow the machine is
				return
			}
		default:
		}
		user := rng.IntN(c.users + 1)
		name := "always"
		if user < c.users {
			name = local(user)
		}
		// TCP: so many certificates at one address are too much for UDP.
		m, err := exchangeMsg(addr, question{name: hashOwner(name, "example.com."), qtype: dns.TypeSMIMEA, tcp: true})
		if err != nil {
			c.Errorf("asking for %s: %v", name, err)
			return
		}
		c.asked.Add(1)
		if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError || m.Rcode == dns.RcodeSuccess && len(m.Answer) == 0 {
			c.Errorf("%s: %s", name, m)
		}
		for _, rr := range m.Answer {
			data := rr.(*dns.SMIMEA).Certificate
			c.mu.Lock()
			ok := data == c.always
			if user < c.users {
				ok = c.made[user][data]
			}
			c.mu.Unlock()
			if !ok {
				c.Errorf("%s has %s, which is none of its certificates", name, data)
			}
		}
		if name == "always" && len(m.Answer) != 1 {
			c.Errorf("the certificate that nobody touches: %s", m)
		}
	}
}

func exchangeMsg(addr string, q question) (*dns.Msg, error) {
	client := &dns.Client{Net: q.network(), Timeout: lostAfter}
	m, _, err := client.Exchange(q.msg(), addr)
	return m, err
}

// make returns a new certificate of some user, PEM.
func (c *chaos) make() []byte {
	user := c.IntN(c.users)
	der, _ := cert{addresses: []string{local(user) + "@example.com"}}.make(c)
	parsed, err := certsource.Parse(der)
	if err != nil {
		c.Fatal(err)
	}
	sum := sha256.Sum256(parsed.SPKI)
	c.mu.Lock()
	c.made[user][hex.EncodeToString(sum[:])] = true
	c.mu.Unlock()
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// path returns one of few paths, so that they meet each other.
func (c *chaos) path() string {
	p := fmt.Sprintf("f%d.pem", c.IntN(12))
	if n := c.IntN(6); n < 4 {
		p = fmt.Sprintf("d%d/%s", n, p)
	}
	return filepath.Join(c.dir, p)
}

func (c *chaos) anyDir() string { return filepath.Join(c.dir, fmt.Sprint("d", c.IntN(4))) }

// step does one thing. That it cannot be done, since something else is in the
// way, is no matter.
func (c *chaos) step() {
	p := c.path()
	os.MkdirAll(filepath.Dir(p), 0o755)
	switch c.IntN(14) {
	case 0, 1, 2: // in place
		os.WriteFile(p, c.make(), 0o644)
	case 3, 4: // renamed over
		os.WriteFile(p+".tmp", c.make(), 0o644)
		os.Rename(p+".tmp", p)
	case 5: // in pieces, and a look at what is served after each
		text := c.make()
		if f, err := os.Create(p); err == nil {
			for piece := range slices.Chunk(text, 1+len(text)/(1+c.IntN(4))) {
				f.Write(piece)
				before := c.asked.Load()
				harness.Wait(time.Second, nil, func() bool { return c.asked.Load() > before })
			}
			f.Close()
		}
	case 6: // torn
		text := c.make()
		os.WriteFile(p, text[:c.IntN(len(text))], 0o644)
	case 7:
		os.Truncate(p, 0)
	case 8, 9:
		os.Remove(p)
	case 10: // two files change places
		q := c.path()
		os.Rename(p, p+".x")
		os.Rename(q, p)
		os.Rename(p+".x", q)
	case 11: // a directory goes, or is put in place of another
		os.Rename(c.anyDir(), c.anyDir())
		d := c.anyDir()
		if c.IntN(3) == 0 {
			os.RemoveAll(d)
		}
		os.Rename(d, c.dir+fmt.Sprint("/.away", c.IntN(2)))
		os.Rename(c.dir+fmt.Sprint("/.away", c.IntN(2)), c.anyDir())
	case 12: // links, to what is there, is not there, and is elsewhere
		target := []string{"f1.pem", "d1", "../d2/f3.pem", ".", "/etc/hostname", "nowhere", ".away0", ".away1/f2.pem"}[c.IntN(8)]
		os.Remove(p)
		os.Symlink(target, p)
	case 13: // a link to a directory in place of one
		d := c.anyDir()
		os.RemoveAll(d)
		os.Symlink(fmt.Sprint(".away", c.IntN(2)), d)
	}
}

// mend removes what is not a whole certificate.
func (c *chaos) mend() {
	filepath.WalkDir(c.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if data, err := os.ReadFile(path); err != nil || !bytes.Contains(data, []byte("END CERTIFICATE")) {
			os.Remove(path)
		} else if _, err := certsource.Parse(data); err != nil {
			os.Remove(path)
		}
		return nil
	})
}
