// Package measure is what the benchmarks have in common: a directory of users'
// certificates, zone files with the same records, servers pinned to a core,
// load, and tables of what was measured.
package measure

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Domain is the mail domain of all users.
const Domain = "bench.example"

// Root returns the module's root: the nearest directory above with a go.mod.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no go.mod in this directory or above: run the benchmark inside of its module")
		}
		dir = parent
	}
}

// Build builds the server, and returns its path.
func Build(root string) (string, error) {
	binary := filepath.Join(root, "build", "coredns")
	cmd := exec.Command("go", "build", "-o", binary, "./cmd/coredns")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building cmd/coredns: %w\n%s", err, out)
	}
	return binary, nil
}

// Cache returns the directory for what is made once and used by later runs.
func Cache() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	dir = filepath.Join(dir, "coredns-smimea-bench")
	return dir, os.MkdirAll(dir, 0o755)
}

// Machine describes where and when a run was: what a table means nothing without.
func Machine() string {
	model, load := "unknown processor", "?"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%s, %d x %s, %s, %s/%s, load average %s", time.Now().Format("2006-01-02 15:04"),
		runtime.NumCPU(), model, runtime.Version(), runtime.GOOS, runtime.GOARCH, loadAverage(load))
}

func loadAverage(unknown string) string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return unknown
	}
	if fields := strings.Fields(string(text)); len(fields) > 0 {
		return fields[0]
	}
	return unknown
}

// Progress tells what is being done, with the time since the start.
type Progress struct {
	w     io.Writer
	began time.Time
}

// NewProgress returns a Progress that writes to w.
func NewProgress(w io.Writer) *Progress { return &Progress{w, time.Now()} }

// Say writes one line.
func (p *Progress) Say(format string, args ...any) {
	fmt.Fprintf(p.w, "%6.1fs  %s\n", time.Since(p.began).Seconds(), fmt.Sprintf(format, args...))
}
