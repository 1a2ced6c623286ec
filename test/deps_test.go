package test

import (
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

const module = "coredns-smimea"

// A pkg is what go list says of a package.
type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string // of itself and of all that it imports
	Standard   bool
}

// TestImports holds the direction in which the packages depend on each other. A name
// ending in / stands for all below it.
func TestImports(t *testing.T) {
	const (
		coredns  = "github.com/coredns/"
		miekg    = "github.com/miekg/dns"
		certmage = "github.com/caddyserver/certmagic"
	)
	rules := []struct {
		pkg     string   // below the module, itself and what is below it
		exact   bool     // only itself, and nothing below it
		only    []string // what it may import besides the standard library; nil: anything
		never   []string // what it must not import itself
		nowhere []string // what must not be in it, by whatever way
		why     string
	}{
		{
			pkg:     "certsource",
			never:   []string{"log", "log/slog", "net/http"},
			nowhere: []string{coredns, miekg, certmage},
			why:     "it knows no DNS, no server and no log",
		},
		{
			pkg:     "certsource",
			exact:   true,
			only:    []string{"golang.org/x/"},
			nowhere: []string{module + "/internal/disk", module + "/internal/table"},
			why:     "it judges bytes, for those too who have no directory",
		},
		{
			pkg:  "certsource/directory",
			only: []string{module + "/certsource", module + "/internal/disk", module + "/internal/table"},
			why:  "it is files and what is in them",
		},
		{
			pkg:     "smimea",
			exact:   true,
			only:    []string{miekg, "golang.org/x/text/", "golang.org/x/net/idna"},
			nowhere: []string{module + "/internal/table"},
			why:     "it is names and record data, without a state",
		},
		{
			pkg:     "smimea",
			only:    []string{miekg, "golang.org/x/text/", "golang.org/x/net/idna", module + "/smimea", module + "/internal/table"},
			never:   []string{"os", "net/http", "log", "log/slog"},
			nowhere: []string{coredns, certmage},
			why:     "it is records and answers, without a server",
		},
		{
			pkg:  "internal/disk",
			only: []string{"golang.org/x/sys/unix", module + "/internal/disk"},
			why:  "it is the machine, and knows nothing of what is done with it",
		},
		{
			pkg:     "internal/table",
			only:    []string{module + "/internal/table"},
			never:   []string{"os", "net", "net/http", "log"},
			nowhere: []string{coredns, miekg},
			why:     "it maps bytes to bytes",
		},
		{
			pkg:     "plugin/internal/certhost",
			never:   []string{module + "/certsource", module + "/smimea", miekg},
			nowhere: []string{coredns, module + "/certsource", module + "/plugin", module + "/smimea"},
			why:     "it serves files over HTTPS and knows neither DNS nor CoreDNS",
		},
		{
			pkg:     "plugin/internal/lane",
			nowhere: []string{module + "/certsource", module + "/plugin", module + "/smimea"},
			why:     "it moves packets and knows no zones",
		},
		{
			pkg:     "discover",
			nowhere: []string{coredns, module + "/plugin"},
			why:     "it is for mail programs",
		},
		{
			pkg:     "cmd/smimea",
			nowhere: []string{coredns, module + "/plugin"},
			why:     "it is a small command",
		},
	}
	pkgs := list(t)
	in := func(path, pattern string) bool {
		return path == pattern || strings.HasPrefix(path, strings.TrimSuffix(pattern, "/")+"/")
	}
	ours := map[string]*pkg{}
	standard := map[string]bool{}
	for _, p := range pkgs {
		if in(p.ImportPath, module) {
			ours[p.ImportPath] = p
		}
		standard[p.ImportPath] = p.Standard
	}
	for _, must := range []string{"certsource", "smimea", "plugin", "cmd/coredns", "internal/table"} {
		if ours[module+"/"+must] == nil {
			t.Errorf("no package %s", must)
		}
	}
	for _, p := range ours {
		for _, r := range rules {
			if !in(p.ImportPath, module+"/"+r.pkg) || r.exact && p.ImportPath != module+"/"+r.pkg {
				continue
			}
			for _, path := range p.Imports {
				allowed := r.only == nil || standard[path] || slices.ContainsFunc(r.only, func(pattern string) bool { return in(path, pattern) })
				if !allowed || slices.Contains(r.never, path) {
					t.Errorf("%s imports %s: %s", p.ImportPath, path, r.why)
				}
			}
			for _, path := range p.Deps {
				for _, pattern := range r.nowhere {
					if in(path, pattern) && !in(path, p.ImportPath) && !in(path, module+"/"+r.pkg) {
						t.Errorf("%s depends on %s: %s", p.ImportPath, path, r.why)
					}
				}
			}
		}
		for _, path := range p.Imports {
			if path == module+"/plugin" && p.ImportPath != module+"/cmd/coredns" && !in(p.ImportPath, module+"/bench") {
				t.Errorf("%s imports the plugin: only the server does", p.ImportPath)
			}
			if path == module+"/internal/zoo" && !in(p.ImportPath, module+"/internal") && !in(p.ImportPath, module+"/bench") {
				t.Errorf("%s imports the zoo: it makes certificates for tests and the demo", p.ImportPath)
			}
		}
	}
}

// list returns all packages of the module and what they depend on, without tests.
func list(t *testing.T) []*pkg {
	t.Helper()
	out := command(t, "go", "list", "-C", "..", "-deps", "-json=ImportPath,Imports,Deps,Standard", "./...")
	var pkgs []*pkg
	for d := json.NewDecoder(strings.NewReader(out)); ; {
		p := new(pkg)
		err := d.Decode(p)
		if errors.Is(err, io.EOF) {
			return pkgs
		}
		if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}
