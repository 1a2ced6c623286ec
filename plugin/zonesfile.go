package plugin

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/coredns/caddy"

	"coredns-smimea/internal/disk"
	"coredns-smimea/internal/plaintext"
	"coredns-smimea/smimea"
	"coredns-smimea/smimea/zone"
)

// zonesEvery is how often the file of zones is looked at.
const zonesEvery = time.Second

// A zonesFile lists mail domains, one a line. Each has the two sub-zones. Empty
// lines, and what follows a "#", are of no matter.
type zonesFile struct {
	path string
	sum  [sha256.Size]byte // of its text as it was read
}

// A listed is the origin of a zone, and the line that lists its domain.
type listed struct {
	origin string
	line   int
}

// read reads the file and returns its zones. An error names the line, and never has
// what stands there: it may be another file, with secrets in it.
func (f *zonesFile) read() ([]listed, error) {
	text, err := readFile(f.path, "a file of mail domains, one a line")
	if err != nil {
		return nil, fmt.Errorf("reading the zones: %w", err)
	}
	origins, err := parseZones(text)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", f.path, err)
	}
	f.sum = sha256.Sum256(text)
	return origins, nil
}

// parseZones returns the zones that a text lists.
func parseZones(text []byte) ([]listed, error) {
	var origins []listed
	seen := map[string]bool{}
	lines := bufio.NewScanner(bytes.NewReader(plaintext.Decode(text)))
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		for _, label := range []string{smimea.CertsLabel, smimea.TextsLabel} {
			p, err := zone.NewPlace(zone.Place{Origin: label + "." + line, Apex: zone.Apex{}})
			if err != nil || len(strings.Fields(line)) != 1 {
				return nil, fmt.Errorf("line %d is no mail domain: write one a line", n)
			}
			if origin := label + "." + p.Domain + "."; !seen[origin] { // in A-labels
				seen[origin] = true
				origins = append(origins, listed{origin, n})
			}
		}
	}
	if lines.Err() != nil {
		return nil, errors.New("it has a line that is longer than any mail domain")
	}
	if len(origins) == 0 {
		return nil, errors.New("it has no mail domain: write one a line")
	}
	return origins, nil
}

// A zonesWatch looks at a file of zones, and has the server begin anew with the same
// Corefile when the file has changed. What zones have in common is taken over, and
// until the new ones have been read the old ones are served.
type zonesWatch struct {
	file   zonesFile
	anew   func() bool // has the server begin anew, and reports whether it has
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

// watchZones begins to watch a file as it was read.
func watchZones(f zonesFile, anew func() bool) *zonesWatch {
	w := &zonesWatch{file: f, anew: anew}
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(context.Background())
	w.ended.Go(func() { w.run(ctx) })
	return w
}

// end ends the watch, and waits until it has ended.
func (w *zonesWatch) end() {
	if w != nil {
		w.cancel()
		w.ended.Wait()
	}
}

func (w *zonesWatch) run(ctx context.Context) {
	tick := time.NewTicker(zonesEvery)
	defer tick.Stop()
	last := w.file.sum
	var before [sha256.Size]byte // as it was at the last look, while it is written
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		text, err := disk.ReadFile(w.file.path, disk.MaxSettings)
		sum := sha256.Sum256(text)
		settled := sum == before
		before = sum
		if err != nil || sum == last || !settled {
			continue
		}
		last = sum
		next := zonesFile{path: w.file.path}
		if _, err := next.read(); err != nil {
			log.Errorf("The zones stay as they are: %v", err)
			continue
		}
		// To begin anew ends this watch, so that it cannot be the watch that does it:
		// whoever waits for the server itself (caddy's Instance.Wait) waits for that.
		done := make(chan bool, 1)
		go func() { done <- w.anew() }()
		select {
		case <-ctx.Done():
			return
		case begun := <-done:
			if begun {
				return
			}
		}
	}
}

// restart has an instance of the server begin anew. It reports whether it has.
func restart(i *instance, file string) bool {
	for _, running := range caddy.Instances() {
		if running.Storage[instanceKey{}] != any(i) {
			continue
		}
		log.Infof("The zones in %q have changed", file)
		if _, err := running.Restart(running.Caddyfile()); err != nil {
			log.Errorf("The zones stay as they are: %v", err)
			continue
		}
		return true
	}
	return false
}
