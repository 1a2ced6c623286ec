package test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"path/filepath"
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
			only:    []string{"golang.org/x/", module + "/internal/armour", module + "/internal/plaintext"},
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
			pkg:   "internal/download",
			only:  []string{},
			never: []string{"log", "os"},
			why:   "it asks web servers, whoever wants to know",
		},
		{
			pkg:     "certsource/revocation",
			never:   []string{"os", "net"},
			nowhere: []string{module + "/internal/disk", module + "/internal/table"},
			why:     "it reads lists, wherever they are from",
		},
		{
			pkg:     "plugin/internal/crl",
			nowhere: []string{module + "/plugin/internal/publish", module + "/certsource/directory", module + "/smimea"},
			why:     "it follows lists, and knows nothing of what they withdraw",
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
			pkg:     "plugin/internal/metric",
			only:    []string{coredns, "github.com/prometheus/client_golang/", module + "/plugin/internal/neighbour"},
			nowhere: []string{module + "/certsource", module + "/smimea"},
			why:     "it makes metrics, and knows nothing of what they measure",
		},
		{
			pkg:     "plugin/internal/certhost",
			never:   []string{module + "/certsource", module + "/smimea", miekg},
			nowhere: []string{coredns, module + "/certsource", module + "/plugin", module + "/smimea"},
			why:     "it serves files over HTTPS and knows neither DNS nor CoreDNS",
		},
		{
			pkg:     "plugin/internal/neighbour",
			never:   []string{module + "/smimea", module + "/smimea/zone", module + "/certsource/directory"},
			nowhere: []string{module + "/plugin/internal/publish", module + "/plugin/internal/sign"},
			why:     "it asks CoreDNS's other plugins, and knows nothing of what we serve",
		},
		{
			pkg:     "plugin/internal/served",
			nowhere: []string{module + "/plugin/internal/publish", module + "/certsource", coredns},
			why:     "it remembers versions of zones, whoever made them",
		},
		{
			pkg:     "plugin/internal/sign",
			nowhere: []string{module + "/plugin/internal/publish", module + "/certsource/directory", module + "/plugin/internal/served"},
			why:     "it signs for a Keeper, and knows no publisher",
		},
		{
			pkg:     "plugin/internal/publish",
			nowhere: []string{module + "/plugin/internal/answer", module + "/plugin/internal/secondary", module + "/plugin/internal/certhost"},
			why:     "it publishes snapshots, and does not know who reads them",
		},
		{
			pkg:     "plugin/internal/lane",
			nowhere: []string{module + "/certsource", module + "/plugin", module + "/smimea"},
			why:     "it moves packets and knows no zones",
		},
		{
			pkg:     "plugin/internal/answer",
			nowhere: []string{module + "/plugin/internal/secondary", module + "/plugin/internal/certhost"},
			never:   []string{"os", "net/http"},
			why:     "it answers questions, without disk or lock",
		},
		{
			pkg:     "plugin/internal/secondary",
			nowhere: []string{module + "/plugin/internal/answer", module + "/plugin/internal/certhost", module + "/plugin/internal/publish"},
			never:   []string{"os", "net/http"},
			why:     "it hands zones on, whoever publishes them and answers questions",
		},
		{
			pkg:   "internal/armour",
			only:  []string{module + "/internal/plaintext"},
			never: []string{"os", "net/http"},
			why:   "it reads PEM, wherever it is from and whatever is in it",
		},
		{
			pkg:   "internal/plaintext",
			only:  []string{},
			never: []string{"os"},
			why:   "it reads text, wherever it is from",
		},
		{
			pkg:  "internal/statefile",
			only: []string{},
			why:  "it keeps entries of bytes in a file",
		},
		{
			pkg:     "discover",
			nowhere: []string{coredns, certmage, "github.com/fsnotify/fsnotify", module + "/plugin", module + "/certsource/directory", module + "/smimea/zone"},
			why:     "it is for mail programs",
		},
		{
			pkg:     "ldap",
			exact:   true,
			only:    []string{"golang.org/x/crypto/", module + "/internal/pkcs7", module + "/smimea"},
			never:   []string{"os", "net/http", "log", "log/slog"},
			nowhere: []string{coredns, module + "/certsource", module + "/discover", module + "/plugin"},
			why:     "it speaks LDAP, and does not know where certificates come from",
		},
		{
			pkg:     "ldap",
			nowhere: []string{coredns, module + "/plugin"},
			why:     "it is for mail programs",
		},
		{
			pkg:     "cmd/smimea",
			nowhere: []string{coredns, module + "/plugin"},
			why:     "it is a small command",
		},
	}
	rooms := []string{"answer", "certhost", "crl", "lane", "metric", "neighbour", "publish", "secondary", "served", "sign"}
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
	for _, room := range rooms {
		if ours[module+"/plugin/internal/"+room] == nil {
			t.Errorf("no package plugin/internal/%s", room)
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
			if room, ok := strings.CutPrefix(path, module+"/plugin/internal/"); ok && !in(p.ImportPath, module+"/plugin") {
				t.Errorf("%s imports %s: the rooms are reached through the hall", p.ImportPath, room)
			}
			if path == module+"/plugin" && p.ImportPath != module+"/cmd/coredns" && !in(p.ImportPath, module+"/bench") {
				t.Errorf("%s imports the plugin: only the server does", p.ImportPath)
			}
			if path == module+"/internal/testcert" && !in(p.ImportPath, module+"/internal") && !in(p.ImportPath, module+"/bench") {
				t.Errorf("%s imports testcert: it makes certificates for tests and the demo", p.ImportPath)
			}
		}
	}
}

// TestSnapshotOnly holds that answers see of what is published the snapshot, and never
// the publisher: they cannot wait for it, nor change anything.
func TestSnapshotOnly(t *testing.T) {
	for _, room := range []string{"answer"} {
		files, err := filepath.Glob("../plugin/internal/" + room + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files, %v", room, err)
		}
		for _, file := range files {
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				s, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if pkg, ok := s.X.(*ast.Ident); ok && pkg.Name == "publish" && s.Sel.Name != "Snapshot" {
					t.Errorf("%s uses publish.%s: it sees the Snapshot, and nothing else of it", file, s.Sel.Name)
				}
				return true
			})
		}
	}
}

// TestDiscoverIsLight counts what a mail program gets into its build with discover:
// the packages of others, and the modules that they are of.
func TestDiscoverIsLight(t *testing.T) {
	const most = 20
	modules := []string{"github.com/miekg/dns", "golang.org/x/crypto", "golang.org/x/net", "golang.org/x/sys", "golang.org/x/text"}
	var discover *pkg
	standard := map[string]bool{}
	for _, p := range list(t) {
		if standard[p.ImportPath] = p.Standard; p.ImportPath == module+"/discover" {
			discover = p
		}
	}
	if discover == nil {
		t.Fatal("no package discover")
	}
	count := 0
	for _, path := range discover.Deps {
		if standard[path] || strings.HasPrefix(path, module+"/") {
			continue
		}
		count++
		if !slices.ContainsFunc(modules, func(m string) bool { return path == m || strings.HasPrefix(path, m+"/") }) {
			t.Errorf("discover drags in %s, of a module that it has not had", path)
		}
	}
	if count == 0 || count > most {
		t.Errorf("discover drags in %d packages of others; want %d at most", count, most)
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
